# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Receives mirrored packets and hands them in batches to the keeper, which writes those that were asked for.

Raw sockets of protocol 47 need privileges; while one is open the kernel doesn't answer the switches with
"protocol unreachable", and it hands over reassembled packets. GRE in UDP (RFC 8086) needs none and is heard only where
configured. A frame's time is that of its arrival in the kernel.
"""

import logging
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sentinel.erspan.duplicates import Duplicates
from sentinel.erspan.files import CaptureFiles
from sentinel.erspan.keeper import Arrived, Expected, Keeper, Numbers, OnFrames, ReceiverCounters, SwitchOf
from sentinel.limits import ERSPAN_BATCH_PACKETS, ERSPAN_LINGER_S, MAX_ERSPAN_DATAGRAM_BYTES
from sentinel.packets.ip import GRE
from sentinel.pulse import Pulse
from sentinel.receive.sockets import ReceivingSocket, enlarge
from sentinel.rows import SocketRow

log = logging.getLogger(__name__)

# asm-generic/socket.h; the socket module has no name for it. Adds a struct timespec to each packet: when the kernel had
# it, however late it is read here.
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)
_TICK_S = 0.25
# What arrives while stopping is taken too, but not for ever.
_STOP_S = 1.0


class Batches(Protocol):
    """The compiled receiver: many packets a call, which only the compiled keeper takes."""

    def receive(self, fd: int, wake_fd: int, timeout_ms: int) -> Sequence[object]: ...


@dataclass(frozen=True, slots=True)
class _Source:
    receiving: ReceivingSocket
    raw_ipv4: bool


@dataclass(slots=True)
class Opened:
    """What ``start`` came to: sockets open, and those that couldn't be, with the reason."""

    sockets: list[ReceivingSocket] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


class Receiver:
    """Listens from ``start`` to ``stop`` in a thread of its own.

    ``switch_of(outer source)`` names the switch that mirrors from there, if any. ``expected(switch, inner source,
    inner destination)`` gives the capture that wants the frame, if any. ``on_frames(capture id, switch, number)`` is
    told of those that were kept. All three are called from the receiver's thread. ``batches`` makes the compiled
    receiver, with which goes the compiled keeper; without it each packet is received and handled by itself.
    """

    def __init__(
        self,
        files: CaptureFiles,
        *,
        switch_of: SwitchOf,
        expected: Expected,
        on_frames: OnFrames | None = None,
        raw: Sequence[str] = ("0.0.0.0", "::"),  # noqa: S104  # a switch's packets may arrive on any interface
        gre_in_udp: tuple[str, int] | None = None,
        receive_buffer_bytes: int = 32 << 20,
        leave_out_duplicates: bool = False,
        batches: Callable[[int, int], Batches] | None = None,
    ) -> None:
        self.opened = Opened()
        self._files = files
        self._raw = tuple(raw)
        self._gre_in_udp = gre_in_udp
        self._buffer_bytes = receive_buffer_bytes
        numbers: Callable[[int], Numbers] = Duplicates
        if batches is not None:
            from sentinel.erspan import _native  # noqa: PLC0415 - only where it was built

            numbers = _native.Duplicates
        self._keeper = Keeper(
            files,
            switch_of,
            expected,
            on_frames,
            leave_out_duplicates=leave_out_duplicates,
            # Rising over restarts, so that no number comes twice in the parts of one capture.
            first_id=time.time_ns() // 1000,
            numbers=numbers,
        )
        self._batches = batches(ERSPAN_BATCH_PACKETS, MAX_ERSPAN_DATAGRAM_BYTES) if batches else None
        self._native = _native.NativeKeeper(self._keeper) if batches else None
        self._sources: list[_Source] = []
        self._stop = threading.Event()
        self.pulse = Pulse("erspan-receiver")
        self._thread: threading.Thread | None = None

    @property
    def counters(self) -> ReceiverCounters:
        return self._keeper.counters

    def start(self) -> Opened:
        """Open what can be opened; raises ``OSError`` where that is nothing at all, or not the configured UDP port."""
        try:
            self._open()
        except OSError:
            self._close()
            raise
        self.pulse.beat()
        self._thread = threading.Thread(target=self._run, name=self.pulse.thread, daemon=True)
        self._thread.start()
        return self.opened

    def stop(self) -> None:
        """Take what has arrived, then close."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self.pulse.rest()
            self._thread = None
        self._close()
        self._files.flush()

    def sockets(self) -> list[SocketRow]:
        """Return one row per socket."""
        return [each.row() for each in self.opened.sockets]

    def _open(self) -> None:
        error: OSError | None = None
        for address in self._raw:
            try:
                self._add(socket.SOCK_RAW, address, 0, f"raw GRE on {address}")
            except OSError as refusal:
                error = refusal
                self.opened.refused[f"raw GRE on {address}"] = refusal.strerror or str(refusal)
        if self._gre_in_udp is not None:
            host, port = self._gre_in_udp
            self._add(socket.SOCK_DGRAM, host, port, f"udp {host} port {port}")
        if not self._sources and error is not None:
            raise error

    def _add(self, kind: socket.SocketKind, host: str, port: int, name: str) -> None:
        raw, ipv6 = kind == socket.SOCK_RAW, ":" in host
        opened = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, kind, GRE if raw else 0)
        try:
            opened.setblocking(False)
            if ipv6 and not raw:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            enlarge(opened, self._buffer_bytes)
            opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            opened.bind((host, port))
            receiving = ReceivingSocket(opened, "erspan", name)
        except OSError:
            opened.close()
            raise
        self._sources.append(_Source(receiving, raw_ipv4=raw and not ipv6))
        self.opened.sockets.append(receiving)

    def _close(self) -> None:
        for each in self._sources:
            each.receiving.socket.close()
        self._sources.clear()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for each in self._sources:
                selector.register(each.receiving.socket, selectors.EVENT_READ, each)
            ticked_at = stopping_since = time.monotonic()
            while True:
                stopping = self._stop.is_set()
                ready = selector.select(0 if stopping else _TICK_S)
                taken = [self._drain(key.data) for key, _ in ready]
                now = time.monotonic()
                if stopping or now - ticked_at >= _TICK_S:
                    ticked_at = now
                    self.pulse.beat()
                    self._flush()
                    self._count_drops()
                if stopping and (not ready or now - stopping_since >= _STOP_S):
                    return
                if not stopping:
                    stopping_since = now
                    if self._batches is not None and 1 < max(taken, default=0) < ERSPAN_BATCH_PACKETS:
                        # They come in quick succession: one waking for many of them costs less than one for each.
                        time.sleep(ERSPAN_LINGER_S)

    def _drain(self, source: _Source) -> int:
        """Take what is there, up to one batch, so that no socket starves the others; how many that were."""
        if self._batches is None or self._native is None:
            batch = list(_received(source))
            self._keeper.take(batch, raw_ipv4=source.raw_ipv4)
            return len(batch)
        try:
            arrived = self._batches.receive(source.receiving.socket.fileno(), -1, 0)
        except OSError as error:
            log.debug("%s: %s", source.receiving.listener, error)
            return 0
        try:
            self._native.take(arrived, raw_ipv4=source.raw_ipv4)
        except Exception as error:  # noqa: BLE001 - a bug met by one batch must not end the reception
            self._keeper.bug(error, len(arrived))
        return len(arrived)

    def _flush(self) -> None:
        try:
            self._files.flush()
        except OSError as error:
            self._keeper.failed(error, 1)

    def _count_drops(self) -> None:
        for each in self._sources:
            self.counters.kernel_drops += each.receiving.count_drops()


def _received(source: _Source) -> Iterator[Arrived]:
    receive = source.receiving.socket.recvmsg
    for _ in range(ERSPAN_BATCH_PACKETS):
        try:
            data, ancillary, _, (host, *_) = receive(MAX_ERSPAN_DATAGRAM_BYTES, _ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            log.debug("%s: %s", source.receiving.listener, error)
            return
        yield data, host.partition("%")[0], _arrival_ns(ancillary)


def _arrival_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, value in ancillary:
        if kind == _SO_TIMESTAMPNS and level == socket.SOL_SOCKET and len(value) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()
