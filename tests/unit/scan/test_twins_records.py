# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Records beside the header, which the twins must read alike: whole, cut anywhere, repeated, any number."""

from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.model import Record
from sentinel.sflow import encode
from sentinel.sflow.records import encode_counter, encode_flow
from tests.support.sflow import ethernet
from tests.support.sflow_values import COUNTER_LAYOUTS, FLOW_LAYOUTS, known_records
from tests.support.traffic import (
    LISTED,
    LOCAL,
    blacklist,
    datagram,
    erspan,
    flow,
    frame,
    nat,
    nat_port,
    packet,
    tunnel,
    vxlan,
)
from tests.support.twins import Twins

QUICK = settings(max_examples=300, deadline=None)
COLLECTOR = "10.0.0.70"
FRAMES = {
    "none": b"",
    "v4": frame(packet()),
    "v6": frame(packet("fd00::5", "2001:db8::9")),
    "vxlan": frame(vxlan(frame(packet()))),
    "mirror": frame(erspan(frame(packet()), dst="192.0.2.70")),
    "to the collector": frame(packet(LOCAL, COLLECTOR)),
    # A layer without addresses around one that has them, and one alone.
    "pseudowire": ethernet(0x8847, bytes.fromhex("00010140") + bytes(4) + frame(packet())),
    "arp": ethernet(0x0806, bytes(28)),
}
HEADERS = list(FRAMES.values())
ADDRESSES = [LOCAL, LISTED, COLLECTOR, "198.51.100.1", "2001:db8::9", "fd00::5", "::ffff:203.0.113.9"]
TOLD = [
    *(nat(src, dst) for src in ADDRESSES[:5] for dst in ADDRESSES[1::2]),
    Record("0:1007", "extended_nat", {"dst_address": LISTED}),
    nat_port(0, 0),
    nat_port(1, 65_536),
    tunnel("10.255.0.1", "10.255.0.2"),
    tunnel("10.255.0.1", LISTED, protocol=47, dport=0, ingress=True),
    tunnel("10.255.0.1", COLLECTOR),
    tunnel("fd00::5", "2001:db8::9"),
    tunnel("2001:db8::9", "fd00::5", protocol=2**32 - 1, ingress=True),
]
NESTED = encode_flow(Record("0:1005", "extended_url", {"direction": 1, "url": "abc", "host": "x"}))
AGGREGATION = pack(">II", 2, 1) + NESTED + pack(">I", 2) + NESTED + pack(">II", 7, 5) + b"abcde\0\0\0"


def of_record(tag: int, body: bytes) -> bytes:
    return pack(">II", tag, len(body)) + body + bytes(-len(body) & 3)


def sample(header: bytes, records: list[bytes], tag: int = 1) -> bytes:
    """A flow sample, or discarded packet, with these records behind its header."""
    encoded = [encode.sampled_header(header, len(header)), *records] if header else records
    body = pack(">8I", 9, 3, 1000, 1000, 7, 3, 5, len(encoded)) + b"".join(encoded)
    return pack(">II", tag, len(body)) + body


def counters_of(records: list[bytes], tag: int = 2) -> bytes:
    body = pack(">3I" if tag == 2 else ">4I", *(9, 3, 0)[: tag // 2 + 1], len(records)) + b"".join(records)
    return pack(">II", tag, len(body)) + body


@pytest.mark.parametrize("header", FRAMES)
def test_each_told_pair_beside_each_header(header: str) -> None:
    both = Twins()
    both.feed_all(datagram(sample(FRAMES[header], [encode_flow(one)])) for one in TOLD)
    ports = encode_flow(nat_port(7, 8))
    both.feed_all(datagram(sample(FRAMES[header], [encode_flow(one), ports])) for one in TOLD)
    mirror = header in {"mirror", "to the collector"}
    assert both.plain.counters.mirror_samples == 2 * len(TOLD) * mirror
    assert mirror or both.plain.counters.pairs > len(TOLD)


def test_nat_between_the_families() -> None:
    both = Twins(blacklist("203.0.113.9", "2001:db8::9"))
    translation = encode_flow(nat("198.51.100.1", "203.0.113.9"))
    payload = datagram(sample(frame(packet("fd00::5", "64:ff9b::cb00:7109")), [translation]))
    [match] = both.native.scan([(payload, "10.0.0.253", 1.0)], both.lists).matches
    assert (match.src_ip, match.dst_ip, match.layer, match.dst_port) == ("fd00::5", "203.0.113.9", 1, 443)


def test_told_pairs_cut_at_every_offset() -> None:
    both = Twins()
    for one in TOLD:
        body = encode_flow(one)[8:]
        tag = int.from_bytes(encode_flow(one)[:4])
        both.feed_all((datagram(sample(HEADERS[1], [of_record(tag, body[:end])])) for end in range(len(body))), 64)


@pytest.mark.parametrize("count", [24, 25, 300, 5_000])
def test_many_records(count: int) -> None:
    both = Twins()
    some = [*TOLD, Record("0:1001", "extended_switch", {"src_vlan": 1}), Record("4413:1", "x", {"queue": 1})]
    encoded = [encode_flow(some[n % len(some)]) for n in range(min(count, 600))]
    encoded += [of_record(77, b"")] * (count - len(encoded))
    both.feed_all([datagram(sample(header, encoded)) for header in HEADERS])
    assert both.plain.counters.bad_samples == 0
    # More are announced than there are.
    whole = sample(HEADERS[1], encoded)
    both.feed_all([datagram(whole[:36] + pack(">I", announced) + whole[40:]) for announced in (count + 2, 2**32 - 1)])
    assert both.plain.counters.bad_samples == 2


def test_records_in_records_cut_at_every_offset() -> None:
    both = Twins()
    bodies = [
        (1016, AGGREGATION),
        (1003, pack(">13I", 1, 0x0A000001, 1, 2, 3, 1, 2, 2, 1, 7, 1, 9, 100)),
        (2202, b"".join(pack(">I", 3) + b"abc\0" for _ in range(4)) + bytes(24)),
    ]
    for tag, body in bodies:
        both.feed_all((datagram(sample(HEADERS[1], [of_record(tag, body[:end])])) for end in range(len(body) + 1)), 64)
    counts = [(1016, pack(">I", count) + AGGREGATION[4:]) for count in (0, 1, 3, 9, 2**30, 2**32 - 1)]
    counts += [(1016, pack(">II", 1, count) + AGGREGATION[8:]) for count in (0, 2, 3, 4, 2**29, 2**32 - 1)]
    both.feed_all([datagram(sample(HEADERS[1], [of_record(tag, body)])) for tag, body in counts])
    [health] = both.plain.agents.snapshot() if both.plain.agents else []
    assert health.bad_records > 50


def test_substitutes_of_a_header_cut_at_every_offset() -> None:
    both = Twins()
    link = pack(">I", 64) + bytes(16) + pack(">I", 0x800)
    ip4 = pack(">II", 60, 6) + bytes((10, 0, 0, 5, 203, 0, 113, 9)) + pack(">4I", 51000, 443, 2, 0)
    ip6 = pack(">II", 60, 17) + bytes(range(32)) + pack(">4I", 51000, 443, 2, 0)
    for first, second in (((2, link), (3, ip4)), ((3, ip4), (4, ip6)), ((4, ip6), (2, link))):
        both.feed_all(
            (
                datagram(sample(b"", [of_record(first[0], first[1][:end]), of_record(*second)]))
                for end in range(len(first[1]) + 1)
            ),
            64,
        )
    assert both.plain.counters.pairs == 75


@QUICK
@given(
    st.sampled_from(HEADERS),
    st.lists(st.tuples(st.sampled_from(TOLD), st.integers(0, 60) | st.just(60)), max_size=7),
    st.sampled_from((1, 5)),
)
def test_any_told_pairs_in_any_order(header: bytes, told: list[tuple[Record, int]], tag: int) -> None:
    records = []
    for one, end in told:
        whole = encode_flow(one)
        records.append(of_record(int.from_bytes(whole[:4]), whole[8 : 8 + end]))
    Twins().feed_all([datagram(sample(header, records, tag))])


@QUICK
@given(st.lists(known_records(FLOW_LAYOUTS), max_size=5), st.integers(0, 40))
def test_any_flow_records_cut_anywhere(found: list[Record], cut: int) -> None:
    encoded = [encode_flow(one) for one in found]
    if encoded:
        tag, body = encoded[-1][:4], encoded[-1][8:]
        encoded[-1] = of_record(int.from_bytes(tag), body[: max(0, len(body) - cut)])
    Twins().feed_all([datagram(sample(HEADERS[1], encoded), flow(HEADERS[2]))])


@QUICK
@given(st.lists(known_records(COUNTER_LAYOUTS), max_size=5), st.integers(0, 40), st.sampled_from((2, 4)))
def test_any_counter_records_cut_anywhere(found: list[Record], cut: int, kind: int) -> None:
    encoded = [encode_counter(one) for one in found]
    if encoded:
        tag, body = encoded[-1][:4], encoded[-1][8:]
        encoded[-1] = of_record(int.from_bytes(tag), body[: max(0, len(body) - cut)])
    whole = counters_of(encoded, kind)
    Twins().feed_all([datagram(whole, flow(HEADERS[1])), datagram(whole[:-1]), datagram(whole[:12])])


@QUICK
@given(st.sampled_from((1, 2, 3, 4, 1003, 1007, 1016, 1020, 1023, 1026, 2202, 4413 << 12 | 1)), st.binary(max_size=90))
def test_any_body(tag: int, body: bytes) -> None:
    both = Twins()
    both.feed_all([datagram(sample(header, [of_record(tag, body)]), flow(HEADERS[1])) for header in HEADERS[:3]])
    both.feed_all([datagram(counters_of([of_record(tag, body)]))])
