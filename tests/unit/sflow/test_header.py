# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Sampled headers: layers, tunnels, and where the walk must stop."""

from struct import pack

import pytest

from sentinel.limits import MAX_MPLS_LABELS, MAX_TUNNEL_DEPTH, MAX_VLAN_TAGS
from sentinel.model import Packet
from sentinel.sflow import header
from tests.support.sflow import DESTINATION, SOURCE, ethernet, gre, ipv4, ipv6, mac, tcp, udp

INNER = ethernet(0x0800, ipv4(6, tcp(80), "172.16.0.1", "198.51.100.7"))
PAIR = ("172.16.0.1", "198.51.100.7")


def decode(frame: bytes, protocol: int = 1) -> Packet:
    packet = header.decode(frame, protocol)
    assert packet is not None
    return packet


def innermost(packet: Packet) -> Packet:
    while packet.inner is not None:
        packet = packet.inner
    return packet


def pair(packet: Packet) -> tuple[str | None, str | None]:
    return packet.src_ip, packet.dst_ip


def test_a_plain_tcp_packet() -> None:
    assert decode(ethernet(0x0800, ipv4(6, tcp(443, flags=0x12)))) == Packet(
        src_mac=SOURCE,
        dst_mac=DESTINATION,
        ether_type=0x0800,
        src_ip="10.0.0.1",
        dst_ip="192.0.2.1",
        protocol=6,
        src_port=40000,
        dst_port=443,
        tcp_flags=0x12,
        ttl=64,
        length=40,
    )


def test_ipv6_length_counts_its_header() -> None:
    packet = decode(ethernet(0x86DD, ipv6(17, udp(53, b"query"))))
    assert (pair(packet), packet.length) == (("2001:db8::1", "2001:db8::2"), 53)
    assert (packet.protocol, packet.dst_port, packet.ttl) == (17, 53, 64)


@pytest.mark.parametrize("tpid", [0x8100, 0x88A8, 0x9100, 0x9200])
def test_tags_outermost_first_without_their_priority(tpid: int) -> None:
    packet = decode(ethernet(0x0800, ipv4(1, b"\x08\0"), (tpid, 0xE064), (0x8100, 200)))
    assert (packet.vlans, packet.ether_type, packet.icmp_type) == ((100, 200), 0x0800, 8)


def test_more_tags_than_believable_end_the_walk() -> None:
    tags = [(0x8100, number) for number in range(1, MAX_VLAN_TAGS + 3)]
    packet = decode(ethernet(0x0800, ipv4(6, tcp()), *tags))
    assert packet.src_ip is None
    assert len(packet.vlans) == MAX_VLAN_TAGS + 1


def test_snap_and_other_802_3_frames() -> None:
    packet = ipv4(6, tcp())
    snap = b"\xaa\xaa\x03\0\0\0\x08\0" + packet
    assert pair(decode(ethernet(len(snap), snap))) == ("10.0.0.1", "192.0.2.1")
    spanning_tree = decode(ethernet(38, b"\x42\x42\x03" + bytes(35)))
    assert spanning_tree == Packet(src_mac=SOURCE, dst_mac=DESTINATION)


def test_link_padding_is_not_taken_for_a_header() -> None:
    packet = decode(ethernet(0x0800, ipv4(6, b"") + b"\x12\x34" * 13))
    assert (packet.src_ip, packet.src_port) == ("10.0.0.1", None)


def test_a_total_length_of_zero_means_segmentation_offload() -> None:
    assert decode(ethernet(0x0800, ipv4(6, tcp(), total=0))).dst_port == 443


def test_options_are_passed_over() -> None:
    assert decode(ethernet(0x0800, ipv4(17, udp(53, b""), options=3))).dst_port == 53


def test_later_fragments_have_no_ports() -> None:
    first = decode(ethernet(0x0800, ipv4(17, udp(53, b""), flags=0x2000)))
    later = decode(ethernet(0x0800, ipv4(17, udp(53, b""), flags=0x00B9)))
    assert (first.dst_port, later.dst_port, later.protocol) == (53, None, 17)


def test_ipv6_extension_headers_fragments_and_what_lies_behind() -> None:
    hop_by_hop, routing = b"\x2b\0" + bytes(6), b"\x2c\0" + bytes(6)
    first = ipv6(0, hop_by_hop + routing + b"\x06\0\0\x01\0\0\0\x09" + tcp())
    later = ipv6(0, hop_by_hop + routing + b"\x06\0\0\x10\0\0\0\x09" + tcp())
    assert (decode(first, 12).protocol, decode(first, 12).dst_port) == (6, 443)
    assert (decode(later, 12).protocol, decode(later, 12).dst_port) == (6, None)
    authenticated = ipv6(51, b"\x11\x04" + bytes(22) + udp(53, b""))
    assert decode(authenticated, 12).dst_port == 53
    assert decode(ipv6(50, bytes(32)), 12).protocol == 50


@pytest.mark.parametrize("protocol", [6, 17, 33, 132, 136])
def test_ports_of_every_protocol_that_has_them(protocol: int) -> None:
    packet = decode(ipv4(protocol, pack(">HH", 1, 2)), 11)
    assert (packet.src_port, packet.dst_port) == (1, 2)


VXLAN = b"\x08\0\0\0\0\x12\x34\0"
GENEVE = b"\x02\0\x65\x58\0\x12\x34\0" + bytes(8)


@pytest.mark.parametrize(
    ("outer", "vni"),
    [
        pytest.param(udp(4789, VXLAN + INNER), 0x1234, id="vxlan"),
        pytest.param(udp(8472, VXLAN + INNER), 0x1234, id="vxlan-linux"),
        pytest.param(udp(40000, VXLAN + INNER, 4789), 0x1234, id="vxlan-reply"),
        pytest.param(udp(4790, b"\x0c\0\0\x03\0\x12\x34\0" + INNER), 0x1234, id="vxlan-gpe"),
        pytest.param(udp(4790, b"\x0c\0\0\x01\0\x12\x34\0" + INNER[14:]), 0x1234, id="vxlan-gpe-ipv4"),
        pytest.param(udp(6081, GENEVE + INNER), 0x1234, id="geneve"),
        pytest.param(udp(6081, b"\0\0\x08\0\0\x12\x34\0" + INNER[14:]), 0x1234, id="geneve-ipv4"),
        pytest.param(udp(4754, gre(0x6558, INNER)), None, id="gre-in-udp"),
        pytest.param(udp(6635, b"\0\1\x01\x40" + INNER[14:]), None, id="mpls-in-udp"),
        pytest.param(udp(2152, b"\x30\xff\0\0\0\0\0\1" + INNER[14:]), None, id="gtp"),
        pytest.param(udp(2152, b"\x34\xff\0\0\0\0\0\1\0\0\0\x85\1\0\0\0" + INNER[14:]), None, id="gtp-extension"),
    ],
)
def test_tunnels_in_udp(outer: bytes, vni: int | None) -> None:
    packet = decode(ethernet(0x0800, ipv4(17, outer)))
    assert pair(packet) == ("10.0.0.1", "192.0.2.1")
    assert packet.vni == vni
    assert packet.inner is not None
    assert pair(packet.inner) == PAIR
    assert packet.inner.dst_port == 80


@pytest.mark.parametrize(
    ("protocol", "payload"),
    [
        pytest.param(47, gre(0x0800, INNER[14:]), id="gre"),
        pytest.param(47, gre(0x6558, INNER), id="gre-teb"),
        pytest.param(47, gre(0x6558, INNER, 0xB000, bytes(12)), id="gre-checksum-key-sequence"),
        pytest.param(47, gre(0x880B, b"\xff\x03\0\x21" + INNER[14:], 0x3081, bytes(12)), id="gre-ppp-acknowledge"),
        pytest.param(4, INNER[14:], id="ip-in-ip"),
        pytest.param(97, b"\x30\0" + INNER, id="etherip"),
        pytest.param(137, b"\0\1\x01\x40" + INNER[14:], id="mpls-in-ip"),
    ],
)
def test_tunnels_in_ip(protocol: int, payload: bytes) -> None:
    for packet in (decode(ipv4(protocol, payload), 11), decode(ipv6(protocol, payload), 12)):
        assert packet.inner is not None
        assert pair(packet.inner) == PAIR


def test_6in4_and_4in6() -> None:
    assert pair(innermost(decode(ipv4(41, ipv6(59, b"")), 11))) == ("2001:db8::1", "2001:db8::2")
    assert pair(innermost(decode(ipv6(4, ipv4(6, tcp())), 12))) == ("10.0.0.1", "192.0.2.1")


@pytest.mark.parametrize("protocol", [0x88BE, 0x22EB, 0x8949])
@pytest.mark.parametrize("flags", [0, 0x1000, 0x3000])
def test_mirror_traffic_is_marked_and_never_entered(protocol: int, flags: int) -> None:
    mirrored = gre(protocol, bytes(8) + INNER, flags, bytes(4 * flags.bit_count()))
    frames = [
        ipv4(47, mirrored),
        ipv4(17, udp(4754, mirrored)),
        ipv4(4, ipv4(47, mirrored)),
    ]
    for frame in frames:
        packet = innermost(decode(frame, 11))
        assert packet.mirror == "erspan"
        assert pair(packet) == ("10.0.0.1", "192.0.2.1")
    assert decode(ipv6(47, mirrored), 12).mirror == "erspan"


@pytest.mark.parametrize(
    ("behind", "address"),
    [
        pytest.param(INNER[14:], PAIR, id="by-nibble"),
        pytest.param(b"\0\0\0\1" + INNER, PAIR, id="control-word"),
        pytest.param(ipv6(6, tcp()), ("2001:db8::1", "2001:db8::2"), id="ipv6"),
        pytest.param(b"\x10\0\0\0" + bytes(20), (None, None), id="control-channel"),
    ],
)
def test_behind_labels(behind: bytes, address: tuple[str | None, str | None]) -> None:
    packet = decode(ethernet(0x8847, b"\0\1\0\x40" + b"\0\2\x01\x40" + behind))
    assert packet.mpls == (16, 32)
    assert pair(innermost(packet)) == address


def test_explicit_null_and_too_many_labels() -> None:
    assert pair(decode(b"\0\0\x01\x40" + INNER[14:], 13)) == PAIR
    endless = decode(b"\0\1\0\x40" * 100, 13)
    assert len(endless.mpls) == MAX_MPLS_LABELS


def test_pppoe_ppp_and_pos() -> None:
    session = b"\x11\0\0\7\0\x2a\0\x21"
    assert pair(decode(ethernet(0x8864, session + INNER[14:], (0x8100, 7)))) == PAIR
    assert decode(ethernet(0x8864, b"\x11\xa7\0\7\0\x2a\0\x21" + INNER[14:])).src_ip is None
    assert pair(decode(b"\xff\x03\0\x21" + INNER[14:], 7)) == PAIR
    assert pair(decode(b"\x21" + INNER[14:], 7)) == PAIR
    assert pair(decode(b"\x0f\0\x08\0" + INNER[14:], 14)) == PAIR
    assert pair(decode(b"\xff\x03\0\x57" + ipv6(59, b""), 14)) == ("2001:db8::1", "2001:db8::2")


def test_service_header_provider_bridge_and_fabric_tags() -> None:
    assert pair(innermost(decode(ethernet(0x894F, b"\x0f\xc2\1\3" + bytes(4) + INNER)))) == PAIR
    assert pair(innermost(decode(ethernet(0x88E7, bytes(4) + INNER)))) == PAIR
    assert pair(decode(ethernet(0x893F, bytes(6) + INNER[12:]))) == PAIR
    assert pair(decode(ethernet(0x8926, bytes(4) + INNER[12:]))) == PAIR


def test_tunnels_in_tunnels_end_at_the_bound() -> None:
    packet = ipv4(6, tcp())
    for _ in range(MAX_TUNNEL_DEPTH * 2):
        packet = ipv4(4, packet)
    depth, layer = 0, decode(packet, 11)
    while layer.inner is not None:
        depth, layer = depth + 1, layer.inner
    assert depth == MAX_TUNNEL_DEPTH


@pytest.mark.parametrize("protocol", [2, 3, 15, 18, 0, 4_000_000_000])
def test_other_header_protocols_give_nothing(protocol: int) -> None:
    assert header.decode(INNER, protocol) is None


def test_nothing_to_read_gives_nothing() -> None:
    assert header.decode(b"") is None
    assert header.decode(b"\x02\0", 1) is None
    assert header.decode(b"\x00" * 40, 11) is None


def test_a_cut_header_keeps_what_was_reached() -> None:
    frame = ethernet(0x0800, ipv4(17, udp(4789, VXLAN + INNER)), (0x8100, 5))
    whole = decode(frame)
    reached = 0
    for size in range(len(frame) + 1):
        packet = header.decode(frame[:size])
        known = 0
        layer, full = packet, whole
        while layer is not None:
            for name in Packet.__slots__:
                value = getattr(layer, name)
                if name != "inner" and value not in {None, ()}:
                    assert value == getattr(full, name)
                    known += 1
            layer, full = layer.inner, full.inner or full
        assert known >= reached
        reached = known
    assert mac(SOURCE) in frame
