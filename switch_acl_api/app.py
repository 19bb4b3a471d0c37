# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""HTTP to engine calls and back. The full text of the interface is ``openapi.yaml``."""

import json
import pkgutil
import re
from typing import Any, Dict, List, Optional

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException

from switch_acl_api.auth import ANYBODY, Authenticator
from switch_acl_api.budget import Shares
from switch_acl_api.counters import Counters, gauge
from switch_acl_api.engine import Engine, Wish
from switch_acl_api.errors import Refused, RuleError
from switch_acl_api.guard import Failures, Hosts
from switch_acl_api.limits import (
    BODIES_AT_A_TIME,
    BODY_TURN_WAIT_S,
    BULK_BYTES_PER_NAME,
    LEAST_BULK_BODY_BYTES,
    MAX_ACL_BODY_BYTES,
    MAX_BULK_BODY_BYTES,
    MAX_JSON_NUMBER_CHARS,
    MAX_LINE_CHARS,
    MAX_NAME_CHARS,
)
from switch_acl_api.rates import Rates
from switch_acl_api.room import Room
from switch_acl_api.version import SERVICE, VERSION

# Set by our server from the verified certificate; a client's headers arrive as HTTP_*.
CLIENT_NAME_KEY = "switch_acl_api.client_name"
# The address of ours that the client has reached, and a way to let it wait.
LOCAL_KEY = "switch_acl_api.local"
PAUSE_KEY = "switch_acl_api.pause"

_NAME = re.compile(r"[a-z0-9_]{1,%d}\Z" % MAX_NAME_CHARS)
_TTL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?\Z")
_RESERVED = {"lasterror", "renew"}
_ROOM = "switch_acl_api.room"
_OPEN = {"healthz", "openapi"}


def create_app(
    engine: Engine,
    authenticator: Authenticator,
    counters: Counters,
    requests_per_second: int = 100,
    hosts: Optional[Hosts] = None,
) -> Flask:
    """``hosts`` are checked if given: without authentication nothing else keeps pages of strangers out."""
    app = Flask("switch_acl_api", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BULK_BODY_BYTES
    most = bulk_bytes(engine.shares)
    app.extensions[_ROOM] = Room(BODIES_AT_A_TIME * most, most)
    app.url_map.strict_slashes = False
    _hooks(app, engine, authenticator, counters, Rates(requests_per_second), hosts)
    _collection(app, engine)
    _single(app, engine)
    _status(app, engine, authenticator, counters)
    return app


# --- around every request -------------------------------------------------------------------------


def _hooks(
    app: Flask,
    engine: Engine,
    authenticator: Authenticator,
    counters: Counters,
    rates: Rates,
    hosts: Optional[Hosts],
) -> None:
    failures = Failures(counters)

    @app.before_request
    def identify() -> Optional[Response]:
        # Only browsers send it, and no browser is a client of this: a page must not reach a shim on loopback.
        if request.headers.get("Origin") is not None:
            return _error(403, "not for browsers")
        if hosts is not None and not hosts.allows(request.headers.get("Host"), request.environ.get(LOCAL_KEY, "")):
            return _error(403, "not the name of this switch; further ones belong into hosts")
        if request.endpoint in _OPEN:
            return None
        try:
            g.owner = authenticator.owner(request.headers.get("Authorization"), request.environ.get(CLIENT_NAME_KEY))
        except Refused as error:
            guessed = "Authorization" in request.headers or request.environ.get(CLIENT_NAME_KEY) is not None
            failures.note(_peer(), error.error, guessed, request.environ.get(PAUSE_KEY))
            raise
        # Without authentication all have one name, and the address tells them apart.
        if not rates.take((g.owner, _peer() if g.owner == ANYBODY else "")):
            counters.add("rate_refusals")
            raise Refused(429, "too many requests a second")
        return None

    @app.teardown_request
    def give_room(_: Optional[BaseException]) -> None:
        if "room" in g:
            app.extensions[_ROOM].give(g.owner, g.pop("room"))

    @app.after_request
    def finish(response: Response) -> Response:
        counters.add("requests", status=str(response.status_code))
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        if request.path.startswith("/acl"):
            response.headers["Accept"] = "application/json"
            if engine.views.lasterror is not None:
                response.headers["Warning"] = '199 - "check lasterror"'
        return response

    @app.errorhandler(Refused)
    def refused(error: Refused) -> Response:
        return _error(error.status, error.error, **error.fields)

    @app.errorhandler(RuleError)
    def no_rule(error: RuleError) -> Response:
        counters.add("rule_errors")
        return _error(400, str(error), line=error.line, token=error.token, reason=error.reason)

    @app.errorhandler(OSError)
    def lacking(error: OSError) -> Response:
        return _error(503, "this machine lacks something: {}".format(error.strerror or type(error).__name__))

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        response = _error(error.code or 500, error.name)
        for name, value in error.get_headers():
            if name in {"Allow", "Location"}:
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def bug(error: Exception) -> Response:
        app.logger.error("a bug: %s %s", request.method, request.path, exc_info=error)
        return _error(500, "internal error")


def _json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value) + "\n", status=status, mimetype="application/json")


def _error(status: int, error: str, **fields: Any) -> Response:
    response = _json(dict({"error": error}, **fields), status)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status in {429, 503}:
        response.headers["Retry-After"] = "1" if status == 429 else "5"
    return response


def _empty(status: int = 204) -> Response:
    response = Response(status=status)
    response.headers.pop("Content-Type", None)
    return response


# --- reading a request ----------------------------------------------------------------------------


def _name(name: str) -> str:
    if _NAME.match(name) is None:
        raise Refused(404, "a name is 1 to {} of a-z, 0-9 and _".format(MAX_NAME_CHARS))
    return name


def _writable(name: str) -> str:
    if name in _RESERVED:
        raise Refused(403, '"{}" is no rule\'s name'.format(name))
    return _name(name)


def _ttl() -> Optional[float]:
    text = request.args.get("ttl")
    if text is None:
        return None
    if _TTL.match(text) is None:
        raise Refused(400, "ttl: expected seconds, such as 120")
    return float(text)


def _wait() -> bool:
    return "respond-async" not in request.headers.get("Prefer", "").replace(",", " ").split()


def _peer() -> str:
    return request.remote_addr or ""


def bulk_bytes(share: Shares) -> int:
    """Return how long a bulk body may be: as long as what the settings allow can be written."""
    legal = share.rules * (MAX_LINE_CHARS + 4) + share.owner_names * BULK_BYTES_PER_NAME
    return min(MAX_BULK_BODY_BYTES, max(LEAST_BULK_BODY_BYTES, legal))


def _take_room(size: int) -> None:
    """For the rest of this request. Raises ``Refused``."""
    if not current_app.extensions[_ROOM].take(g.owner, size, BODY_TURN_WAIT_S):
        raise Refused(503, "too many large bodies at once")
    g.room = size


def _body(most: int) -> Any:
    if request.mimetype != "application/json":
        raise Refused(415, "expected Content-Type: application/json")
    if request.content_length is None:
        raise Refused(411, "expected a body with Content-Length")
    if request.content_length > most:
        raise Refused(413, "expected at most {} octets".format(most))
    _take_room(request.content_length)
    raw = request.get_data(cache=False)
    if len(raw) != request.content_length:
        raise Refused(400, "the body ended early")
    try:
        return json.loads(
            raw.decode("utf-8"), parse_int=_whole_number, parse_float=_real_number, parse_constant=_constant
        )
    except (ValueError, RecursionError) as error:
        raise Refused(400, "not JSON: {}".format(error)) from None


def _whole_number(text: str) -> int:
    if len(text) > MAX_JSON_NUMBER_CHARS:
        raise ValueError("a number that is too long")
    return int(text)


def _real_number(text: str) -> float:
    if len(text) > MAX_JSON_NUMBER_CHARS:
        raise ValueError("a number that is too long")
    return float(text)


def _constant(text: str) -> float:
    raise ValueError("{} is no number".format(text))


def _lines(value: object) -> List[object]:
    if not isinstance(value, list):
        raise Refused(400, "expected a JSON array of lines")
    return value


def _entries(value: object, most: int) -> Dict[str, object]:
    if not isinstance(value, dict) or len(value) > most:
        raise Refused(400, "expected a JSON object of at most {} names".format(most))
    for name in value:
        if _NAME.match(name) is None or name in _RESERVED:
            raise Refused(400, '"{}" is no rule\'s name'.format(name[:MAX_NAME_CHARS]))
    return value


def _names(value: object, most: int) -> Optional[List[str]]:
    """What ``{"names": […]}`` lists, ``None`` if it is not said which."""
    if not isinstance(value, dict) or set(value) - {"names"}:
        raise Refused(400, 'expected {"names": [...]}')
    names = value.get("names")
    if names is None:
        return None
    if not isinstance(names, list) or len(names) > most or not all(isinstance(name, str) for name in names):
        raise Refused(400, "names: expected a list of at most {} names".format(most))
    return names


def _wanted(value: object, most: int) -> Dict[str, Wish]:
    return {name: _wish(name, entry) for name, entry in _entries(value, most).items()}


def _changes(value: object, most: int) -> Dict[str, Optional[Wish]]:
    return {name: None if entry is None else _wish(name, entry) for name, entry in _entries(value, most).items()}


def _wish(name: str, entry: object) -> Wish:
    if not isinstance(entry, dict) or set(entry) - {"lines", "ttl"} or not isinstance(entry.get("lines"), list):
        raise Refused(400, '{}: expected {{"lines": [...], "ttl": seconds}}'.format(name))
    ttl = entry.get("ttl")
    if ttl is not None and (isinstance(ttl, bool) or not isinstance(ttl, (int, float))):
        raise Refused(400, "{}: ttl: expected seconds".format(name))
    return entry["lines"], None if ttl is None else float(ttl)


# --- the routes -----------------------------------------------------------------------------------


def _collection(app: Flask, engine: Engine) -> None:
    @app.route("/acl/", methods=["GET"])
    def list_acls() -> Response:
        if request.args.get("detail") in {"1", "true"}:
            return _json(engine.views.detail(g.owner))
        return _json(engine.views.names())

    @app.route("/acl/", methods=["PUT"])
    def replace_acls() -> Response:
        return _json(
            engine.replace(g.owner, _peer(), _wanted(_body(bulk_bytes(engine.shares)), engine.shares.owner_names))
        )

    @app.route("/acl/", methods=["PATCH"])
    def amend_acls() -> Response:
        return _json(
            engine.amend(g.owner, _peer(), _changes(_body(bulk_bytes(engine.shares)), engine.shares.owner_names))
        )

    @app.route("/acl/", methods=["DELETE"])
    def delete_acls() -> Response:
        return _empty(204 if engine.delete(g.owner, _peer(), None, _wait()) else 202)

    @app.route("/acl/renew", methods=["POST"])
    def renew_acls() -> Response:
        ttl_s = _ttl()
        names = _names(_body(MAX_ACL_BODY_BYTES), engine.shares.owner_names) if request.content_length else None
        return _json(engine.renew(g.owner, ttl_s, names))

    @app.route("/acl/lasterror", methods=["GET"])
    def lasterror() -> Response:
        error = engine.views.lasterror
        return _empty() if error is None else _json(error)


def _single(app: Flask, engine: Engine) -> None:
    @app.route("/acl/<name>", methods=["GET"])
    def get_acl(name: str) -> Response:
        lines = engine.views.lines(_name(name))
        if lines is None:
            raise Refused(404, "no such rule")
        return _json(lines)

    @app.route("/acl/<name>", methods=["PUT"])
    def put_acl(name: str) -> Response:
        _writable(name)
        ttl_s, wait = _ttl(), _wait()
        result = engine.put(g.owner, _peer(), name, _lines(_body(MAX_ACL_BODY_BYTES)), ttl_s, wait)
        answer = {
            "name": name,
            "owner": g.owner,
            "changed": result.changed,
            "expires_in_s": result.expires_in_s,
        }
        if not result.committed:
            return _json(answer, 202)
        return _json(answer, 201 if result.created else 200)

    @app.route("/acl/<name>", methods=["DELETE"])
    def delete_acl(name: str) -> Response:
        return _empty(204 if engine.delete(g.owner, _peer(), [_writable(name)], _wait()) else 202)


def _status(app: Flask, engine: Engine, authenticator: Authenticator, counters: Counters) -> None:
    @app.route("/healthz", methods=["GET"])
    def healthz() -> Response:
        problems = engine.views.problems() + ([authenticator.problem] if authenticator.problem else [])
        return _json(
            {
                "service": SERVICE,
                "version": VERSION,
                "status": "degraded" if problems else "ok",
                "driver": engine.driver.name,
                "ipv6": engine.driver.ipv6,
                "boot_id": engine.clock.boot_id,
                "problems": problems,
                "erspan": engine.driver.reach(),
            }
        )

    @app.route("/metrics", methods=["GET"])
    def metrics() -> Response:
        used = engine.views.rules_used()
        reach = [((("destination", str(r["destination"])),), float(r["reachable"])) for r in engine.driver.reach()]
        lines = counters.lines()
        lines += gauge("rules", "ERSPAN rules in force", [((), used)])
        lines += gauge("rules_max", "ERSPAN rules allowed", [((), engine.book.max_rules)])
        lines += gauge("problems", "things an operator should know", [((), len(engine.views.problems()))])
        lines += gauge("erspan_reachable", "1 where the destination can be reached", [*reach])
        return Response("\n".join([*lines, ""]), mimetype="text/plain; version=0.0.4")

    @app.route("/openapi.yaml", methods=["GET"])
    def openapi() -> Response:
        return Response(pkgutil.get_data("switch_acl_api", "openapi.yaml") or b"", mimetype="application/yaml")
