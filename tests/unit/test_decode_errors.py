# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The texts of decode errors, which people read: where, what, got, expected. All other tests look at the codes."""

import struct
from collections.abc import Callable
from typing import get_args

import pytest

from sentinel.errors import DecodeCode, DecodeError
from sentinel.erspan.decapsulate import decapsulate, decapsulate_gre
from sentinel.packets.fragments import Reassembler
from sentinel.packets.ip import parse
from sentinel.packets.link import ip_packet
from sentinel.sflow import datagram
from sentinel.sflow.cursor import Cursor
from tests.support.mirroring import gre, ipv4, ipv6, udp

A, B = "10.0.0.1", "10.0.0.2"


def piece(payload: bytes, frag: int, *, cut: int = 0) -> bytes:
    packet = ipv4(A, B, 47, payload, frag=frag)
    return packet[: len(packet) - cut]


def together(*pieces: bytes) -> None:
    reassembler = Reassembler()
    for each in pieces:
        reassembler.add(parse(each), 0.0)


TEXTS: list[tuple[DecodeCode, Callable[[], object], str]] = [
    ("truncated", lambda: datagram.decode(b""), "4 octets needed, 0 left at offset 0"),
    ("truncated", lambda: Cursor(b"\0\0\0\4abc").opaque(), "opaque of 4 octets, 3 left at offset 0"),
    (
        "truncated",
        lambda: Cursor(b"\xff\xff\xff\xff\0\0\0\1").count(4),
        "4294967295 elements of at least 4 octets announced, 4 octets left at offset 0",
    ),
    ("truncated", lambda: parse(b"\x45"), "IPv4 header cut short at offset 1"),
    ("truncated", lambda: decapsulate_gre(b"\0", A, B), "GRE header cut short at offset 1"),
    (
        "too_long",
        lambda: datagram.decode(bytes(65_536)),
        "datagram of 65536 octets, at most 65507 fit in UDP at offset 0",
    ),
    ("version", lambda: datagram.decode(b"\0\0\0\4" + bytes(30)), "version 4, expected 5 at offset 0"),
    (
        "agent_address",
        lambda: datagram.decode(b"\0\0\0\5" + bytes(30)),
        "agent address of unknown type, expected 1 (IPv4) or 2 (IPv6) at offset 4",
    ),
    ("address", lambda: Cursor(b"\0\0\0\3").address(), "address type 3, expected 1 (IPv4), 2 (IPv6) or 0 (unknown)"),
    ("link_type", lambda: ip_packet(9999, b""), "link type 9999, expected Ethernet, raw IP, loopback or Linux cooked"),
    ("vlan_tags", lambda: ip_packet(1, bytes(12) + b"\x81\0\0\1" * 9), "more than 4 outer VLAN tags at offset 32"),
    ("not_ip", lambda: ip_packet(1, bytes(12) + b"\x08\6"), "protocol 0x0806, expected IPv4 or IPv6 at offset 12"),
    ("ip_version", lambda: parse(b"\x55" + bytes(30)), "IP version 5, expected 4 or 6 at offset 0"),
    ("ip_length", lambda: parse(b"\x44" + bytes(30)), "IPv4 header length 16, expected at least 20 at offset 0"),
    (
        "extension_headers",
        lambda: parse(ipv6("fd00::1", "fd00::2", 60, struct.pack("!BB6x", 60, 0) * 40)),
        "more than 14 IPv6 extension headers at offset 112",
    ),
    ("fragment_truncated", lambda: together(piece(bytes(16), 0x2000, cut=1)), "fragment cut short by the recording"),
    ("fragment_empty", lambda: together(piece(b"", 0x2001)), "empty fragment at offset 8"),
    (
        "fragment_unaligned",
        lambda: together(piece(bytes(9), 0x2000)),
        "fragment in the middle whose length isn't a multiple of 8 at offset 0",
    ),
    ("fragment_too_long", lambda: together(piece(bytes(800), 8189)), "fragment beyond the longest packet"),
    (
        "fragment_too_many",
        lambda: together(*(piece(bytes(8), 0x2000 | number) for number in range(129))),
        "too many fragments at offset 1024",
    ),
    ("fragment_beyond_last", lambda: together(piece(bytes(8), 1), piece(bytes(8), 2)), "fragment beyond the last one"),
    (
        "fragment_before_end",
        lambda: together(piece(bytes(16), 0x2004), piece(bytes(8), 1)),
        "last fragment before the end of another at offset 8",
    ),
    (
        "fragment_overlap",
        lambda: together(piece(bytes(16), 0x2000), piece(bytes(8), 0x2001)),
        "overlapping fragments at offset 8",
    ),
    ("fragment", lambda: decapsulate(piece(bytes(8), 0x2000)), "a fragment, to be reassembled first at offset 0"),
    ("not_mirrored", lambda: decapsulate(ipv4(A, B, 6, b"")), "IP protocol 6, not GRE at offset 0"),
    (
        "udp_length",
        lambda: decapsulate(ipv4(A, B, 17, struct.pack("!HHHH", 1, 4754, 7, 0))),
        "UDP length 7, expected at least 8 at offset 4",
    ),
    ("not_mirrored", lambda: decapsulate(ipv4(A, B, 17, udp(b"", port=53))), "UDP port 53, not GRE at offset 2"),
    (
        "source_routes",
        lambda: decapsulate_gre(struct.pack("!HH", 0x4000, 0x88BE), A, B),
        "GRE with source routes (RFC 1701), which no switch mirrors with at offset 0",
    ),
    (
        "erspan_version",
        lambda: decapsulate_gre(gre(0x88BE, struct.pack("!HHI", 0x3000, 0, 0) + bytes(60), sequence=1), A, B),
        "ERSPAN version 3, expected 1 or 2 at offset 8",
    ),
    (
        "no_frame",
        lambda: decapsulate_gre(gre(0x88BE, bytes(13)), A, B),
        "13 octets where an Ethernet frame should be at offset 4",
    ),
]
# Needs a refusal before it; the tests of fragments meet it.
ELSEWHERE = {"fragment_refused"}


@pytest.mark.parametrize(
    ("code", "refused", "text"), TEXTS, ids=[f"{code}-{n}" for n, (code, _, _) in enumerate(TEXTS)]
)
def test_texts(code: DecodeCode, refused: Callable[[], object], text: str) -> None:
    with pytest.raises(DecodeError) as raised:
        refused()
    assert raised.value.code == code
    assert str(raised.value).startswith(text)


def test_every_code_is_met() -> None:
    assert {code for code, _, _ in TEXTS} | ELSEWHERE == set(get_args(DecodeCode))
