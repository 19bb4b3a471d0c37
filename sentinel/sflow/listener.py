# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The UDP edge: receives datagrams on several addresses and hands them over in batches. Nothing is decoded here.

Each reader has a socket of every address and a thread that serves them, so a reader's batches come one at a time.
"""

import errno
import logging
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
from sentinel.receive.sockets import ReceivingSocket, enlarge, has_ipv6
from sentinel.rows import SocketRow
from sentinel.sflow import steering

_LOG = logging.getLogger(__name__)

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
        self._sockets: list[ReceivingSocket] = []
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
            self._sockets = []
            raise
        self._started = True
        for reader in self._readers:
            reader.start()

    def stop(self) -> None:
        """Stop receiving, wait for the threads, close the sockets. Harmless when not started."""
        self._stopping.set()
        for reader in self._readers:
            reader.stop()
        for each in self._sockets:
            each.count_drops()
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

    def ports(self) -> list[int]:
        """Return the port of each of the addresses, the real one if 0 was requested."""
        return [bound.getsockname()[1] for bound in self._readers[0].sockets]

    def sockets(self) -> list[SocketRow]:
        """Return one row per socket."""
        for each in self._sockets:
            each.count_drops()
        return [each.row() for each in self._sockets]

    def counters(self) -> ListenerCounters:
        """A copy of the counters as they stand, of all readers."""
        drops = [row.kernel_drops for row in self.sockets() if row.kernel_drops is not None]
        total = ListenerCounters(kernel_drops=sum(drops) if drops else None)
        for counters in (reader.counters() for reader in self._readers):
            total.datagrams += counters.datagrams
            total.bytes += counters.bytes
            total.batches += counters.batches
            total.truncated += counters.truncated
            total.errors.update(dict(counters.errors))
        return total

    def _bind_all(self, host: str, port: int) -> None:
        """One socket for each reader, all on the port that the first got."""
        if host == "::" and not has_ipv6():
            _LOG.warning("sflow listener: this system has no IPv6, so [::] port %d hears IPv4 alone", port)
            host = "0.0.0.0"  # noqa: S104  # what "::" is without IPv6
        for number, reader in enumerate(self._readers):
            bound = self._bind(host, port)
            reader.sockets.append(bound)
            address, port = bound.getsockname()[:2]
            listener = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
            self._sockets.append(ReceivingSocket(bound, "sflow", listener, number))
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
            granted = enlarge(bound, self._receive_buffer_bytes)
            if granted < self._receive_buffer_bytes:
                _LOG.warning(
                    "sflow listener %s port %d: receive buffer of %d octets granted, %d wanted"
                    " (raise net.core.rmem_max)",
                    *(host, port, granted, self._receive_buffer_bytes),
                )
            bound.setblocking(False)
            bound.bind(address)
        except OSError as error:
            bound.close()
            raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from error
        return bound

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
        self._counters = ListenerCounters()
        self._on_batch = on_batch
        self._make_receiver = receiver
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
        data, _, flags, address = bound.recvmsg(MAX_DATAGRAM_BYTES + 1)
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


def _sender(host: str) -> str:
    """The text of an address without its zone, an IPv4-mapped one as IPv4."""
    if ":" not in host:
        return host
    host = host.partition("%")[0]
    return host[7:] if host.startswith("::ffff:") and "." in host else host
