# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A batch of datagrams in, matches and counts out."""

from typing import Any

import pytest

from sentinel.limits import MAX_COUNTERS_TOLD_PER_S
from sentinel.model import Indicator, Match, Record
from sentinel.scan.plain import PlainScan, ScanResult
from sentinel.sflow import encode
from sentinel.sflow.admission import Admission, AdmissionRule, Refusal
from sentinel.sflow.agents import AgentTable
from tests.support.traffic import (
    ACK,
    LEAF1,
    LISTED,
    LOCAL,
    SYN,
    blacklist,
    datagram,
    discard,
    erspan,
    flow,
    frame,
    ip,
    nat,
    packet,
    table_space,
    vxlan,
)

AT = 1_700_000_000.5


def scan(*payloads: bytes, lists: Any = None, scanner: PlainScan | None = None) -> ScanResult:
    scanner = scanner or PlainScan(erspan_destinations=["10.0.0.70"])
    return scanner.scan([(payload, LEAF1, AT) for payload in payloads], lists or blacklist(LISTED))


def test_one_match_whole() -> None:
    [match] = scan(datagram(flow(frame(packet())))).matches
    assert match == Match(
        agent=LEAF1,
        sender=LEAF1,
        source_class=0,
        source_index=3,
        input=3,
        output=5,
        sampling_rate=1000,
        frame_length=54,
        src_ip=LOCAL,
        dst_ip=LISTED,
        protocol=6,
        src_port=51000,
        dst_port=443,
        tcp_flags=SYN,
        icmp_type=None,
        layer=0,
        vni=None,
        listed="destination",
        indicators=(Indicator(f"{LISTED}/32", "test", "all"),),
        seen_at=AT,
    )


def test_ipv6() -> None:
    [match] = scan(datagram(flow(frame(packet("fd00::5", "2001:db8::9")))), lists=blacklist("2001:db8::/32")).matches
    assert (match.src_ip, match.dst_ip, match.dst_port) == ("fd00::5", "2001:db8::9", 443)


def test_nothing_listed_nothing_said() -> None:
    scanner = PlainScan()
    assert scan(datagram(flow(frame(packet()))), lists=blacklist("192.0.2.1"), scanner=scanner).matches == []
    assert (scanner.counters.pairs, scanner.counters.hits) == (1, 0)


def test_allow_listed_addresses_never_match() -> None:
    lists = blacklist("203.0.113.0/24", allow=("203.0.113.9/32",))
    ours = [flow(frame(packet(dst=f"203.0.113.{host}"))) for host in (8, 9)]
    assert [match.dst_ip for match in scan(datagram(*ours), lists=lists).matches] == ["203.0.113.8"]


def test_both_sides_listed_are_two_matches_with_their_own_indicators() -> None:
    matches = scan(datagram(flow(frame(packet()))), lists=blacklist(LISTED, "10.0.0.0/24")).matches
    assert [(match.listed, match.indicators[0].prefix) for match in matches] == [
        ("source", "10.0.0.0/24"),
        ("destination", f"{LISTED}/32"),
    ]


def test_inside_vxlan() -> None:
    inside = frame(vxlan(frame(packet()), vni=4711))
    [match] = scan(datagram(flow(inside))).matches
    assert (match.layer, match.vni, match.src_ip, match.dst_port) == (1, 4711, LOCAL, 443)


def test_the_outer_pair_of_a_tunnel_is_looked_up_too() -> None:
    inside = frame(vxlan(frame(packet(dst="192.0.2.1")), dst=LISTED))
    [match] = scan(datagram(flow(inside))).matches
    assert (match.layer, match.src_ip, match.dst_port) == (0, "10.255.0.1", 4789)


@pytest.mark.parametrize("collector", ["10.0.0.70", "198.51.100.70"])
def test_our_own_mirrors_sampled_on_their_way_are_no_conversation(collector: str) -> None:
    scanner = PlainScan(erspan_destinations=["10.0.0.70"])
    inside = frame(erspan(frame(packet()), dst=collector))
    assert scan(datagram(flow(inside)), scanner=scanner).matches == []
    assert scanner.counters.mirror_samples == 1


def test_nor_when_the_underlay_carries_them() -> None:
    scanner = PlainScan()
    inside = frame(vxlan(frame(erspan(frame(packet())))))
    assert scan(datagram(flow(inside)), scanner=scanner).matches == []
    assert (scanner.counters.mirror_samples, scanner.counters.pairs) == (1, 2)


def test_a_listed_host_that_speaks_erspan_itself_is_seen() -> None:
    [match] = scan(datagram(flow(frame(erspan(frame(packet()), src=LOCAL, dst=LISTED))))).matches
    assert (match.layer, match.protocol, match.src_port) == (0, 47, None)


def test_what_an_access_list_discarded_matches() -> None:
    scanner = PlainScan()
    [match] = scan(datagram(discard(frame(packet()))), scanner=scanner).matches
    assert (match.discarded, match.sampling_rate, match.tcp_flags) == (True, 1, SYN)
    assert (scanner.counters.discards, scanner.counters.flow_samples) == (1, 0)


def test_translated_addresses() -> None:
    sample = flow(frame(packet(dst="192.0.2.80")), extra_records=[nat(LOCAL, LISTED)])
    [match] = scan(datagram(sample)).matches
    assert (match.src_ip, match.dst_ip, match.layer) == (LOCAL, LISTED, 1)


def test_an_output_that_is_no_port_does_not_pass_for_one() -> None:
    discarded, multiple = (1 << 30) | 2, (2 << 30) | 3
    samples = [encode_raw_output(output) for output in (discarded, multiple, 5)]
    matches = scan(datagram(*samples)).matches
    assert [(match.output, match.discarded) for match in matches] == [(0, True), (0, False), (5, False)]


def encode_raw_output(output: int) -> bytes:
    encoded = flow(frame(packet()), output=0x0ABCDEF0)
    return encoded.replace(bytes.fromhex("0abcdef0"), output.to_bytes(4, "big"))


def test_counter_samples_of_table_space_are_handed_on() -> None:
    scanner = PlainScan()
    name = encode.counters_sample(
        sequence=1, source_index=3, records=[Record("0:1005", "port_name", {"port_name": "swp3"})]
    )
    [(agent, counters)] = scan(datagram(name, table_space(7), flow(frame(packet()))), scanner=scanner).counters_samples
    assert (agent, counters.source_index, counters.records[0].fields["host_entries"]) == (LEAF1, 3, 7)
    assert (scanner.counters.samples, scanner.counters.counters_samples, scanner.counters.matches) == (3, 2, 1)
    assert scanner.counters.counters_skipped == 0


def test_of_each_second_so_many_counter_samples_are_handed_on_and_no_more() -> None:
    scanner, lists = PlainScan(), blacklist(LISTED)
    flood = [datagram(*[table_space(n) for n in range(100)], sequence=sequence) for sequence in range(10)]
    told = [
        len(scanner.scan([(payload, LEAF1, at) for payload in flood], lists).counters_samples)
        for at in (AT, AT + 0.5, AT + 1.0, AT - 5.0)
    ]
    assert told == [MAX_COUNTERS_TOLD_PER_S, 0, MAX_COUNTERS_TOLD_PER_S, MAX_COUNTERS_TOLD_PER_S]
    assert scanner.counters.counters_samples == 4_000
    assert scanner.counters.counters_skipped == 4_000 - 3 * MAX_COUNTERS_TOLD_PER_S


def test_what_is_no_datagram_is_counted_by_reason_and_the_next_one_goes_on() -> None:
    scanner = PlainScan()
    good = datagram(flow(frame(packet())))
    netflow = b"\0\0\0\x09" + good[4:]
    nobody = good[:4] + b"\0\0\0\0" + good[4:]
    martian = good[:4] + b"\0\0\0\x07" + good[8:]
    long = good + bytes(70_000)
    result = scan(b"", good[:20], netflow, nobody, martian, long, bytes(70_000), good, scanner=scanner)
    assert len(result.matches) == 1
    assert scanner.counters.datagrams == 8
    assert scanner.counters.bad_datagrams == {"truncated": 2, "version": 1, "agent_address": 2, "too_long": 2}


def test_only_who_is_admitted_is_heard_and_has_a_health() -> None:
    agents = AgentTable()
    scanner = PlainScan(Admission([AdmissionRule((LEAF1,))]), agents)
    ours, strangers = datagram(flow(frame(packet()))), datagram(flow(frame(packet())), agent="192.0.2.66")
    batch = [(ours, LEAF1, AT), (ours, "192.0.2.66", AT), (strangers, "192.0.2.66", AT), (b"\0", LEAF1, AT)]
    assert len(scanner.scan(batch, blacklist(LISTED)).matches) == 1
    assert scanner.counters.refused == {"foreign_sender": 1, "unknown_agent": 1}
    assert scanner.counters.bad_datagrams == {"truncated": 1}
    assert scanner.refusals() == [
        Refusal("truncated", "", LEAF1, 1),
        Refusal("unknown_agent", "192.0.2.66", "192.0.2.66", 1),
        Refusal("foreign_sender", LEAF1, "192.0.2.66", 1),
    ]
    assert [(health.agent, health.datagrams, health.last_seen) for health in agents.snapshot()] == [(LEAF1, 1, AT)]


def test_a_bad_sample_costs_only_itself() -> None:
    scanner = PlainScan()
    bad = b"\0\0\0\x01" + (8).to_bytes(4, "big") + bytes(8)
    unknown = (4300 << 12 | 1002).to_bytes(4, "big") + (4).to_bytes(4, "big") + bytes(4)
    result = scan(datagram(bad, unknown, flow(frame(packet()))), scanner=scanner)
    assert len(result.matches) == 1
    assert (scanner.counters.bad_samples, scanner.counters.unknown_samples, scanner.counters.samples) == (1, 1, 3)


def test_a_frame_without_addresses_is_counted() -> None:
    scanner = PlainScan()
    arp = bytes.fromhex("ffffffffffff0200000000020806") + bytes(28)
    assert scan(datagram(flow(arp)), scanner=scanner).matches == []
    assert scanner.counters.without_addresses == 1


def test_a_later_fragment_has_no_ports() -> None:
    whole = bytearray(packet(flags=ACK, size=40))
    whole[6:8] = (100).to_bytes(2, "big")
    [match] = scan(datagram(flow(frame(bytes(whole))))).matches
    assert (match.protocol, match.src_port, match.tcp_flags) == (6, None, None)


def test_icmp() -> None:
    [match] = scan(datagram(flow(frame(ip(LOCAL, LISTED, 1, bytes((8, 0, 0, 0)) + bytes(20)))))).matches
    assert (match.icmp_type, match.src_port) == (8, None)
