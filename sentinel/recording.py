# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings: the packets of pcap and pcapng files, and the sFlow datagrams in them.

Sources: IETF draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng; link types of the tcpdump.org registry. The readers
are our own because a recording is hostile input: dpkt's reserve whatever length a file claims. Here a length is
believed only below its bound, and what isn't needed is passed over in small pieces.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct
from typing import BinaryIO

from sentinel.errors import RecordingError
from sentinel.limits import (
    MAX_FRAGMENT_BYTES,
    MAX_FRAGMENTED_PACKETS,
    MAX_FRAGMENTS_PER_PACKET,
    MAX_OUTER_EXTENSION_HEADERS,
    MAX_OUTER_VLAN_TAGS,
    MAX_PCAPNG_INTERFACES,
    MAX_PCAPNG_PACKET_BLOCK_BYTES,
    MAX_RECORDED_PACKET_BYTES,
    RECORDING_SKIP_BYTES,
)

SFLOW_PORT = 6343


@dataclass(frozen=True, slots=True)
class RecordedPacket:
    """One packet of a recording. ``frame`` counts from 1; ``at`` is UTC seconds; ``data`` may be cut short.

    ``at_ns`` is the same time in nanoseconds, as exact as the recording, which may claim any: also before 1970.
    """

    frame: int
    at: float
    link_type: int
    data: bytes
    at_ns: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class RecordedDatagram:
    """One UDP payload of a recording; ``frame`` is the packet it ended in, ``sender`` its source address."""

    frame: int
    at: float
    sender: str
    destination: str
    dst_port: int
    payload: bytes


# --- files ---------------------------------------------------------------------------------------

_NS = 1_000_000_000
_PCAPNG = b"\x0a\x0d\x0d\x0a"
# Byte order, units of the timestamp's second half, octets of a packet's header (24: Kuznetzov's patched format).
_PCAP_MAGICS = {
    b"\xa1\xb2\xc3\xd4": (">", 1_000_000, 16),
    b"\xd4\xc3\xb2\xa1": ("<", 1_000_000, 16),
    b"\xa1\xb2\x3c\x4d": (">", 1_000_000_000, 16),
    b"\x4d\x3c\xb2\xa1": ("<", 1_000_000_000, 16),
    b"\xa1\xb2\xcd\x34": (">", 1_000_000, 24),
    b"\x34\xcd\xb2\xa1": ("<", 1_000_000, 24),
}
# The bits above may tell of a frame check sequence.
_LINK_TYPE_MASK = 0x03FFFFFF


def packets(source: str | os.PathLike[str] | BinaryIO) -> Iterator[RecordedPacket]:
    """The packets of a pcap or pcapng recording, in order: of a file, a binary stream, or standard input (``"-"``).

    Raises ``RecordingError`` where it cannot be read on; what came before has been given by then.
    """
    with ExitStack() as stack:
        name = str(getattr(source, "name", "stream"))
        file: BinaryIO
        if not isinstance(source, (str, os.PathLike)):
            file = source
        elif str(source) == "-":
            name, file = "standard input", sys.stdin.buffer
        else:
            name = str(source)
            try:
                file = stack.enter_context(open(source, "rb"))
            except OSError as error:
                raise RecordingError(f"{name}: {error.strerror or error}") from error
        yield from _Reader(file, name).packets()


class _Reader:
    """Reads one stream forward; every problem names the file and the octet."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._at = 0

    def packets(self) -> Iterator[RecordedPacket]:
        magic = self._up_to(4)
        if magic == _PCAPNG:
            yield from self._pcapng()
        elif magic in _PCAP_MAGICS:
            yield from self._pcap(*_PCAP_MAGICS[magic])
        elif magic[:2] == b"\x1f\x8b":
            raise self._error("compressed (gzip): unpack it first")
        else:
            raise self._error("neither pcap nor pcapng" if magic else "empty")

    def _error(self, problem: str) -> RecordingError:
        return RecordingError(f"{self._name}: {problem} (at octet {self._at})")

    def _up_to(self, size: int) -> bytes:
        """``size`` octets, fewer at the end of the stream."""
        pieces = []
        while size:
            try:
                piece = self._file.read(size)
            except (OSError, ValueError) as error:
                raise self._error(f"cannot be read: {error}") from error
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
            self._at += len(piece)
        return b"".join(pieces)

    def _exactly(self, size: int, what: str) -> bytes:
        data = self._up_to(size)
        if len(data) < size:
            raise self._error(f"cut short inside {what}")
        return data

    def _skip(self, size: int, what: str) -> None:
        while size:
            step = min(size, RECORDING_SKIP_BYTES)
            self._exactly(step, what)
            size -= step

    # A pcap file: a header, then packets.

    def _pcap(self, order: str, units: int, header_size: int) -> Iterator[RecordedPacket]:
        header = self._exactly(20, "the file header")
        link_type = Struct(order + "I").unpack_from(header, 16)[0] & _LINK_TYPE_MASK
        layout = Struct(order + "4I")
        frame = 0
        while head := self._up_to(header_size):
            if len(head) < header_size:
                raise self._error("cut short inside a packet header")
            seconds, fraction, size, _ = layout.unpack_from(head)
            if size > MAX_RECORDED_PACKET_BYTES:
                raise self._error(f"packet of {size} octets, at most {MAX_RECORDED_PACKET_BYTES} expected")
            frame += 1
            data = self._exactly(size, "a packet")
            at_ns = seconds * _NS + fraction * _NS // units
            yield RecordedPacket(frame, seconds + fraction / units, link_type, data, at_ns)

    # A pcapng file: blocks of type, length, body, length again.

    def _pcapng(self) -> Iterator[RecordedPacket]:
        section = self._section()
        frame = 0
        while head := self._up_to(4):
            if head == _PCAPNG:
                section = self._section()
                continue
            if len(head) < 4:
                raise self._error("cut short inside a block header")
            kind = section.u32(head)
            size = self._block_size(section)
            if kind not in section.readers:
                self._skip(size, "a block")
                self._close_block(section, size)
                continue
            if size > MAX_PCAPNG_PACKET_BLOCK_BYTES:
                raise self._error(f"block of {size} octets, at most {MAX_PCAPNG_PACKET_BLOCK_BYTES} expected")
            body = self._exactly(size, "a block")
            self._close_block(section, size)
            try:
                found = section.readers[kind](body)
            except _BlockError as error:
                raise self._error(str(error)) from error
            if found is not None:
                frame += 1
                at, at_ns, link_type, data = found
                yield RecordedPacket(frame, at, link_type, data, at_ns)

    def _section(self) -> "_Section":
        """The section header behind its type: length, byte-order magic, the rest passed over."""
        size_and_magic = self._exactly(8, "a section header")
        orders = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
        order = orders.get(size_and_magic[4:])
        if order is None:
            raise self._error(f"byte-order magic {size_and_magic[4:].hex()}, expected 1a2b3c4d")
        section = _Section(order)
        total = section.u32(size_and_magic)
        # Type, length, magic, version, section length, length.
        if total < 28 or total % 4:
            raise self._error(f"section header of {total} octets, expected a multiple of 4 from 28 on")
        self._skip(total - 16, "a section header")
        self._close_block(section, total - 12)
        return section

    def _block_size(self, section: "_Section") -> int:
        """The octets of the body of the block whose type has been read."""
        total = section.u32(self._exactly(4, "a block header"))
        if total < 12 or total % 4:
            raise self._error(f"block of {total} octets, expected a multiple of 4 from 12 on")
        return total - 12

    def _close_block(self, section: "_Section", size: int) -> None:
        total = section.u32(self._exactly(4, "a block"))
        if total != size + 12:
            raise self._error(f"block closes with length {total}, began with {size + 12}")


class _BlockError(Exception):
    """What is wrong inside a block."""


@dataclass(frozen=True, slots=True)
class _Interface:
    link_type: int
    snap_length: int
    units: int
    offset_s: int


_Found = tuple[float, int, int, bytes]


class _Section:
    """One section of a pcapng file: its byte order and the interfaces described so far."""

    def __init__(self, order: str) -> None:
        self._order = order
        self._u32 = Struct(order + "I")
        self._interfaces: list[_Interface] = []
        self.readers: dict[int, Callable[[bytes], _Found | None]] = {
            1: self._interface,
            2: self._packet,
            3: self._simple_packet,
            6: self._enhanced_packet,
        }

    def u32(self, data: bytes) -> int:
        value: int = self._u32.unpack_from(data)[0]
        return value

    def _fields(self, layout: str, body: bytes) -> tuple[int, ...]:
        form = Struct(self._order + layout)
        if len(body) < form.size:
            raise _BlockError(f"block body of {len(body)} octets, expected {form.size} or more")
        return form.unpack_from(body)

    def _interface(self, body: bytes) -> None:
        if len(self._interfaces) >= MAX_PCAPNG_INTERFACES:
            raise _BlockError(f"more than {MAX_PCAPNG_INTERFACES} interfaces")
        link_type, _, snap_length = self._fields("HHI", body)
        units, offset_s = 1_000_000, 0
        for code, value in self._options(body[8:]):
            if code == 9 and value:
                units = (2 if value[0] & 0x80 else 10) ** (value[0] & 0x7F)
            elif code == 14 and len(value) >= 8:
                offset_s = Struct(self._order + "q").unpack_from(value)[0]
        self._interfaces.append(_Interface(link_type, snap_length, units, offset_s))

    def _options(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        head = Struct(self._order + "HH")
        at = 0
        while len(data) - at >= 4:
            code, size = head.unpack_from(data, at)
            if code == 0:
                break
            yield code, data[at + 4 : at + 4 + size]
            at += 4 + size + (-size & 3)

    def _enhanced_packet(self, body: bytes) -> _Found:
        number, high, low, size, _ = self._fields("5I", body)
        return self._found(number, high << 32 | low, body, size)

    def _packet(self, body: bytes) -> _Found:
        number, _, high, low, size, _ = self._fields("2H4I", body)
        return self._found(number, high << 32 | low, body, size)

    def _found(self, number: int, ticks: int, body: bytes, size: int) -> _Found:
        interface = self._at(number)
        if size > len(body) - 20:
            raise _BlockError(f"packet of {size} octets in a block with {len(body) - 20}")
        at = interface.offset_s + ticks / interface.units
        at_ns = interface.offset_s * _NS + ticks * _NS // interface.units
        return at, at_ns, interface.link_type, body[20 : 20 + size]

    def _simple_packet(self, body: bytes) -> _Found:
        """Without a time and always of the first interface."""
        (length,) = self._fields("I", body)
        interface = self._at(0)
        size = min(length, interface.snap_length or length, len(body) - 4)
        return 0.0, 0, interface.link_type, body[4 : 4 + size]

    def _at(self, number: int) -> _Interface:
        if number >= len(self._interfaces):
            raise _BlockError(f"packet of interface {number}, only {len(self._interfaces)} described")
        return self._interfaces[number]


# --- datagrams -----------------------------------------------------------------------------------

_NULL, _ETHERNET, _LOOP, _SLL, _SLL2 = 0, 1, 108, 113, 276
# LINKTYPE_RAW, the DLT_RAW values that some systems wrote instead, LINKTYPE_IPV4 and LINKTYPE_IPV6.
_RAW = frozenset({12, 14, 101, 228, 229})
_IP = frozenset({0x0800, 0x86DD})
_TAGS = frozenset({0x8100, 0x88A8, 0x9100, 0x9200})
_UDP, _FRAGMENT = 17, 44
_EXTENSIONS = frozenset({0, 43, 60})


def datagrams(recorded: Iterable[RecordedPacket]) -> Iterator[RecordedDatagram]:
    """The UDP payloads that are, or look like, sFlow: all to port 6343, others when they begin as sFlow v5 does.

    Fragmented packets come where their last piece was; pieces that never become whole are given up.
    """
    fragments = _Fragments()
    for packet in recorded:
        ip = _ip_packet(packet.link_type, packet.data)
        piece = _ip_payload(ip) if ip else None
        whole = fragments.add(piece) if piece is not None else None
        if piece is None or whole is None or len(whole) < 8:
            continue
        dst_port = int.from_bytes(whole[2:4])
        size = int.from_bytes(whole[4:6])
        payload = whole[8 : size if size >= 8 else len(whole)]
        if dst_port == SFLOW_PORT or looks_like_sflow(payload):
            family = AF_INET if len(piece.source) == 4 else AF_INET6
            sender = inet_ntop(family, piece.source)
            destination = inet_ntop(family, piece.destination)
            yield RecordedDatagram(packet.frame, packet.at, sender, destination, dst_port, payload)


def looks_like_sflow(payload: bytes) -> bool:
    """Whether the first octets are those of an sFlow v5 datagram with at least one sample that fits."""
    if payload[:7] != b"\0\0\0\5\0\0\0" or payload[7:8] not in {b"\1", b"\2"}:
        return False
    samples_at = 28 if payload[7] == 1 else 40
    left = len(payload) - samples_at
    if left < 8:
        return False
    announced = int.from_bytes(payload[samples_at - 4 : samples_at])
    first_size = int.from_bytes(payload[samples_at + 4 : samples_at + 8])
    return 1 <= announced <= left // 8 and first_size <= left - 8


def _ip_packet(link_type: int, data: bytes) -> bytes | None:
    """The octets from the IP header on, if there is one."""
    if link_type == _ETHERNET:
        return _behind_ether_type(data, 12)
    if link_type in _RAW:
        return data
    if link_type in {_NULL, _LOOP}:
        return data[4:]
    if link_type == _SLL:
        return _behind_ether_type(data, 14)
    if link_type == _SLL2:
        return data[20:] if int.from_bytes(data[:2]) in _IP else None
    return None


def _behind_ether_type(data: bytes, at: int) -> bytes | None:
    for _ in range(MAX_OUTER_VLAN_TAGS + 1):
        ether_type = int.from_bytes(data[at : at + 2])
        if ether_type in _IP:
            return data[at + 2 :]
        if ether_type not in _TAGS:
            return None
        at += 4
    return None


@dataclass(frozen=True, slots=True)
class _Piece:
    """UDP octets of one IP packet: ``offset`` in the whole, ``more`` to come, ``key`` what belongs together."""

    source: bytes
    destination: bytes
    key: bytes
    offset: int
    more: bool
    data: bytes


def _ip_payload(ip: bytes) -> _Piece | None:
    if len(ip) >= 20 and ip[0] >> 4 == 4:
        return _ipv4(ip)
    return _ipv6(ip) if len(ip) >= 40 and ip[0] >> 4 == 6 else None


def _ipv4(ip: bytes) -> _Piece | None:
    begin = (ip[0] & 0xF) * 4
    total = int.from_bytes(ip[2:4])
    if ip[9] != _UDP or begin < 20:
        return None
    flags = int.from_bytes(ip[6:8])
    data = ip[begin : total if total >= begin else len(ip)]
    return _Piece(ip[12:16], ip[16:20], ip[12:20] + ip[4:6], (flags & 0x1FFF) * 8, bool(flags & 0x2000), data)


def _ipv6(ip: bytes) -> _Piece | None:
    size = int.from_bytes(ip[4:6])
    end = min(40 + size, len(ip)) if size else len(ip)
    following, at, offset, more, key = ip[6], 40, 0, False, b""
    for _ in range(MAX_OUTER_EXTENSION_HEADERS):
        if following == _UDP:
            return _Piece(ip[8:24], ip[24:40], ip[8:40] + key, offset, more, ip[at:end])
        if end - at < 8:
            return None
        if following == _FRAGMENT:
            place = int.from_bytes(ip[at + 2 : at + 4])
            offset, more, key = place & 0xFFF8, bool(place & 1), ip[at + 4 : at + 8]
            following, at = ip[at], at + 8
            if offset and following != _UDP:
                return None
        elif following in _EXTENSIONS:
            following, at = ip[at], at + (ip[at + 1] + 1) * 8
        else:
            return None
    return None


class _Fragments:
    """Puts pieces together; the packets begun first are given up when there are too many or too much."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, dict[int, _Piece]] = {}
        self._octets = 0

    def add(self, piece: _Piece) -> bytes | None:
        """The whole UDP packet once its pieces are there."""
        if not piece.offset and not piece.more:
            return piece.data
        pieces = self._waiting.setdefault(piece.key, {})
        if piece.offset not in pieces and len(pieces) < MAX_FRAGMENTS_PER_PACKET:
            pieces[piece.offset] = piece
            self._octets += len(piece.data)
        whole = _joined(pieces)
        if whole is not None:
            self._forget(piece.key)
        while len(self._waiting) > MAX_FRAGMENTED_PACKETS or self._octets > MAX_FRAGMENT_BYTES:
            self._forget(next(iter(self._waiting)))
        return whole

    def _forget(self, key: bytes) -> None:
        self._octets -= sum(len(piece.data) for piece in self._waiting.pop(key).values())


def _joined(pieces: dict[int, _Piece]) -> bytes | None:
    """The octets from the first piece to the last, if none is missing and none overlaps."""
    at = 0
    ordered = []
    while (piece := pieces.get(at)) is not None:
        ordered.append(piece.data)
        at += len(piece.data)
        if not piece.more:
            return b"".join(ordered)
        if not piece.data:
            return None
    return None
