# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import struct

import pytest

from sentinel.errors import DecodeError
from sentinel.erspan.decapsulate import decapsulate_outer
from sentinel.limits import MAX_FRAGMENTS_PER_PACKET
from sentinel.packets.fragments import Reassembler
from sentinel.packets.ip import Outer, parse
from tests.support.mirroring import ethernet, ipv4, ipv6, type_ii

FRAME = ethernet(payload=bytes(range(256)) * 10)
WRAPPED = type_ii(FRAME)


def pieces(size: int = 800, ident: int = 5, data: bytes = WRAPPED) -> list[Outer]:
    cuts = range(0, len(data), size)
    return [
        parse(
            ipv4(
                "10.0.0.1",
                "10.0.0.2",
                47,
                data[at : at + size],
                ident=ident,
                frag=at // 8 | (0x2000 if at + size < len(data) else 0),
            )
        )
        for at in cuts
    ]


def refused(reassembler: Reassembler, outer: Outer, now: float = 0.0) -> str:
    """The code with which a piece is refused."""
    with pytest.raises(DecodeError) as raised:
        reassembler.add(outer, now)
    return raised.value.code


def feed(reassembler: Reassembler, outers: list[Outer], now: float = 0.0) -> list[Outer]:
    return [whole for outer in outers if (whole := reassembler.add(outer, now))]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [0, 0, 1, 1, 2, 3]])
def test_pieces_in_any_order_and_repeated_make_the_packet(order: list[int]) -> None:
    reassembler = Reassembler()
    cut = pieces()
    assert len(cut) == 4
    (whole,) = feed(reassembler, [cut[i] for i in order])
    assert decapsulate_outer(whole).frame == FRAME
    assert reassembler.held_bytes == reassembler.held_packets == 0


def test_ipv6_pieces_with_an_extension_header_inside() -> None:
    inside = struct.pack("!BB6x", 47, 0) + WRAPPED
    size = 1200
    outers = [
        parse(
            ipv6(
                "fd00::1",
                "fd00::2",
                44,
                struct.pack("!BxHI", 60, at | (at + size < len(inside)), 9) + inside[at : at + size],
            )
        )
        for at in range(0, len(inside), size)
    ]
    (whole,) = feed(Reassembler(), outers)
    assert decapsulate_outer(whole).frame == FRAME


def test_overlap_spoils_the_packet_for_good() -> None:
    reassembler = Reassembler()
    cut = pieces()
    forged = parse(ipv4("10.0.0.1", "10.0.0.2", 47, b"\xff" * 800, ident=5, frag=(80) | 0x2000))
    reassembler.add(cut[0], 0.0)
    assert refused(reassembler, forged) == "fragment_overlap"
    for outer in cut:
        assert refused(reassembler, outer, 1.0) == "fragment_refused"
    assert reassembler.counters.refused == 1
    assert reassembler.held_bytes == 0
    assert len(feed(reassembler, cut, now=40.0)) == 1


@pytest.mark.parametrize(
    ("payload", "frag", "code"),
    [
        (b"x" * 9, 0x2000, "fragment_unaligned"),
        (b"", 0x2001, "fragment_empty"),
        (b"x" * 800, 8189, "fragment_too_long"),
    ],
)
def test_impossible_pieces_are_refused(payload: bytes, frag: int, code: str) -> None:
    assert refused(Reassembler(), parse(ipv4("10.0.0.1", "10.0.0.2", 47, payload, frag=frag))) == code


def test_a_piece_cut_short_by_the_recording_is_refused() -> None:
    assert refused(Reassembler(), parse(ipv4("10.0.0.1", "10.0.0.2", 47, b"x" * 16, frag=0x2000)[:-1])) == (
        "fragment_truncated"
    )


def test_too_many_pieces_are_refused() -> None:
    reassembler = Reassembler()
    for number in range(MAX_FRAGMENTS_PER_PACKET):
        reassembler.add(parse(ipv4("10.0.0.1", "10.0.0.2", 47, b"x" * 8, frag=0x2000 | number)), 0.0)
    last = parse(ipv4("10.0.0.1", "10.0.0.2", 47, b"x" * 8, frag=0x2000 | MAX_FRAGMENTS_PER_PACKET))
    assert refused(reassembler, last) == "fragment_too_many"


def test_two_different_ends_are_refused() -> None:
    reassembler = Reassembler()
    reassembler.add(parse(ipv4("10.0.0.1", "10.0.0.2", 47, b"x" * 8, frag=10)), 0.0)
    assert refused(reassembler, parse(ipv4("10.0.0.1", "10.0.0.2", 47, b"x" * 8, frag=20))) == "fragment_beyond_last"


def test_an_end_before_what_is_there_is_refused() -> None:
    reassembler = Reassembler()
    reassembler.add(parse(ipv4("10.0.0.1", "10.0.0.2", 47, b"x" * 800, frag=10 | 0x2000)), 0.0)
    assert refused(reassembler, parse(ipv4("10.0.0.1", "10.0.0.2", 47, b"x" * 8, frag=2))) == "fragment_before_end"


def test_bounds_drive_out_the_oldest() -> None:
    reassembler = Reassembler(max_packets=3, max_bytes=2000, max_age_s=10)
    for ident in range(5):
        reassembler.add(pieces(ident=ident)[0], float(ident))
    assert reassembler.held_packets == 2
    assert reassembler.held_bytes == 1600
    assert reassembler.counters.evicted == 3
    assert feed(reassembler, pieces(ident=0)[1:], 5.0) == []


def test_refused_packets_are_bounded_too() -> None:
    reassembler = Reassembler(max_packets=3)
    for ident in range(50):
        with pytest.raises(DecodeError):
            reassembler.add(parse(ipv4("10.0.0.1", "10.0.0.2", 47, b"x" * 9, ident=ident, frag=0x2000)), 0.0)
    assert len(reassembler._partial) <= 3


def test_age() -> None:
    reassembler = Reassembler(max_age_s=10)
    cut = pieces()
    reassembler.add(cut[0], 0.0)
    assert feed(reassembler, cut[1:], 11.0) == []
    assert reassembler.counters.expired == 1
