# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The other end of decapsulation: what a switch wraps around a mirrored frame, written down independently."""

import socket
import struct
from collections.abc import Callable


def ethernet(
    src: str = "192.0.2.10", dst: str = "198.51.100.7", payload: bytes = b"hello", vlans: tuple[int, ...] = ()
) -> bytes:
    tags = b"".join(struct.pack("!HH", 0x8100, vlan) for vlan in vlans)
    macs = bytes.fromhex("020000000001020000000002")
    if ":" in src:
        return macs + tags + b"\x86\xdd" + ipv6(src, dst, 17, payload)
    return macs + tags + b"\x08\x00" + ipv4(src, dst, 17, payload)


def ipv4(
    src: str, dst: str, protocol: int, payload: bytes, *, options: bytes = b"", ident: int = 1, frag: int = 0
) -> bytes:
    ihl = 5 + len(options) // 4
    return (
        struct.pack("!BBHHHBBH", 0x40 | ihl, 0, ihl * 4 + len(payload), ident, frag, 64, protocol, 0)
        + socket.inet_aton(src)
        + socket.inet_aton(dst)
        + options
        + payload
    )


def ipv6(src: str, dst: str, next_header: int, payload: bytes) -> bytes:
    return (
        struct.pack("!IHBB", 6 << 28, len(payload), next_header, 64)
        + socket.inet_pton(socket.AF_INET6, src)
        + socket.inet_pton(socket.AF_INET6, dst)
        + payload
    )


def gre(
    protocol: int, payload: bytes, *, sequence: int | None = None, key: int | None = None, checksum: bool = False
) -> bytes:
    flags = 0x8000 * checksum | 0x2000 * (key is not None) | 0x1000 * (sequence is not None)
    return (
        struct.pack("!HH", flags, protocol)
        + (bytes(4) if checksum else b"")
        + (struct.pack("!I", key) if key is not None else b"")
        + (struct.pack("!I", sequence) if sequence is not None else b"")
        + payload
    )


def type_i(frame: bytes) -> bytes:
    return gre(0x88BE, frame)


def type_ii(
    frame: bytes, *, sequence: int = 7, session: int = 100, vlan: int = 20, index: int = 9, truncated: bool = False
) -> bytes:
    header = struct.pack("!HHI", 0x1000 | vlan, 3 << 13 | truncated << 10 | session, index)
    return gre(0x88BE, header + frame, sequence=sequence)


def type_iii(
    frame: bytes,
    *,
    protocol: int = 0x22EB,
    sequence: int | None = 7,
    session: int = 5,
    subheader: bytes = b"",
    egress: bool = False,
    frame_type: int = 0,
) -> bytes:
    bits = frame_type << 10 | egress << 3 | 1 << 1 | bool(subheader)
    header = struct.pack("!HHIHH", 0x2000 | 20, session, 123456, 0, bits) + subheader
    return gre(protocol, header + frame, sequence=sequence)


def mellanox(frame: bytes) -> bytes:
    return gre(0x8949, b"\xaa" * 22 + frame)


def bridged(frame: bytes, key: int | None = None) -> bytes:
    return gre(0x6558, frame, key=key)


ALL_KINDS: dict[str, Callable[[bytes], bytes]] = {
    "I": type_i,
    "II": type_ii,
    "III": type_iii,
    "III behind 0x88be": lambda frame: type_iii(frame, protocol=0x88BE),
    "III with subheader": lambda frame: type_iii(frame, subheader=b"\x10" * 8),
    "mellanox": mellanox,
    "teb": bridged,
    "teb with key": lambda frame: bridged(frame, key=7),
}


def udp(payload: bytes, port: int = 4754) -> bytes:
    return struct.pack("!HHHH", 50000, port, 8 + len(payload), 0) + payload
