# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``/api/v1/events``: a long poll of the event ring."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from flask import Blueprint, Response, jsonify

from sentinel.limits import MAX_EVENTS_PER_POLL, MAX_LONG_POLL_S
from sentinel.web import inputs, views
from sentinel.web.api.routes import PREFIX, client_gone, query, understands
from sentinel.web.longpoll import LongPolls

MAX_EVENT_ID = 10**15


class Source(Protocol):
    """May be called from any thread."""

    def events(self, after: int, timeout_s: float) -> Sequence[Mapping[str, object]]:
        """Return events whose ``id`` is above ``after``, oldest first; wait up to ``timeout_s`` for the first."""


def blueprint(source: Source, polls: LongPolls) -> Blueprint:
    """Return the route."""
    api = Blueprint("events", __name__, url_prefix=PREFIX)

    @api.get("/events")
    @understands("after", "timeout", "limit")
    def list_events() -> Response:
        given = query()
        after = inputs.integer(given, "after", 0, 0, MAX_EVENT_ID)
        timeout_s = inputs.seconds(given, "timeout", 0.0, MAX_LONG_POLL_S)
        limit = inputs.integer(given, "limit", MAX_EVENTS_PER_POLL, 1, MAX_EVENTS_PER_POLL)
        found = polls.wait(lambda seconds: source.events(after, seconds), timeout_s, client_gone())
        return jsonify(views.events(found[:limit], after))

    return api
