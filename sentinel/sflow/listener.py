# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The UDP edge: receives datagrams on several addresses and hands them over in batches. Nothing is decoded here.

One thread serves all sockets, so batches come one at a time. Linux tells how many datagrams it dropped for lack of
buffer with the next one received (SO_RXQ_OVFL), and in /proc/net/udp at any time; the larger of the two counts.
"""

import errno
import logging
import os
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Self

from sentinel.limits import (
    LISTENER_BATCH_DATAGRAMS,
    LISTENER_ERROR_PAUSE_S,
    LISTENER_LOG_INTERVAL_S,
    LISTENER_STOP_S,
    MAX_DATAGRAM_BYTES,
)

_LOG = logging.getLogger(__name__)
# Linux's numbers (asm-generic/socket.h), which Python's socket module doesn't name.
_SO_RCVBUFFORCE, _SO_RXQ_OVFL = 33, 40
_DROPS = Struct("=I")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_DROPS.size)

Received = tuple[bytes, str, float]
"""A datagram, its sender's address (IPv4-mapped ones as IPv4), the UTC second it was read."""


@dataclass(slots=True)
class ListenerCounters:
    """Since the start. ``kernel_drops`` is ``None`` where the system doesn't tell; ``errors`` counts by reason."""

    datagrams: int = 0
    bytes: int = 0
    batches: int = 0
    truncated: int = 0
    kernel_drops: int | None = None
    errors: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class ListeningOn:
    """One bound socket. ``receive_buffer_bytes`` is what the system granted, counted as it was asked for."""

    host: str
    port: int
    receive_buffer_bytes: int


class Listener:
    """Receives on every one of ``addresses`` between ``start`` and ``stop``.

    ``"::"`` also takes IPv4, unless ``"0.0.0.0"`` is given for the port too. ``on_batch`` is called from the listener's
    own thread with up to LISTENER_BATCH_DATAGRAMS datagrams; what it raises is counted and logged, and the next comes.
    """

    def __init__(
        self,
        addresses: Sequence[tuple[str, int]],
        receive_buffer_bytes: int,
        on_batch: Callable[[list[Received]], None],
    ) -> None:
        self._addresses = list(addresses)
        self._receive_buffer_bytes = receive_buffer_bytes
        self._on_batch = on_batch
        self._sockets: list[socket.socket] = []
        self._drops: dict[socket.socket, int] = {}
        self._counters = ListenerCounters()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._next_log: dict[str, float] = {}

    def start(self) -> None:
        """Bind and begin. Raises ``OSError``, naming the address, where one cannot be bound; nothing is open then."""
        if self._thread is not None:
            raise RuntimeError("the listener was started before")
        try:
            for host, port in self._addresses:
                self._sockets.append(self._bind(host, port))
        except OSError:
            self._close()
            raise
        self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="sflow-listener")
        self._thread.start()

    def stop(self) -> None:
        """Stop receiving, wait for the thread, close the sockets. Harmless when not started."""
        self._stopping.set()
        if self._wake is not None:
            self._wake[1].send(b"x")
        if self._thread is not None:
            self._thread.join(LISTENER_STOP_S)
            if self._thread.is_alive():
                _LOG.error("sflow listener: still busy with a batch after %s s", LISTENER_STOP_S)
        self._count_drops()
        self._close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def listening(self) -> list[ListeningOn]:
        """The bound sockets, with the real port where 0 was asked for."""
        found = []
        for bound in self._sockets:
            host, port = bound.getsockname()[:2]
            # Linux doubles the size for its own bookkeeping and reports the double.
            granted = bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
            found.append(ListeningOn(host, port, granted))
        return found

    def counters(self) -> ListenerCounters:
        """A copy of the counters as they stand."""
        self._count_drops()
        now = self._counters
        errors = Counter(now.errors)
        return ListenerCounters(now.datagrams, now.bytes, now.batches, now.truncated, now.kernel_drops, errors)

    def _bind(self, host: str, port: int) -> socket.socket:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
            )[0]
            bound = socket.socket(family, kind, protocol)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from error
        try:
            if family == socket.AF_INET6:
                both = host == "::" and ("0.0.0.0", port) not in self._addresses  # noqa: S104 - compared, not bound
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
            self._set_buffer(bound, host, port)
            self._ask_for_drops(bound)
            bound.setblocking(False)
            bound.bind(address)
        except OSError as error:
            bound.close()
            raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from error
        return bound

    def _set_buffer(self, bound: socket.socket, host: str, port: int) -> None:
        wanted = self._receive_buffer_bytes
        try:
            # Beyond net.core.rmem_max; needs CAP_NET_ADMIN.
            bound.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, wanted)
        except OSError:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
        granted = bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        if granted < wanted:
            _LOG.warning(
                "sflow listener %s port %d: receive buffer of %d octets granted, %d wanted (raise net.core.rmem_max)",
                *(host, port, granted, wanted),
            )

    def _ask_for_drops(self, bound: socket.socket) -> None:
        try:
            bound.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        except OSError:
            self._log("no SO_RXQ_OVFL", "sflow listener: the system doesn't report its drops with the datagrams")

    def _close(self) -> None:
        for bound in (*self._sockets, *(self._wake or ())):
            bound.close()
        self._sockets = []
        self._wake = None

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for bound in self._sockets:
                selector.register(bound, selectors.EVENT_READ)
            if self._wake is not None:
                selector.register(self._wake[0], selectors.EVENT_READ)
            readable = set(self._sockets)
            while not self._stopping.is_set():
                for key, _ in selector.select():
                    if key.fileobj in readable and isinstance(key.fileobj, socket.socket):
                        self._drain(key.fileobj)

    def _drain(self, bound: socket.socket) -> None:
        """Read what is there, up to one batch, so that no socket starves the others."""
        batch: list[Received] = []
        try:
            while len(batch) < LISTENER_BATCH_DATAGRAMS:
                batch.append(self._receive(bound))
        except BlockingIOError:
            pass
        except OSError as error:
            reason = errno.errorcode.get(error.errno or 0, "unknown")
            self._counters.errors[reason] += 1
            self._log(reason, f"sflow listener: cannot receive: {error}")
            self._stopping.wait(LISTENER_ERROR_PAUSE_S)
        if batch:
            self._hand_over(batch)

    def _receive(self, bound: socket.socket) -> Received:
        data, ancillary, flags, address = bound.recvmsg(MAX_DATAGRAM_BYTES + 1, _ANCILLARY_BYTES)
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL and len(value) >= _DROPS.size:
                self._drops[bound] = _DROPS.unpack_from(value)[0]
        self._counters.datagrams += 1
        self._counters.bytes += len(data)
        if flags & socket.MSG_TRUNC:
            self._counters.truncated += 1
        return data, _sender(address[0]), time.time()

    def _hand_over(self, batch: list[Received]) -> None:
        self._counters.batches += 1
        try:
            self._on_batch(batch)
        except Exception:  # noqa: BLE001 - a bug in what is behind must not end the reception
            self._counters.errors["on_batch"] += 1
            if self._may_log("on_batch"):
                _LOG.exception("sflow listener: a batch of %d datagrams was lost to a bug", len(batch))

    def _log(self, reason: str, message: str) -> None:
        if self._may_log(reason):
            _LOG.warning(message)

    def _may_log(self, reason: str) -> bool:
        now = time.monotonic()
        if now < self._next_log.get(reason, now):
            return False
        self._next_log[reason] = now + LISTENER_LOG_INTERVAL_S
        return True

    def _count_drops(self) -> None:
        """Bring ``kernel_drops`` up to date, while the sockets are open."""
        told = _proc_drops({os.fstat(bound.fileno()).st_ino: bound for bound in self._sockets})
        for bound, drops in told.items():
            self._drops[bound] = max(drops, self._drops.get(bound, 0))
        if self._drops:
            self._counters.kernel_drops = sum(self._drops.values())


def _sender(host: str) -> str:
    """The text of an address without its zone, an IPv4-mapped one as IPv4."""
    if ":" not in host:
        return host
    host = host.partition("%")[0]
    return host[7:] if host.startswith("::ffff:") and "." in host else host


def _proc_drops(sockets: dict[int, socket.socket]) -> dict[socket.socket, int]:
    """The drops of each socket by its inode (proc(5): the tenth field is the inode, the last one the drops)."""
    found: dict[socket.socket, int] = {}
    for table in ("/proc/net/udp", "/proc/net/udp6") if sockets else ():
        try:
            rows = Path(table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            if len(columns) >= 13 and columns[9].isdigit() and int(columns[9]) in sockets:
                found[sockets[int(columns[9])]] = int(columns[12])
    return found
