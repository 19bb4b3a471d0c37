# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The Flask application: guards in front, routes, the console's files, every error as JSON."""

import hashlib
import logging
import time
from importlib import resources

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from sentinel.errors import OutsideError
from sentinel.limits import MAX_REQUEST_BODY_BYTES, WEB_ERROR_LOG_INTERVAL_S
from sentinel.times import utc
from sentinel.web import api, views
from sentinel.web.backend import Backend, NotFound, Refused
from sentinel.web.counters import WebCounters
from sentinel.web.guards import Guard, add_security_headers
from sentinel.web.longpoll import LongPolls
from sentinel.web.pcap import PcapStreams
from sentinel.web.problem import Problem

log = logging.getLogger(__name__)

ASSETS = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "app.js": "text/javascript; charset=utf-8",
    "api.js": "text/javascript; charset=utf-8",
    "dom.js": "text/javascript; charset=utf-8",
    "text.js": "text/javascript; charset=utf-8",
    "panels.js": "text/javascript; charset=utf-8",
    "flows.js": "text/javascript; charset=utf-8",
}
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def create_app(
    backend: Backend, guard: Guard, polls: LongPolls, counters: WebCounters, streams: PcapStreams | None = None
) -> Flask:
    """Build the application. ``guard`` says who may ask, ``polls`` bounds the waiters, ``streams`` the followers."""
    app = Flask("sentinel.web", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BODY_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider, which this is
    _add_guards(app, guard, counters)
    _add_errors(app, counters)
    _add_console(app)
    _add_probes(app, backend, guard)
    app.register_blueprint(api.blueprint(backend, polls, streams or PcapStreams()))
    return app


def _add_guards(app: Flask, guard: Guard, counters: WebCounters) -> None:
    @app.before_request
    def ask_guard() -> None:
        counters.count_request()
        g.who = guard.check(request)

    @app.after_request
    def say_security(response: Response) -> Response:
        add_security_headers(response, request.path)
        return response


def _add_errors(app: Flask, counters: WebCounters) -> None:
    quiet_until = [0.0]

    @app.errorhandler(Problem)
    def problem(error: Problem) -> Response:
        counters.refuse(error.code)
        return error.response()

    @app.errorhandler(Refused)
    def refused(error: Refused) -> Response:
        return problem(Problem(409, "refused", error.reason))

    @app.errorhandler(NotFound)
    def not_found(error: NotFound) -> Response:
        return problem(Problem(404, "not_found", str(error)))

    @app.errorhandler(OutsideError)
    def outside(error: OutsideError) -> Response:
        return problem(Problem(503, "unavailable", str(error)))

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        code = error.name.lower().replace(" ", "_").replace("-", "_")
        answer = problem(Problem(error.code or 500, code, error.description or error.name))
        valid_methods = getattr(error, "valid_methods", None)
        if valid_methods:
            answer.headers["Allow"] = ", ".join(sorted(valid_methods))
        return answer

    @app.errorhandler(Exception)
    def bug(error: Exception) -> Response:
        counters.count_error()
        now = time.monotonic()
        if now >= quiet_until[0]:
            quiet_until[0] = now + WEB_ERROR_LOG_INTERVAL_S
            log.error("web: %s %s failed", request.method, request.path[:200], exc_info=error)
        return Problem(500, "internal", "this is a bug; the daemon's log has the details").response()


def _add_console(app: Flask) -> None:
    files = resources.files("sentinel.web").joinpath("static")
    assets = {name: files.joinpath(name).read_bytes() for name in ASSETS}
    tags = {name: hashlib.sha256(content).hexdigest()[:32] for name, content in assets.items()}
    description = resources.files("sentinel.web").joinpath("openapi.json").read_bytes()

    def asset(name: str) -> Response:
        response = Response(assets[name], content_type=ASSETS[name])
        response.set_etag(tags[name])
        response.make_conditional(request)
        return response

    @app.get("/")
    def console() -> Response:
        return asset("index.html")

    @app.get("/static/<name>")
    def static_file(name: str) -> Response:
        if name not in assets:
            raise Problem(404, "not_found", "no such file")
        return asset(name)

    @app.get("/openapi.json")
    def openapi() -> Response:
        return Response(description, content_type="application/json")


def _add_probes(app: Flask, backend: Backend, guard: Guard) -> None:
    @app.get("/healthz")
    def healthz() -> Response:
        health = backend.health()
        status = health.get("status")
        # Without a token one learns that it works, not what it watches.
        open_to_all = guard.tokens is not None and guard.owner(request) is None
        response = jsonify({"status": status} if open_to_all else {**views.row(health), "now": utc(time.time())})
        response.status_code = 503 if status == "failing" else 200
        return response

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(backend.metrics(), content_type=METRICS_TYPE)
