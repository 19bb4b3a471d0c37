# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The UDP edge: receives datagrams on several addresses and hands them over in batches. Nothing is decoded here.

Each reader has a socket of every address and a thread that serves them, so a reader's batches come one at a time.
Linux tells how many datagrams it dropped for lack of buffer with the next one received (SO_RXQ_OVFL), and in
/proc/net/udp at any time; the larger of the two counts.
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Self

from sentinel.limits import (
    LISTENER_BATCH_DATAGRAMS,
    LISTENER_ERROR_PAUSE_S,
    LISTENER_LOG_INTERVAL_S,
    LISTENER_STOP_S,
    LISTENER_WAIT_MS,
    MAX_DATAGRAM_BYTES,
)
from sentinel.pulse import Pulse
from sentinel.receive.batches import BatchReceiver, Received
from sentinel.sflow import steering

_LOG = logging.getLogger(__name__)
# Linux's numbers (asm-generic/socket.h), which Python's socket module doesn't name.
_SO_RCVBUFFORCE, _SO_RXQ_OVFL = 33, 40
_DROPS = Struct("=I")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_DROPS.size)

OnBatch = Callable[[Sequence[Received]], object]


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
    """One bound socket. ``receive_buffer_bytes`` is what the system granted, counted as it was asked for.

    ``reader`` is the number of the thread that serves it; ``kernel_drops`` as in ``ListenerCounters``.
    """

    host: str
    port: int
    receive_buffer_bytes: int
    reader: int = 0
    kernel_drops: int | None = None


class Listener:
    """Receives on every one of ``addresses`` between ``start`` and ``stop``.

    ``"::"`` also takes IPv4, unless ``"0.0.0.0"`` is given for the port too. ``on_batch`` is called from a reader's own
    thread with up to LISTENER_BATCH_DATAGRAMS datagrams; what it raises is counted and logged, and the next comes. If
    it is several, each has a reader of its own, and all datagrams of one agent go to the same. ``receiver`` makes the
    compiled receiver; without it each datagram is received by itself.
    """

    def __init__(
        self,
        addresses: Sequence[tuple[str, int]],
        receive_buffer_bytes: int,
        on_batch: OnBatch | Sequence[OnBatch],
        receiver: Callable[[int, int], BatchReceiver] | None = None,
    ) -> None:
        self._addresses = list(addresses)
        self._receive_buffer_bytes = receive_buffer_bytes
        self._stopping = threading.Event()
        self._next_log: dict[str, float] = {}
        takers = [on_batch] if callable(on_batch) else list(on_batch)
        self._readers = [
            _Reader(number, taker, receiver, self._stopping, self._may_log) for number, taker in enumerate(takers)
        ]
        self._drops: dict[socket.socket, int] = {}
        self._kernel_drops: int | None = None
        self._started = False

    def start(self) -> None:
        """Bind and begin. Raises ``OSError``, naming the address, where one cannot be bound; nothing is open then."""
        if self._started:
            raise RuntimeError("the listener was started before")
        try:
            for host, port in self._addresses:
                self._bind_all(host, port)
        except OSError:
            self._close()
            raise
        self._started = True
        for reader in self._readers:
            reader.start()

    def stop(self) -> None:
        """Stop receiving, wait for the threads, close the sockets. Harmless when not started."""
        self._stopping.set()
        for reader in self._readers:
            reader.stop()
        self._count_drops()
        self._close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def pulses(self) -> list[Pulse]:
        """Return the signs of life of the reading threads."""
        return [reader.pulse for reader in self._readers]

    def listening(self) -> list[ListeningOn]:
        """The bound sockets, with the real port where 0 was asked for."""
        self._count_drops()
        found = []
        for number, reader in enumerate(self._readers):
            for bound in reader.sockets:
                host, port = bound.getsockname()[:2]
                # Linux doubles the size for its own bookkeeping and reports the double.
                granted = bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
                found.append(ListeningOn(host, port, granted, number, self._drops.get(bound)))
        return found

    def counters(self) -> ListenerCounters:
        """A copy of the counters as they stand, of all readers."""
        self._count_drops()
        total = ListenerCounters(kernel_drops=self._kernel_drops)
        for counters in (reader.counters() for reader in self._readers):
            total.datagrams += counters.datagrams
            total.bytes += counters.bytes
            total.batches += counters.batches
            total.truncated += counters.truncated
            total.errors.update(dict(counters.errors))
        return total

    def _bind_all(self, host: str, port: int) -> None:
        """One socket for each reader, all on the port that the first got."""
        if host == "::" and not _has_ipv6():
            _LOG.warning("sflow listener: this system has no IPv6, so [::] port %d hears IPv4 alone", port)
            host = "0.0.0.0"  # noqa: S104  # what "::" is without IPv6
        for number, reader in enumerate(self._readers):
            bound = self._bind(host, port)
            reader.sockets.append(bound)
            port = bound.getsockname()[1]
            if number == len(self._readers) - 1 and number:
                try:
                    steering.steer(bound, len(self._readers))
                except OSError as error:
                    self._log("steering", f"sflow listener: agents may change between threads: {error}")

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
            if len(self._readers) > 1:
                steering.share(bound)
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
        for reader in self._readers:
            reader.close()

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
        told: Counter[socket.socket] = Counter()
        bound = [each for reader in self._readers for each in reader.sockets]
        for source in (
            _proc_drops({os.fstat(each.fileno()).st_ino: each for each in bound}),
            *(reader.drops() for reader in self._readers),
        ):
            for each, drops in source.items():
                told[each] = max(told[each], drops)
        self._drops.update(told)
        if self._drops:
            self._kernel_drops = sum(self._drops.values())


class _Reader:
    """One thread with a socket of every address."""

    def __init__(
        self,
        number: int,
        on_batch: OnBatch,
        receiver: Callable[[int, int], BatchReceiver] | None,
        stopping: threading.Event,
        may_log: Callable[[str], bool],
    ) -> None:
        self.pulse = Pulse(f"sflow-listener-{number}")
        self.sockets: list[socket.socket] = []
        # What was received one by one; the compiled receivers count for themselves.
        self._drops: dict[socket.socket, int] = {}
        self._counters = ListenerCounters()
        self._on_batch = on_batch
        self._make_receiver = receiver
        # One for each socket: what it was told of drops is that socket's.
        self._receivers: dict[socket.socket, BatchReceiver] = {}
        self._stopping = stopping
        self._may_log = may_log
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._wake = socket.socketpair()
        if self._make_receiver is not None:
            self._receivers = {
                bound: self._make_receiver(LISTENER_BATCH_DATAGRAMS, MAX_DATAGRAM_BYTES) for bound in self.sockets
            }
        self.pulse.beat()
        self._thread = threading.Thread(target=self._run, name=self.pulse.thread)
        self._thread.start()

    def stop(self) -> None:
        if self._wake is not None:
            self._wake[1].send(b"x")
        if self._thread is not None:
            self._thread.join(LISTENER_STOP_S)
            self.pulse.rest()
            if self._thread.is_alive():
                _LOG.error("sflow listener: still busy with a batch after %s s", LISTENER_STOP_S)

    def close(self) -> None:
        for bound in (*self.sockets, *(self._wake or ())):
            bound.close()
        self.sockets = []
        self._wake = None

    def counters(self) -> ListenerCounters:
        """A copy, without ``kernel_drops``."""
        receivers = self._receivers.values()
        return replace(
            self._counters,
            datagrams=self._counters.datagrams + sum(each.datagrams for each in receivers),
            bytes=self._counters.bytes + sum(each.bytes for each in receivers),
            truncated=self._counters.truncated + sum(each.truncated for each in receivers),
        )

    def drops(self) -> dict[socket.socket, int]:
        """What came with datagrams about each socket; nothing of one that told nothing."""
        return self._drops | {bound: each.drops for bound, each in self._receivers.items() if each.drops >= 0}

    def _run(self) -> None:
        if self._wake is None:
            return
        if len(self.sockets) == 1 and self._receivers:
            # Nothing to choose from: the compiled receiver waits by itself.
            while not self._stopping.is_set():
                self.pulse.beat()
                self._drain(self.sockets[0], self._wake[0].fileno(), LISTENER_WAIT_MS)
            return
        with selectors.DefaultSelector() as selector:
            for bound in self.sockets:
                selector.register(bound, selectors.EVENT_READ)
            selector.register(self._wake[0], selectors.EVENT_READ)
            readable = set(self.sockets)
            while not self._stopping.is_set():
                self.pulse.beat()
                for key, _ in selector.select(LISTENER_WAIT_MS / 1000):
                    if key.fileobj in readable and isinstance(key.fileobj, socket.socket):
                        self._drain(key.fileobj, -1, 0)

    def _drain(self, bound: socket.socket, wake_fd: int, wait_ms: int) -> None:
        """Read what is there, up to one batch, so that no socket starves the others."""
        batch: Sequence[Received] = []
        try:
            if self._receivers:
                batch = self._receivers[bound].receive(bound.fileno(), wake_fd, wait_ms)
            else:
                batch = self._receive_each(bound)
        except OSError as error:
            self._failed(error)
        if batch:
            self._hand_over(batch)

    def _receive_each(self, bound: socket.socket) -> Sequence[Received]:
        batch: list[Received] = []
        try:
            while len(batch) < LISTENER_BATCH_DATAGRAMS:
                batch.append(self._receive(bound))
        except BlockingIOError:
            pass
        except OSError as error:
            # What was read before it is kept.
            self._failed(error)
        return batch

    def _failed(self, error: OSError) -> None:
        reason = errno.errorcode.get(error.errno or 0, "unknown")
        self._counters.errors[reason] += 1
        if self._may_log(reason):
            _LOG.warning("sflow listener: cannot receive: %s", error)
        self._stopping.wait(LISTENER_ERROR_PAUSE_S)

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

    def _hand_over(self, batch: Sequence[Received]) -> None:
        self._counters.batches += 1
        try:
            self._on_batch(batch)
        except Exception:  # noqa: BLE001 - a bug in what is behind must not end the reception
            self._counters.errors["on_batch"] += 1
            if self._may_log("on_batch"):
                _LOG.exception("sflow listener: a batch of %d datagrams was lost to a bug", len(batch))


def _has_ipv6() -> bool:
    """Asked of the running kernel, which may have been booted with ``ipv6.disable=1``."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True


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
