# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The sFlow datagrams in recordings of every link type, in pieces and broken."""

import io
from collections import Counter
from struct import pack

import pytest

from sentinel.errors import DecodeCode
from sentinel.limits import MAX_FRAGMENTED_PACKETS
from sentinel.packets.pcap import RecordedPacket, packets
from sentinel.sflow import encode
from sentinel.sflow.recorded import datagrams
from tests.support.sflow import ethernet, ipv4, ipv6, pcap, udp

SFLOW = encode.datagram("10.0.0.253", 0, 1, 1, [encode.counters_sample(sequence=1, source_index=1, records=[])])
FRAME = ethernet(0x0800, ipv4(17, udp(6343, SFLOW), "10.0.0.253", "10.0.0.9"))


def read(data: bytes) -> list[RecordedPacket]:
    return list(packets(io.BytesIO(data)))


def payloads(data: bytes) -> list[bytes]:
    return [each.payload for each in datagrams(read(data))]


def test_the_datagram_of_a_frame() -> None:
    (found,) = datagrams(read(pcap(b"noise", FRAME)))
    assert (found.frame, found.at, found.dst_port, found.payload) == (2, 2.5, 6343, SFLOW)
    assert (found.sender, found.destination) == ("10.0.0.253", "10.0.0.9")


IPV4 = ipv4(17, udp(6343, SFLOW))
IPV6 = ipv6(17, udp(6343, SFLOW))


@pytest.mark.parametrize(
    ("link_type", "frame"),
    [
        pytest.param(1, ethernet(0x0800, IPV4 + bytes(6)), id="ethernet"),
        pytest.param(1, ethernet(0x86DD, IPV6, (0x88A8, 5), (0x8100, 6)), id="qinq"),
        pytest.param(113, bytes(14) + b"\x08\0" + IPV4, id="sll"),
        pytest.param(113, bytes(14) + b"\x81\0\0\5\x86\xdd" + IPV6, id="sll-vlan"),
        pytest.param(276, b"\x08\0" + bytes(18) + IPV4, id="sll2"),
        pytest.param(0, b"\2\0\0\0" + IPV4, id="null"),
        pytest.param(108, b"\0\0\0\x18" + IPV6, id="loop"),
        pytest.param(101, IPV4, id="raw"),
        pytest.param(228, IPV4, id="ipv4"),
        pytest.param(229, IPV6, id="ipv6"),
        pytest.param(101, ipv4(17, udp(6343, SFLOW), options=2), id="options"),
        pytest.param(101, ipv6(0, b"\x11\0" + bytes(6) + udp(6343, SFLOW)), id="hop-by-hop"),
        pytest.param(101, ipv4(17, udp(6344, SFLOW)), id="another-port"),
    ],
)
def test_link_types(link_type: int, frame: bytes) -> None:
    assert payloads(pcap(frame, link_type=link_type)) == [SFLOW]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(ipv4(17, udp(53, b"question")), id="dns"),
        pytest.param(ipv4(6, udp(6343, SFLOW)), id="tcp"),
        pytest.param(ipv4(17, udp(53, SFLOW[:30])), id="too-short-to-tell"),
        pytest.param(ipv4(17, udp(53, SFLOW[:24] + pack(">I", 1000) + SFLOW[28:])), id="too-many-samples"),
        pytest.param(ipv4(17, b"\x18\xc7"), id="udp-cut"),
        pytest.param(b"\x45", id="cut"),
        pytest.param(b"\x41" + IPV4[1:], id="header-too-short"),
        pytest.param(b"\x95" + IPV4[1:], id="version-9"),
        pytest.param(ipv6(60, b"\x3c\0" + bytes(6)) * 20, id="endless-extensions"),
        pytest.param(b"", id="empty"),
    ],
)
def test_what_is_no_sflow_gives_nothing(frame: bytes) -> None:
    assert payloads(pcap(frame, link_type=101)) == []


def test_anything_to_the_port_counts_and_cut_payloads_too() -> None:
    frames = [ipv4(17, udp(6343, b"what")), IPV4[:60]]
    assert payloads(pcap(*frames, link_type=101)) == [b"what", SFLOW[:32]]


def pieces(size: int, *, more_last: bool = False) -> list[bytes]:
    """An IPv4 packet in pieces of ``size`` octets."""
    whole = udp(6343, SFLOW)
    found = []
    for at in range(0, len(whole), size):
        more = 0x2000 if at + size < len(whole) or more_last else 0
        found.append(ipv4(17, whole[at : at + size], id=7, flags=more | at // 8))
    return found


@pytest.mark.parametrize("size", [8, 16, 24, 40])
def test_fragments_are_put_together_in_any_order(size: int) -> None:
    split = pieces(size)
    for frames in (split, split[::-1], split[1:] + split[:1], [split[0], *split]):
        found = list(datagrams(read(pcap(*frames, link_type=101))))
        assert [each.payload for each in found] == [SFLOW]


def test_ipv6_fragments_are_put_together() -> None:
    whole = udp(6343, SFLOW)
    first = ipv6(44, b"\x11\0" + pack(">HI", 1, 9) + whole[:16])
    last = ipv6(44, b"\x11\0" + pack(">HI", 16, 9) + whole[16:])
    other = ipv6(44, b"\x11\0" + pack(">HI", 16, 8) + whole[16:])
    assert payloads(pcap(first, other, last, link_type=101)) == [SFLOW]


def at_once(*frames: bytes) -> list[bytes]:
    recorded = (RecordedPacket(number, 1.0, 101, frame) for number, frame in enumerate(frames, 1))
    return [each.payload for each in datagrams(recorded)]


def test_pieces_that_never_become_whole_are_bounded() -> None:
    endless = [ipv4(17, bytes(8), id=number, flags=0x2000) for number in range(100, 100 + MAX_FRAGMENTED_PACKETS)]
    split = pieces(16)
    assert at_once(split[0], *endless[1:], *split[1:]) == [SFLOW]
    assert at_once(split[0], *endless, *split[1:]) == []


def test_an_overlapping_packet_is_refused_and_what_cannot_be_read_is_counted() -> None:
    forged = ipv4(17, b"\xff" * 16, id=7, flags=0x2000 | 1)
    split = pieces(16)
    frames = [split[0], forged, *split[1:], b"\x95" + bytes(40), IPV4]
    passed_over: Counter[DecodeCode] = Counter()
    found = list(datagrams(read(pcap(*frames, link_type=101)), passed_over))
    assert [each.payload for each in found] == [SFLOW]
    assert passed_over == {"fragment_overlap": 1, "fragment_refused": len(split) - 1, "ip_version": 1}
    list(datagrams(read(pcap(ethernet(0x0806, bytes(28)))), passed_over))
    list(datagrams(read(pcap(b"", link_type=9999)), passed_over))
    assert (passed_over["not_ip"], passed_over["link_type"]) == (1, 1)


def test_packets_without_a_length_reach_to_the_end_of_their_frame() -> None:
    """As hosts record what their network card is to cut into segments."""
    four, six = bytearray(IPV4), bytearray(IPV6)
    four[2:4] = six[4:6] = bytes(2)
    assert payloads(pcap(bytes(four), bytes(six), link_type=101)) == [SFLOW, SFLOW]


def test_empty_and_overlapping_pieces_do_not_hang() -> None:
    empty = ipv4(17, b"", id=7, flags=0x2000)
    assert payloads(pcap(empty, *pieces(16, more_last=True), link_type=101)) == []
