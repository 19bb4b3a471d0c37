# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A requests session that cannot be held up or sent where it should not go.

Two things requests cannot do alone. A *deadline*: its timeouts start again with every octet, so that a server which
sends one header octet every nine seconds holds a thread for hours; here a timer shuts the socket at the end of the
total time. And *where a redirect leads*: a name that resolves to an address inside is only known when it is connected,
so the connected address itself is judged.
"""

import socket
import threading
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Literal

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from sentinel.errors import OutsideError

Zone = Literal["public", "loopback", "link-local", "private", "special"]


def zone_of(address: str) -> Zone:
    """What part of the network an address belongs to; ValueError when it is none."""
    ip = ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped if mapped is not None else ip
    if ip.is_loopback:
        return "loopback"
    if ip.is_link_local:
        return "link-local"
    if ip.is_multicast or ip.is_unspecified or str(ip) == "255.255.255.255":
        return "special"
    return "public" if ip.is_global else "private"


class ForbiddenAddressError(OutsideError):
    """A redirect led to an address the feed's own host gives no right to."""


class Guard:
    """The deadline and the address rule of one download, as a context: on leaving it every socket is closed.

    The first address connected is the operator's choice and sets the zone; whatever a redirect leads to must be public
    or of that zone. Behind a proxy only addresses written in the redirect itself can be judged.
    """

    def __init__(self, total_s: float) -> None:
        self._timer = threading.Timer(total_s, self._expire)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._own_zone: Zone | None = None
        self.expired = False

    def __enter__(self) -> "Guard":
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._timer.join()
        with self._lock:
            for sock in self._sockets:
                sock.close()
            self._sockets.clear()

    def connected(self, sock: socket.socket, *, proxied: bool) -> None:
        """Judge and watch a fresh connection; ForbiddenAddressError closes it."""
        with self._lock:
            # A duplicate, because TLS takes the socket itself away; shutting either shuts the connection.
            self._sockets.append(sock.dup())
            if self.expired:
                _shut(sock)
        if proxied:
            return
        address = str(sock.getpeername()[0])
        zone = zone_of(address)
        if self._own_zone is None:
            self._own_zone = zone
        elif zone not in ("public", self._own_zone):
            sock.close()
            raise ForbiddenAddressError(f"redirect to the {zone} address {address}")

    def redirected(self, host: str) -> None:
        """Judge a redirect's host where no connection will be: behind a proxy; ForbiddenAddressError refuses it."""
        if self._own_zone is not None:
            return
        try:
            zone = zone_of(host)
        except ValueError:
            return
        if zone != "public":
            raise ForbiddenAddressError(f"redirect to the {zone} address {host}")

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            for sock in self._sockets:
                _shut(sock)


def session(guard: Guard) -> requests.Session:
    """A session all of whose connections are guarded. Proxies come from the environment, credentials do not."""
    made = _Session()
    # Without this requests would read ~/.netrc and send what it finds there.
    made.auth = _no_credentials
    made.mount("http://", _Adapter(guard))
    made.mount("https://", _Adapter(guard))
    return made


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: requests would parse a redirect even where it is told not to follow it, and fail on a malformed one."""


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class _Adapter(HTTPAdapter):
    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _guard_pools(self.poolmanager, self._guard, proxied=False)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        _guard_pools(manager, self._guard, proxied=True)
        return manager


def _guard_pools(manager: PoolManager, guard: Guard, *, proxied: bool) -> None:
    """Make the manager's pools connect through ``guard``."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            sock = super()._new_conn()
            guard.connected(sock, proxied=proxied)
            return sock

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            sock = super()._new_conn()
            guard.connected(sock, proxied=proxied)
            return sock

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # Already closed by its owner: that is what was wanted.
        return
