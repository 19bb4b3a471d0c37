# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``/healthz``, ``/livez`` and ``/metrics``: the questions of monitoring and of container probes."""

import time
from collections.abc import Mapping
from typing import Protocol

from flask import Blueprint, Response, jsonify, request

from sentinel.rows import Health
from sentinel.web import views
from sentinel.web.guards import Guard

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Source(Protocol):
    """Every method may be called from any thread and is quick."""

    def health(self) -> Health:
        """Return the daemon as a whole."""

    def stalled(self) -> Mapping[str, float]:
        """Return the threads that do not progress, with the seconds of their silence."""

    def metrics(self) -> bytes:
        """Return the Prometheus text exposition."""


def blueprint(source: Source, guard: Guard) -> Blueprint:
    """Return the routes."""
    api = Blueprint("probes", __name__)

    def without_token() -> bool:
        return guard.tokens is not None and guard.owner(request) is None

    @api.get("/healthz")
    def healthz() -> Response:
        health = source.health()
        # A request without a token learns that the daemon works, not what it watches.
        response = jsonify({"status": health.status} if without_token() else views.health(health, time.time()))
        response.status_code = 503 if health.status == "failing" else 200
        return response

    @api.get("/livez")
    def livez() -> Response:
        stalled = source.stalled()
        threads = [{"thread": thread, "silent_s": round(silent_s, 1)} for thread, silent_s in stalled.items()]
        response = jsonify({"alive": not stalled, **({} if without_token() else {"stalled": threads})})
        response.status_code = 503 if stalled else 200
        return response

    @api.get("/metrics")
    def metrics() -> Response:
        return Response(source.metrics(), content_type=METRICS_TYPE)

    return api
