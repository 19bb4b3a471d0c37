# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings: the packets of pcap and pcapng files.

Sources: IETF draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. The readers are our own because a recording is
hostile input: dpkt's reserve whatever length a file claims. Here a length is believed only below its bound, and what
isn't needed is passed over in small pieces.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from struct import Struct
from typing import BinaryIO

from sentinel.errors import RecordingError
from sentinel.limits import (
    MAX_PCAPNG_INTERFACES,
    MAX_PCAPNG_PACKET_BLOCK_BYTES,
    MAX_RECORDED_PACKET_BYTES,
    RECORDING_SKIP_BYTES,
)


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
