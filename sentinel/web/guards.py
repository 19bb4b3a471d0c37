# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Who may ask, and from which page.

Loopback is not authentication: any page in a browser on this machine can send requests here. So

* the Host must be a name of this server: a page of another name that resolves here (DNS rebinding) could read it all;
* a write must be JSON, which a page of another origin cannot send without asking first (CORS preflight, which we never
  grant), and its Origin must be the Host it was sent to;
* what a browser itself says of the request (Sec-Fetch-Site) must agree;
* once tokens are configured, every request needs one.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from flask import Request, Response

from sentinel.errors import ConfigError
from sentinel.web.answer import HttpError
from sentinel.web.tokens import Tokens

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# The console's own files and the description of the API hold nothing that is not in the published source.
OPEN_PATHS = frozenset({"/", "/openapi.json", "/healthz", "/livez"})
OPEN_PREFIX = "/static/"
READS = frozenset({"GET", "HEAD", "OPTIONS"})
DEFAULT_PORTS = {"http": 80, "https": 443}

API_POLICY = "default-src 'none'; frame-ancestors 'none'"
CONSOLE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Authority:
    """Host and port of a Host header or an Origin; ``port`` is ``None`` where none is written."""

    host: str
    port: int | None


def parse_host(value: str) -> Authority | None:
    """Read a Host header (RFC 9110 section 7.2); ``None`` if it is not one."""
    found = _HOST.fullmatch(value)
    if found is None:
        return None
    host = found["v6"] or found["name"]
    if found["v6"] is not None and not is_address(host):
        return None
    port = int(found["port"]) if found["port"] else None
    return Authority(canonical_host(host), port)


def canonical_host(host: str) -> str:
    """Return a host name in lower case without its root dot, or an address as ``inet_ntop`` writes it."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower().removesuffix(".")


def is_address(host: str) -> bool:
    """Tell whether ``host`` is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Tell whether a listening address is reached from this machine only; of names only ``localhost`` is."""
    if host == "localhost":
        return True
    return is_address(host) and ipaddress.ip_address(host).is_loopback


def must_be_loopback(host: str, *, has_tokens: bool) -> None:
    """Raise ``ConfigError`` where ``host`` can be reached from outside and nobody is asked for a token."""
    if not has_tokens and not is_loopback(host):
        shown = host or "every address"
        raise ConfigError("web", [f"listens on {shown} without tokens; expected a loopback address, or a token_file"])


class Guard:
    """The checks of one server: its names, and its tokens where it has any.

    Raises ``ConfigError`` where it would be reached from outside without tokens, whoever forgot to look before.
    """

    def __init__(self, bound: str, names: Iterable[str] = (), tokens: Tokens | None = None) -> None:
        must_be_loopback(bound, has_tokens=tokens is not None)
        self.bound = canonical_host(bound)
        self.names = LOOPBACK_NAMES | {canonical_host(name) for name in names} | {self.bound}
        self.wildcard = is_address(self.bound) and ipaddress.ip_address(self.bound).is_unspecified
        self.tokens = tokens

    def check(self, request: Request) -> str:
        """Return who asks; raises ``HttpError`` for what must not go on."""
        host = self._check_host(request)
        self._check_page(request, host)
        return self._check_token(request)

    def knows(self, host: str) -> bool:
        """Tell whether ``host`` names this server.

        Bound to every address of the machine, any address will do: a page at an address is that server's own, so
        rebinding needs a name.
        """
        return host in self.names or (self.wildcard and is_address(host))

    def _check_host(self, request: Request) -> Authority:
        host = parse_host(request.headers.get("Host", ""))
        if host is None or not self.knows(host.host):
            raise HttpError(421, "host", "the Host header is not a name of this server; web.hosts may hold more names")
        return host

    def _check_page(self, request: Request, host: Authority) -> None:
        site = request.headers.get("Sec-Fetch-Site", "none")
        if request.method in READS:
            mode = request.headers.get("Sec-Fetch-Mode", "navigate")
            if site == "cross-site" and mode != "navigate":
                raise HttpError(403, "origin", "a page of another site asks; only this server's own console may")
            return
        if site not in {"same-origin", "none"}:
            raise HttpError(403, "origin", "a page of another origin asks; only this server's own console may")
        origin = request.headers.get("Origin")
        if origin is not None and not same_origin(origin, host):
            raise HttpError(403, "origin", "the Origin header is not this server")
        if request.mimetype != "application/json":
            raise HttpError(415, "content_type", "a write needs Content-Type: application/json, with or without a body")

    def _check_token(self, request: Request) -> str:
        if self.tokens is None:
            return "loopback"
        owner = self.owner(request)
        if owner is not None:
            return owner
        if request.method in READS and (request.path in OPEN_PATHS or request.path.startswith(OPEN_PREFIX)):
            return ""
        given = "Authorization" in request.headers
        raise HttpError(
            401,
            "token",
            "the token is not known" if given else "a token is needed: Authorization: Bearer …",
            {"WWW-Authenticate": 'Bearer realm="sentinel"' + (', error="invalid_token"' if given else "")},
        )

    def owner(self, request: Request) -> str | None:
        """Return the name of the token a request carries (RFC 6750 section 2.1), if it is known."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if self.tokens is None or scheme.lower() != "bearer":
            return None
        return self.tokens.owner(token.strip())


def same_origin(origin: str, host: Authority) -> bool:
    """Tell whether an Origin header names the server a request was sent to.

    The scheme is not compared: TLS ends at the proxy in front, and which default port is meant follows from the Origin.
    """
    scheme, _, rest = origin.partition("://")
    default, page = DEFAULT_PORTS.get(scheme), parse_host(rest)
    if default is None or page is None:
        return False
    return page.host == host.host and (page.port or default) == (host.port or default)


def add_security_headers(response: Response, path: str) -> None:
    """Set what every answer says to a browser."""
    page = path == "/" or path.startswith(OPEN_PREFIX)
    headers = response.headers
    headers["Content-Security-Policy"] = CONSOLE_POLICY if page else API_POLICY
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Cache-Control"] = "no-cache" if page else "no-store"
