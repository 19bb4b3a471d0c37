# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``/api/v1/feeds``: the lists, and requests to refresh one or to accept what is in quarantine."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from flask import Blueprint, Response, jsonify

from sentinel import filters
from sentinel.model import Detection
from sentinel.rows import FeedRow
from sentinel.web import inputs, views
from sentinel.web.api.routes import PREFIX, body, filtered, listed, requester, understands

STATES = ("ok", "stale", "quarantined", "empty")
KEYS: filters.Keys = {
    "name": filters.Text(),
    "state": filters.Choice(STATES),
    "licence": filters.Text(),
}


class Source(Protocol):
    """Every method may be called from any thread; a refresh takes as long as its server."""

    def feeds(self, detections: Iterable[Detection]) -> Sequence[FeedRow]:
        """Return one row per feed; ``detections`` are the open ones."""

    def refresh_feed(self, name: str) -> None:
        """Fetch a feed now, as far as its owner's interval allows; raises ``NotFound``, ``Refused``."""

    def accept_feed(self, name: str, by: str) -> None:
        """Put a feed's quarantined download in force; raises ``NotFound``, ``Refused``."""


def blueprint(source: Source, detections: Callable[[], Sequence[Detection]]) -> Blueprint:
    """Return the routes; ``detections`` gives the open ones."""
    api = Blueprint("feeds", __name__, url_prefix=PREFIX)

    @api.get("/feeds")
    @understands("filter")
    def list_feeds() -> Response:
        found = filtered(source.feeds(detections()), getattr, KEYS)
        return listed("feeds", [views.feed(each) for each in found])

    @api.post("/feeds/<name>/refresh")
    def refresh_feed(name: str) -> Response:
        body()
        source.refresh_feed(inputs.checked_id(name))
        response = jsonify({"feed": name, "requested": True})
        response.status_code = 202
        return response

    @api.post("/feeds/<name>/accept")
    def accept_feed(name: str) -> Response:
        body()
        source.accept_feed(inputs.checked_id(name), requester())
        return jsonify({"feed": name, "accepted": True})

    return api
