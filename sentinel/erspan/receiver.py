# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Receives mirrored packets and keeps those that were asked for.

Raw sockets of protocol 47 need privileges; while one is open the kernel doesn't answer the switches with
"protocol unreachable", and it hands over reassembled packets. GRE in UDP (RFC 8086) needs none and is heard only where
configured. A frame is kept when its outer source is the ``erspan_source`` of a switch and a capture of its address pair
is mirrored there; every other is counted by reason and forgotten. Its time is that of its arrival in the kernel.
"""

import logging
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sentinel.errors import DecodeError
from sentinel.erspan.decapsulate import Mirrored, NotMirroredError, decapsulate, decapsulate_gre
from sentinel.erspan.duplicates import Duplicates, Place
from sentinel.erspan.files import CaptureFiles
from sentinel.erspan.inner import Inner, inner_packet
from sentinel.erspan.outer import GRE
from sentinel.erspan.sequences import Sequences
from sentinel.limits import MAX_ERSPAN_DATAGRAM_BYTES

log = logging.getLogger(__name__)

# asm-generic/socket.h; the socket module has no name for them. SO_MEMINFO gives nine 32-bit numbers, the last the
# drops. SO_TIMESTAMPNS adds a struct timespec to each packet: when the kernel had it, however late it is read here.
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_SO_MEMINFO = 55
_SK_MEMINFO_DROPS = 8
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)
_BATCH = 256
_TICK_S = 0.25
# What arrives while stopping is taken too, but not for ever.
_STOP_S = 1.0


@dataclass(slots=True)
class ReceiverCounters:
    """``frames`` were written; ``kernel_drops`` found the receive buffer full; ``lost`` are gaps of sequence numbers.

    ``duplicates`` are copies of a packet that another switch mirrored too, of which ``left_out`` were not written.
    """

    packets: int = 0
    frames: int = 0
    truncated: int = 0
    not_mirrored: int = 0
    malformed: int = 0
    unknown_source: int = 0
    unexpected_pair: int = 0
    duplicates: int = 0
    left_out: int = 0
    not_stored: int = 0
    write_errors: int = 0
    kernel_drops: int = 0
    lost: int = 0
    internal_errors: int = 0


@dataclass(slots=True)
class _Socket:
    socket: socket.socket
    name: str
    raw_ipv4: bool
    drops: int = 0


@dataclass(slots=True)
class Granted:
    """A socket that is open: what it hears, and the receive buffer the kernel granted (octets)."""

    name: str
    buffer_bytes: int


@dataclass(slots=True)
class Opened:
    """What ``start`` came to: sockets open, and those that couldn't be, with the reason."""

    granted: list[Granted] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class Receiver:
    """Listens from ``start`` to ``stop`` in a thread of its own.

    ``switch_of(outer source)`` names the switch that mirrors from there, if any. ``expected(switch, inner source,
    inner destination)`` gives the capture that wants the frame, if any. ``on_frame(capture id, switch, frame)`` is told
    of each that was kept. All three are called from the receiver's thread.
    """

    def __init__(
        self,
        files: CaptureFiles,
        *,
        switch_of: Callable[[str], str | None],
        expected: Callable[[str, str, str], str | None],
        on_frame: Callable[[str, str, Mirrored], None] | None = None,
        raw: Sequence[str] = ("0.0.0.0", "::"),  # noqa: S104  # a switch's packets may arrive on any interface
        gre_in_udp: tuple[str, int] | None = None,
        receive_buffer_bytes: int = 32 << 20,
        leave_out_duplicates: bool = False,
    ) -> None:
        self.counters = ReceiverCounters()
        self.opened = Opened()
        self._files = files
        self._switch_of = switch_of
        self._expected = expected
        self._on_frame = on_frame
        self._raw = tuple(raw)
        self._gre_in_udp = gre_in_udp
        self._buffer_bytes = receive_buffer_bytes
        self._leave_out_duplicates = leave_out_duplicates
        self._sequences = Sequences()
        # Rising over restarts, so that no number comes twice in the parts of one capture.
        self._duplicates = Duplicates(time.time_ns() // 1000)
        self._sockets: list[_Socket] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._write_failed_at = float("-inf")

    def start(self) -> Opened:
        """Open what can be opened; raises ``OSError`` where that is nothing at all, or not the configured UDP port."""
        try:
            self._open()
        except OSError:
            self._close()
            raise
        self._thread = threading.Thread(target=self._run, name="erspan-receiver", daemon=True)
        self._thread.start()
        return self.opened

    def stop(self) -> None:
        """Take what has arrived, then close."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._close()
        self._files.flush()

    def udp_port(self) -> int | None:
        """The port GRE in UDP is heard on, where it is."""
        return next((each.socket.getsockname()[1] for each in self._sockets if each.name.startswith("udp")), None)

    def _open(self) -> None:
        error: OSError | None = None
        for address in self._raw:
            try:
                self._add(socket.SOCK_RAW, address, 0, f"raw GRE on {address}")
            except OSError as refusal:
                error = refusal
                self.opened.refused.append(f"raw GRE on {address}: {refusal.strerror}")
        if self._gre_in_udp is not None:
            host, port = self._gre_in_udp
            self._add(socket.SOCK_DGRAM, host, port, f"udp {host} port {port}")
        if not self._sockets and error is not None:
            raise error

    def _add(self, kind: socket.SocketKind, host: str, port: int, name: str) -> None:
        raw, ipv6 = kind == socket.SOCK_RAW, ":" in host
        opened = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, kind, GRE if raw else 0)
        try:
            opened.setblocking(False)
            if ipv6 and not raw:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            _enlarge(opened, self._buffer_bytes)
            opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            opened.bind((host, port))
            # The kernel reports twice what it grants, its own overhead being half.
            granted = opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        except OSError:
            opened.close()
            raise
        self._sockets.append(_Socket(opened, name, raw_ipv4=raw and not ipv6))
        self.opened.granted.append(Granted(name, granted))

    def _close(self) -> None:
        for each in self._sockets:
            each.socket.close()
        self._sockets.clear()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for each in self._sockets:
                selector.register(each.socket, selectors.EVENT_READ, each)
            ticked_at = stopping_since = time.monotonic()
            while True:
                stopping = self._stop.is_set()
                ready = selector.select(0 if stopping else _TICK_S)
                for key, _ in ready:
                    self._drain(key.data)
                now = time.monotonic()
                if stopping or now - ticked_at >= _TICK_S:
                    ticked_at = now
                    self._flush()
                    self._count_drops()
                if stopping and (not ready or now - stopping_since >= _STOP_S):
                    return
                if not stopping:
                    stopping_since = now

    def _drain(self, source: _Socket) -> None:
        receive = source.socket.recvmsg
        for _ in range(_BATCH):
            try:
                data, ancillary, _, address = receive(MAX_ERSPAN_DATAGRAM_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                log.debug("%s: %s", source.name, error)
                return
            try:
                self._packet(data, address[0], _arrival_ns(ancillary), raw_ipv4=source.raw_ipv4)
            except Exception:
                # A bug met by one packet must not end the reception of all others; it is loud and counted.
                log.exception("a mirrored packet could not be handled")
                self.counters.internal_errors += 1

    def _packet(self, data: bytes, sender: str, at_ns: int, *, raw_ipv4: bool) -> None:
        counters = self.counters
        counters.packets += 1
        switch = self._switch_of(sender.partition("%")[0] if "%" in sender else sender)
        if switch is None:
            counters.unknown_source += 1
            return
        try:
            # A raw IPv4 socket gives the IP header too; what the others give begins at the GRE header.
            mirrored = decapsulate(data) if raw_ipv4 else decapsulate_gre(data, sender, "")
        except NotMirroredError:
            counters.not_mirrored += 1
            return
        except DecodeError:
            counters.malformed += 1
            return
        lost = 0
        if mirrored.sequence is not None:
            lost = self._sequences.gap(switch, mirrored.session, mirrored.sequence)
            counters.lost += lost
        inner = inner_packet(mirrored.frame)
        capture_id = self._expected(switch, inner.src, inner.dst) if inner else None
        if inner is None or capture_id is None:
            counters.unexpected_pair += 1
            return
        counters.truncated += mirrored.truncated
        if self._store(capture_id, switch, mirrored, inner, at_ns, lost):
            counters.frames += 1
            if self._on_frame is not None:
                self._on_frame(capture_id, switch, mirrored)

    def _store(self, capture_id: str, switch: str, mirrored: Mirrored, inner: Inner, at_ns: int, lost: int) -> bool:
        place = (switch, mirrored.direction)
        packet_id, first = self._duplicates.number(capture_id, place, inner.identity, at_ns / 1e9)
        if first is not None:
            self.counters.duplicates += 1
            if self._leave_out_duplicates:
                self.counters.left_out += 1
                self._files.count_left_out(capture_id)
                return False
        try:
            stored = self._files.write(
                capture_id, switch, mirrored, at_ns, lost, packet_id, _said(first) if first else None
            )
        except OSError as error:
            self._failed(error)
            return False
        self.counters.not_stored += not stored
        return stored

    def _flush(self) -> None:
        try:
            self._files.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        self.counters.write_errors += 1
        now = time.monotonic()
        if now - self._write_failed_at >= 60:
            self._write_failed_at = now
            log.error("mirrored frames can't be written: %s", error)

    def _count_drops(self) -> None:
        for each in self._sockets:
            drops = _kernel_drops(each.socket)
            self.counters.kernel_drops += (drops - each.drops) & 0xFFFFFFFF
            each.drops = drops


def _enlarge(opened: socket.socket, size: int) -> None:
    """As large as asked for with privileges, as large as ``net.core.rmem_max`` allows without."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except OSError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _kernel_drops(opened: socket.socket) -> int:
    try:
        info = opened.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36)
    except OSError:
        return 0
    return int(struct.unpack("9I", info)[_SK_MEMINFO_DROPS]) if len(info) == 36 else 0


def _arrival_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, value in ancillary:
        if kind == _SO_TIMESTAMPNS and level == socket.SOL_SOCKET and len(value) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()


def _said(place: Place) -> str:
    switch, direction = place
    return f"by {switch} at its {direction}" if direction else f"by {switch}"
