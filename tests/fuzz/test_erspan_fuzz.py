# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Any bytes give a frame or a DecodeError, and memory stays within the bounds."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.errors import DecodeError
from sentinel.erspan.decapsulate import Mirrored, decapsulate, decapsulate_gre
from sentinel.erspan.inner import inner_packet
from sentinel.packets.fragments import Reassembler
from sentinel.packets.ip import parse
from sentinel.packets.link import ip_packet
from tests.support.mirroring import ALL_KINDS, ethernet, ipv4, ipv6, udp

ALLOWED = (DecodeError,)
FRAME = ethernet(payload=b"some payload", vlans=(7,))


def attempt(packet: bytes) -> Mirrored | None:
    try:
        mirrored = decapsulate(packet)
    except ALLOWED:
        return None
    assert len(mirrored.frame) <= len(packet)
    inner_packet(mirrored.frame)
    return mirrored


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    attempt(data)
    for link_type in (0, 1, 101, 113, 276, 9999):
        with suppress(*ALLOWED):
            ip_packet(link_type, data)
    inner_packet(data)
    with suppress(*ALLOWED):
        decapsulate_gre(data, "a", "b")


@settings(max_examples=300)
@given(st.sampled_from(sorted(ALL_KINDS)), st.booleans(), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255))))
def test_changed_octets(kind: str, six: bool, changes: list[tuple[int, int]]) -> None:
    wrapped = ALL_KINDS[kind](FRAME)
    packet = bytearray(ipv6("fd00::1", "fd00::2", 47, wrapped) if six else ipv4("10.0.0.1", "10.0.0.2", 47, wrapped))
    for at, value in changes:
        packet[at % len(packet)] = value
    attempt(bytes(packet))


def test_cut_at_every_offset_and_with_rubbish_behind() -> None:
    for wrap in ALL_KINDS.values():
        for whole in (
            ipv4("10.0.0.1", "10.0.0.2", 47, wrap(FRAME), options=bytes(8)),
            ipv6("fd00::1", "fd00::2", 47, wrap(FRAME)),
            ipv4("10.0.0.1", "10.0.0.2", 17, udp(wrap(FRAME))),
        ):
            for cut in range(len(whole)):
                mirrored = attempt(whole[:cut])
                if mirrored:
                    assert FRAME.startswith(mirrored.frame)
                    assert mirrored.missing == len(whole) - cut
                    assert mirrored.truncated
            behind = attempt(whole + b"\xff" * 64)
            assert behind
            assert behind.frame == FRAME


pieces = st.tuples(st.integers(0, 9), st.integers(0, 30), st.booleans(), st.integers(0, 300), st.booleans())


@settings(max_examples=200)
@given(st.lists(pieces, max_size=80))
def test_any_pieces_stay_within_the_bounds(given_pieces: list[tuple[int, int, bool, int, bool]]) -> None:
    reassembler = Reassembler(max_packets=4, max_bytes=1000, max_age_s=5)
    for now, (ident, offset, more, size, six) in enumerate(given_pieces):
        if six:
            header = bytes([47, 0]) + (offset << 3 | more).to_bytes(2) + ident.to_bytes(4)
            packet = ipv6("fd00::1", "fd00::2", 44, header + bytes(size))
        else:
            packet = ipv4("10.0.0.1", "10.0.0.2", 47, bytes(size), ident=ident, frag=offset | 0x2000 * more)
        with suppress(*ALLOWED):
            reassembler.add(parse(packet), now / 4)
        assert reassembler.held_bytes <= 1000
        assert reassembler.held_packets <= 4
        assert reassembler.held_bytes == sum(partial.size for partial in reassembler._partial.values())
