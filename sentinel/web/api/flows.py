# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``/api/v1/flows``: questions about the last minute."""

import threading
from typing import Protocol

from flask import Blueprint, Response, jsonify

from sentinel.flowmodel import FlowAnswer, FlowQuery
from sentinel.limits import MAX_FLOW_QUERIES
from sentinel.web import flowquery, views
from sentinel.web.answer import HttpError
from sentinel.web.api.routes import PREFIX, query, understands


class Source(Protocol):
    """May be called from any thread."""

    def flows(self, query: FlowQuery) -> FlowAnswer:
        """Answer from the latest whole seconds; may take a second, and yields the processor meanwhile."""


def blueprint(source: Source) -> Blueprint:
    """Return the route."""
    api = Blueprint("flows", __name__, url_prefix=PREFIX)
    free, one_at_a_time = threading.BoundedSemaphore(MAX_FLOW_QUERIES), threading.Lock()

    @api.get("/flows")
    @understands(*flowquery.QUERY)
    def list_flows() -> Response:
        wanted = flowquery.parse(query())
        if not free.acquire(blocking=False):
            text = "too many questions about flows at once; try again in a second"
            raise HttpError(503, "busy", text, {"Retry-After": "1"})
        try:
            with one_at_a_time:
                answer = source.flows(wanted)
        finally:
            free.release()
        return jsonify(views.flows(wanted, answer))

    return api
