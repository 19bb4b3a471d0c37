# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Which address pairs a sample has, at which layer, and where looking ends."""

from sentinel.model import FlowSample, Packet, Record
from sentinel.scan.pairs import pairs_of
from tests.support.traffic import nat, nat_port

COLLECTOR = "10.0.0.70"
TCP = Packet(src_ip="10.0.0.5", dst_ip="203.0.113.9", protocol=6, src_port=51000, dst_port=443, tcp_flags=2)


def sample(packet: Packet | None, *records: Record) -> FlowSample:
    return FlowSample("flow", "0:1", 0, 1, 0, 3, 1000, 1000, 0, 3, 0, 5, 0, None, records, packet, 100)


def found(packet: Packet | None, *records: Record) -> tuple[list[tuple[str, str, int, int | None]], bool]:
    pairs, mirror = pairs_of(sample(packet, *records), {COLLECTOR})
    return [(pair.src_ip, pair.dst_ip, pair.layer, pair.vni) for pair in pairs], mirror


def test_transport_of_the_pair_comes_along() -> None:
    [pair], _ = pairs_of(sample(TCP), ())
    assert (pair.protocol, pair.src_port, pair.dst_port, pair.tcp_flags, pair.icmp_type) == (6, 51000, 443, 2, None)


def test_nothing_without_addresses() -> None:
    assert found(None) == ([], False)
    assert found(Packet(ether_type=0x0806)) == ([], False)


def test_every_layer_has_its_number_and_its_network() -> None:
    deep = Packet(src_ip="a", dst_ip="b", vni=100, inner=Packet(src_ip="c", dst_ip="d", inner=TCP))
    assert found(deep) == ([("a", "b", 0, None), ("c", "d", 1, 100), ("10.0.0.5", "203.0.113.9", 2, 100)], False)


def test_a_layer_without_addresses_counts_all_the_same() -> None:
    assert found(Packet(mpls=(16,), inner=TCP)) == ([("10.0.0.5", "203.0.113.9", 1, None)], False)


def test_the_same_pair_twice_in_a_sample_is_one() -> None:
    assert found(Packet(src_ip="10.0.0.5", dst_ip="203.0.113.9", inner=TCP)) == (
        [("10.0.0.5", "203.0.113.9", 0, None)],
        False,
    )


def test_mirror_traffic_shows_who_carries_it_and_no_more() -> None:
    assert found(Packet(src_ip="10.0.0.5", dst_ip="203.0.113.9", mirror="erspan"), nat("1.2.3.4", "5.6.7.8")) == (
        [("10.0.0.5", "203.0.113.9", 0, None)],
        True,
    )


def test_what_is_inside_a_mirror_is_passed_over_even_if_somebody_decoded_it() -> None:
    assert found(Packet(src_ip="a", dst_ip="b", mirror="erspan", inner=TCP)) == ([("a", "b", 0, None)], True)


def test_what_goes_to_an_erspan_destination_is_not_looked_at() -> None:
    assert found(Packet(src_ip="10.0.0.1", dst_ip=COLLECTOR, mirror="erspan")) == ([], True)
    assert found(Packet(src_ip="10.0.0.1", dst_ip=COLLECTOR, protocol=17, inner=TCP)) == ([], True)
    carried = Packet(src_ip="10.255.0.1", dst_ip="10.255.0.2", inner=Packet(src_ip="x", dst_ip=COLLECTOR, inner=TCP))
    assert found(carried) == ([("10.255.0.1", "10.255.0.2", 0, None)], True)


def test_what_an_erspan_destination_sends_is_ordinary() -> None:
    assert found(Packet(src_ip=COLLECTOR, dst_ip="203.0.113.9")) == ([(COLLECTOR, "203.0.113.9", 0, None)], False)


def test_translated_addresses_pair_with_the_side_that_stayed() -> None:
    assert found(TCP, nat("198.51.100.1", "203.0.113.9"))[0] == [
        ("10.0.0.5", "203.0.113.9", 0, None),
        ("198.51.100.1", "203.0.113.9", 1, None),
    ]
    assert found(TCP, nat("198.51.100.1", "192.0.2.80"))[0][1:] == [
        ("198.51.100.1", "203.0.113.9", 1, None),
        ("10.0.0.5", "192.0.2.80", 1, None),
    ]
    assert found(TCP, nat("10.0.0.5", "203.0.113.9"))[0] == [("10.0.0.5", "203.0.113.9", 0, None)]
    assert found(None, nat("198.51.100.1", "192.0.2.80"))[0] == [("198.51.100.1", "192.0.2.80", 1, None)]


def test_translated_ports_go_with_their_address() -> None:
    pairs, _ = pairs_of(sample(TCP, nat("198.51.100.1", "192.0.2.80"), nat_port(40000, 8080)), ())
    assert [(pair.src_port, pair.dst_port) for pair in pairs] == [(51000, 443), (40000, 443), (51000, 8080)]
    pairs, _ = pairs_of(sample(TCP, nat_port(40000, 8080)), ())
    assert len(pairs) == 1


def test_tunnels_that_begin_or_end_here() -> None:
    fields = {"src_ip": "10.255.0.1", "dst_ip": "203.0.113.77", "protocol": 47, "src_port": 0, "dst_port": 0}
    pairs, _ = pairs_of(sample(TCP, Record("0:1023", "extended_ipv4_tunnel_egress", fields)), ())
    assert (pairs[1].src_ip, pairs[1].dst_ip, pairs[1].protocol, pairs[1].src_port, pairs[1].layer) == (
        "10.255.0.1",
        "203.0.113.77",
        47,
        None,
        1,
    )
    to_collector = fields | {"dst_ip": COLLECTOR}
    assert found(TCP, Record("0:1023", "extended_ipv4_tunnel_egress", to_collector))[0][1:] == []


def test_records_cut_short_give_what_they_have() -> None:
    assert found(TCP, Record("0:1007", "extended_nat", {"src_address": "1.2.3.4", "error": "cut"}))[0][1:] == [
        ("1.2.3.4", "203.0.113.9", 1, None)
    ]
    assert found(TCP, Record("0:1023", "extended_ipv4_tunnel_egress", {"src_ip": "1.2.3.4"}))[0][1:] == []
    assert found(TCP, Record("0:1007", "extended_nat", {}))[0][1:] == []
