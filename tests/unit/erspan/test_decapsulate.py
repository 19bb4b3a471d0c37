# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import struct

import pytest

from sentinel.errors import DecodeError
from sentinel.erspan.decapsulate import NotMirroredError, decapsulate, decapsulate_gre
from tests.support import mirroring
from tests.support.mirroring import ALL_KINDS, ethernet, gre, ipv4, ipv6, udp

FRAME = ethernet()


@pytest.mark.parametrize("name", ALL_KINDS)
def test_every_kind_gives_the_frame_back(name: str) -> None:
    mirrored = decapsulate(ipv4("10.0.0.1", "10.0.0.70", 47, ALL_KINDS[name](FRAME)))
    assert mirrored.frame == FRAME
    assert mirrored.kind == name.split(maxsplit=1)[0]
    assert (mirrored.outer_src, mirrored.outer_dst) == ("10.0.0.1", "10.0.0.70")
    assert not mirrored.truncated


def test_type_ii_fields() -> None:
    mirrored = decapsulate_gre(mirroring.type_ii(FRAME, sequence=9, session=666, vlan=342, index=32760), "a", "b")
    assert (mirrored.sequence, mirrored.session, mirrored.vlan) == (9, 666, 342)
    assert (mirrored.span_index, mirrored.cos) == (32760, 3)
    assert mirrored.direction is None


def test_type_iii_fields() -> None:
    mirrored = decapsulate_gre(mirroring.type_iii(FRAME, egress=True, sequence=None), "a", "b")
    assert (mirrored.direction, mirrored.timestamp, mirrored.granularity, mirrored.sequence) == (
        "egress",
        123456,
        1,
        None,
    )


def test_t_bit_marks_the_frame_as_cut() -> None:
    assert decapsulate_gre(mirroring.type_ii(FRAME, truncated=True), "a", "b").truncated


def test_gre_checksum_and_key_are_stepped_over() -> None:
    assert decapsulate_gre(gre(0x88BE, FRAME, checksum=True, key=1), "a", "b").frame == FRAME


def test_link_padding_ends_with_the_ip_length() -> None:
    assert decapsulate(ipv4("10.0.0.1", "10.0.0.2", 47, mirroring.type_i(FRAME)) + bytes(6)).frame == FRAME
    assert decapsulate(ipv6("fd00::1", "fd00::2", 47, mirroring.type_i(FRAME)) + bytes(6)).frame == FRAME


def test_octets_missing_at_the_end_are_counted() -> None:
    mirrored = decapsulate(ipv4("10.0.0.1", "10.0.0.2", 47, mirroring.type_i(FRAME))[:-3])
    assert (mirrored.frame, mirrored.missing, mirrored.truncated) == (FRAME[:-3], 3, True)


def test_outer_options_and_extension_headers() -> None:
    wrapped = mirroring.type_ii(FRAME)
    assert decapsulate(ipv4("10.0.0.1", "10.0.0.2", 47, wrapped, options=b"\x01" * 12)).frame == FRAME
    hop_by_hop = struct.pack("!BB6x", 60, 0)
    destination = struct.pack("!BB14x", 51, 1)
    authentication = struct.pack("!BB22x", 47, 4)
    chain = hop_by_hop + destination + authentication + wrapped
    assert decapsulate(ipv6("fd00::1", "fd00::2", 0, chain)).frame == FRAME


def test_an_atomic_fragment_is_a_whole_packet() -> None:
    atomic = struct.pack("!BxHI", 47, 0, 77) + mirroring.type_i(FRAME)
    assert decapsulate(ipv6("fd00::1", "fd00::2", 44, atomic)).frame == FRAME


def test_gre_in_udp() -> None:
    assert decapsulate(ipv4("10.0.0.1", "10.0.0.2", 17, udp(mirroring.type_ii(FRAME)))).frame == FRAME
    with pytest.raises(NotMirroredError):
        decapsulate(ipv4("10.0.0.1", "10.0.0.2", 17, udp(mirroring.type_ii(FRAME), port=53)))


@pytest.mark.parametrize(
    "payload",
    [
        gre(0x0800, FRAME),
        gre(0x883E, FRAME),
        struct.pack("!HH", 0x3081, 0x880B) + FRAME,
        mirroring.type_iii(FRAME, frame_type=2),
    ],
    ids=["ip", "wccp", "pptp", "frame type IP"],
)
def test_what_carries_no_frame_is_told_from_what_is_malformed(payload: bytes) -> None:
    with pytest.raises(NotMirroredError) as raised:
        decapsulate_gre(payload, "a", "b")
    assert raised.value.code == "not_mirrored"


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (b"", "truncated"),
        (b"\x45", "truncated"),
        (b"\x55" + bytes(30), "ip_version"),
        (b"\x44" + bytes(30), "ip_length"),
        (
            ipv4("10.0.0.1", "10.0.0.2", 47, gre(0x88BE, struct.pack("!HHI", 0x3000, 0, 0) + FRAME, sequence=1)),
            "erspan_version",
        ),
        (ipv4("10.0.0.1", "10.0.0.2", 47, gre(0x88BE, FRAME[:13])), "no_frame"),
        (ipv4("10.0.0.1", "10.0.0.2", 47, struct.pack("!HH", 0x4000, 0x88BE) + FRAME), "source_routes"),
        (ipv4("10.0.0.1", "10.0.0.2", 47, mirroring.type_i(FRAME), frag=0x2000), "fragment"),
        (ipv6("fd00::1", "fd00::2", 60, struct.pack("!BB6x", 60, 0) * 40 + FRAME), "extension_headers"),
        (ipv6("fd00::1", "fd00::2", 60, struct.pack("!BB6x", 47, 200) + FRAME), "truncated"),
    ],
    ids=[
        "empty",
        "short",
        "version",
        "ihl",
        "erspan-version",
        "no-frame",
        "routing",
        "fragment",
        "many-extensions",
        "long-extension",
    ],
)
def test_malformed_outer_packets_are_decode_errors(packet: bytes, code: str) -> None:
    with pytest.raises(DecodeError) as raised:
        decapsulate(packet)
    assert not isinstance(raised.value, NotMirroredError)
    assert raised.value.code == code
