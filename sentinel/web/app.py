# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The Flask application: guards in front, routes, the console's files, every error as JSON."""

import hashlib
import logging
import time
from collections.abc import Iterable
from importlib import resources

from flask import Blueprint, Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from sentinel.errors import NotFound, OutsideError, Refused
from sentinel.limits import MAX_REQUEST_BODY_BYTES, WEB_ERROR_LOG_INTERVAL_S
from sentinel.web.answer import HttpError
from sentinel.web.api.routes import check_queries
from sentinel.web.counters import WebCounters
from sentinel.web.guards import Guard, add_security_headers

log = logging.getLogger(__name__)

# The console's files by their ending; a file of any other ending is not served.
ASSET_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".js": "text/javascript; charset=utf-8",
}


def create_app(blueprints: Iterable[Blueprint], guard: Guard, counters: WebCounters) -> Flask:
    """Build the application over the routes of ``blueprints``. ``guard`` checks every request before they see it."""
    app = Flask("sentinel.web", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BODY_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider, which this is
    _add_guards(app, guard, counters)
    check_queries(app)
    _add_errors(app, counters)
    _add_console(app)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


def _add_guards(app: Flask, guard: Guard, counters: WebCounters) -> None:
    @app.before_request
    def check_guard() -> None:
        counters.count_request()
        g.who = guard.check(request)

    @app.after_request
    def add_headers(response: Response) -> Response:
        add_security_headers(response, request.path)
        return response


def _add_errors(app: Flask, counters: WebCounters) -> None:
    quiet_until = [0.0]

    @app.errorhandler(HttpError)
    def http_error(error: HttpError) -> Response:
        counters.refuse(error.code)
        return error.response()

    @app.errorhandler(Refused)
    def refused(error: Refused) -> Response:
        return http_error(HttpError(409, "refused", error.reason))

    @app.errorhandler(NotFound)
    def not_found(error: NotFound) -> Response:
        return http_error(HttpError(404, "not_found", str(error)))

    @app.errorhandler(OutsideError)
    def outside(error: OutsideError) -> Response:
        return http_error(HttpError(503, "unavailable", str(error)))

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        code = error.name.lower().replace(" ", "_").replace("-", "_")
        answer = http_error(HttpError(error.code or 500, code, error.description or error.name))
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
        return HttpError(500, "internal", "this is a bug; the daemon's log has the details").response()


def _add_console(app: Flask) -> None:
    files = resources.files("sentinel.web").joinpath("static")
    assets = {file.name: file.read_bytes() for file in files.iterdir() if file.name.endswith(tuple(ASSET_TYPES))}
    tags = {name: hashlib.sha256(content).hexdigest()[:32] for name, content in assets.items()}
    description = resources.files("sentinel.web").joinpath("openapi.json").read_bytes()

    def asset(name: str) -> Response:
        response = Response(assets[name], content_type=ASSET_TYPES[name[name.rindex(".") :]])
        response.set_etag(tags[name])
        response.make_conditional(request)
        return response

    @app.get("/")
    def console() -> Response:
        return asset("index.html")

    @app.get("/static/<name>")
    def static_file(name: str) -> Response:
        if name not in assets:
            raise HttpError(404, "not_found", "no such file")
        return asset(name)

    @app.get("/openapi.json")
    def openapi() -> Response:
        return Response(description, content_type="application/json")
