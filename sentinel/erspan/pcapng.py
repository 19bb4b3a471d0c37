# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The blocks of a pcapng file (draft-ietf-opsawg-pcapng), as bytes, little-endian.

A file is section header, interfaces, packets; an interface may be announced any time before its first packet.
Timestamps are nanoseconds since 1970 (``if_tsresol`` 9).
"""

import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Literal

from sentinel.limits import MAX_COMMENT_BYTES, MAX_PCAPNG_OPTION_BYTES

ETHERNET = 1

_SECTION_HEADER, _INTERFACE, _NAMES, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 4, 5, 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_UNKNOWN_SECTION_LENGTH = -1
_NANOSECONDS = b"\x09"

_END_OF_OPTIONS, _COMMENT = 0, 1
_SHB_HARDWARE, _SHB_OS, _SHB_USERAPPL = 2, 3, 4
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL = 2, 3, 9
_EPB_FLAGS, _EPB_DROPCOUNT, _EPB_PACKETID = 2, 4, 5
_ISB_START, _ISB_END, _ISB_RECEIVED, _ISB_DROPPED, _ISB_OS_DROPPED = 2, 3, 4, 5, 7
_NRB_IPV4, _NRB_IPV6 = 1, 2

_NO_MORE_OPTIONS = struct.pack("<HH", _END_OF_OPTIONS, 0)
_U32 = struct.Struct("<I")
_U32_OPTION = struct.Struct("<HHI")
_U64_OPTION = struct.Struct("<HHQ")
_PACKET_HEAD = struct.Struct("<IIIIIII")
_PADDING = (b"", b"\0", b"\0\0", b"\0\0\0")

_DIRECTION = {"inbound": 1, "outbound": 2}

_Option = tuple[int, bytes]


def section_header(application: str, comments: Iterable[str] = ()) -> bytes:
    """SHB (section 4.1): opens a section; ``application`` wrote it."""
    body = struct.pack("<IHHq", _BYTE_ORDER_MAGIC, 1, 0, _UNKNOWN_SECTION_LENGTH)
    return _block(_SECTION_HEADER, body, [*_comments(comments), (_SHB_USERAPPL, _text(application))])


def interface(name: str, description: str = "", comments: Iterable[str] = (), link_type: int = ETHERNET) -> bytes:
    """IDB (section 4.2). Interfaces are numbered from 0 in the order they are announced in their section."""
    options = [*_comments(comments), (_IF_NAME, _text(name))]
    if description:
        options.append((_IF_DESCRIPTION, _text(description)))
    options.append((_IF_TSRESOL, _NANOSECONDS))
    return _block(_INTERFACE, struct.pack("<HHI", link_type, 0, 0), options)


def packet(
    interface_id: int,
    at_ns: int,
    data: bytes,
    *,
    missing: int = 0,
    direction: Literal["inbound", "outbound"] | None = None,
    dropped: int = 0,
    packet_id: int | None = None,
    comments: Sequence[str] = (),
) -> bytes:
    """EPB (section 4.3). ``missing`` octets are not in ``data``; ``dropped`` packets were lost before this one."""
    # Written out for speed: this is the one block of which there are tens of thousands a second.
    size = len(data)
    tail = b""
    if comments:
        tail = comment_options(comments)
    if direction:
        tail += _U32_OPTION.pack(_EPB_FLAGS, 4, _DIRECTION[direction])
    if dropped:
        tail += _U64_OPTION.pack(_EPB_DROPCOUNT, 8, dropped)
    if packet_id is not None:
        tail += _U64_OPTION.pack(_EPB_PACKETID, 8, packet_id)
    if tail:
        tail += _NO_MORE_OPTIONS
    padding = -size % 4
    length = 32 + size + padding + len(tail)
    head = _PACKET_HEAD.pack(_PACKET, length, interface_id, at_ns >> 32, at_ns & 0xFFFFFFFF, size, size + missing)
    return b"".join((head, data, _PADDING[padding], tail, _U32.pack(length)))


def comment_options(comments: Iterable[str]) -> bytes:
    """The options of a block that its comments are, without the end of options."""
    return b"".join(_option(code, value) for code, value in _comments(comments))


def names(records: Iterable[tuple[str, Sequence[str]]]) -> bytes:
    """NRB (section 4.5): what Wireshark shows for an address."""
    body = bytearray()
    for address, hosts in records:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        value = socket.inet_pton(family, address) + b"".join(_text(host).replace(b"\0", b"") + b"\0" for host in hosts)
        kind = _NRB_IPV6 if family == socket.AF_INET6 else _NRB_IPV4
        body += struct.pack("<HH", kind, len(value)) + value + bytes(-len(value) % 4)
    return _block(_NAMES, bytes(body) + struct.pack("<HH", 0, 0), [])


def interface_statistics(
    interface_id: int, start_ns: int, end_ns: int, *, received: int, dropped: int = 0, os_dropped: int | None = None
) -> bytes:
    """ISB (section 4.6): what one interface received and lost between two times."""
    fixed = struct.pack("<III", interface_id, end_ns >> 32, end_ns & 0xFFFFFFFF)
    options = [
        (_ISB_START, struct.pack("<II", start_ns >> 32, start_ns & 0xFFFFFFFF)),
        (_ISB_END, struct.pack("<II", end_ns >> 32, end_ns & 0xFFFFFFFF)),
        (_ISB_RECEIVED, struct.pack("<Q", received)),
        (_ISB_DROPPED, struct.pack("<Q", dropped)),
    ]
    if os_dropped is not None:
        options.append((_ISB_OS_DROPPED, struct.pack("<Q", os_dropped)))
    return _block(_STATISTICS, fixed, options)


def _block(kind: int, body: bytes, options: Sequence[_Option]) -> bytes:
    tail = b""
    if options:
        tail = b"".join(_option(code, value) for code, value in options) + _NO_MORE_OPTIONS
    length = 12 + len(body) + len(tail)
    return struct.pack("<II", kind, length) + body + tail + struct.pack("<I", length)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _comments(comments: Iterable[str]) -> list[_Option]:
    return [(_COMMENT, _text(comment, MAX_COMMENT_BYTES)) for comment in comments if comment]


def _text(value: str, limit: int = MAX_PCAPNG_OPTION_BYTES) -> bytes:
    """UTF-8, cut at a character where it is too long."""
    return value.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore").encode()
