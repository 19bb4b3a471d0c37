# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled scan and its plain twin: equal matches, flow counts, counters and agent health, whatever comes."""

import importlib
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.model import Record
from sentinel.packets.pcap import packets
from sentinel.receive.batches import Received
from sentinel.sflow import encode
from sentinel.sflow.admission import Admission, AdmissionRule
from sentinel.sflow.recorded import datagrams
from sentinel.sflow.records import encode_flow
from tests.support.flows import flows_of
from tests.support.sflow import data_folder, ethernet, ipv4, ipv6, tcp, udp
from tests.support.traffic import (
    LEAF1,
    LISTED,
    datagram,
    discard,
    erspan,
    flow,
    frame,
    nat,
    nat_port,
    packet,
    table_space,
    tunnel,
    vxlan,
)
from tests.support.twins import EVERYTHING, Twins, mutations, native

QUICK = settings(max_examples=200, deadline=None)
RUBBISH = bytes(range(256))
_IP4 = {"length": 60, "protocol": 6, "src_ip": "10.0.0.5", "dst_ip": LISTED, "src_port": 51000, "dst_port": 443}
_IP6 = _IP4 | {"src_ip": "fd00::5", "dst_ip": "2001:db8::9"}
_MORE = {"tcp_flags": 2, "tos": 0, "priority": 0}
_LINK = {"length": 64, "src_mac": "02:00:00:00:00:01", "dst_mac": "02:00:00:00:00:02", "type": 0x800}
SUBSTITUTES = {
    "ethernet": Record("0:2", "sampled_ethernet", _LINK),
    "ipv4": Record("0:3", "sampled_ipv4", _IP4 | _MORE),
    "ipv6": Record("0:4", "sampled_ipv6", _IP6 | _MORE),
    "short": Record("0:3", "sampled_ipv4", _IP4),
}
_STACK = {"tag": "0:1012", "name": "extended_vlantunnel", "stack": [1, 2, 3]}
BESIDE = [
    Record("0:1001", "extended_switch", {"src_vlan": 1, "src_priority": 0, "dst_vlan": 2, "dst_priority": 0}),
    Record("0:1002", "extended_router", {"nexthop": "10.0.0.1", "src_mask_len": 8, "dst_mask_len": 24}),
    Record(
        "0:1003",
        "extended_gateway",
        {
            "nexthop": "2001:db8::1",
            "as": 1,
            "src_as": 2,
            "src_peer_as": 3,
            "dst_as_path": [{"type": 2, "path": [1, 2]}, {"type": 1, "path": []}],
            "communities": [7, 8],
            "localpref": 100,
        },
    ),
    Record("0:1004", "extended_user", {"src_charset": 3, "src_user": "ab", "dst_charset": 3, "dst_user": "abcde"}),
    Record("0:1012", "extended_vlantunnel", {"stack": [1, 2, 3]}),
    Record("0:1015", "extended_80211_tx", {"ssid": "x", "bssid": "02:00:00:00:00:01", "version": 1}),
    Record(
        "0:1016", "extended_80211_aggregation", {"pdus": [{"flow_records": [_STACK, _STACK]}, {"flow_records": []}]}
    ),
    Record("4413:1", "extended_bst_egress_queue", {"queue": 5}),
    Record("4300:77", "unknown"),
]


def without_header(*records: Record) -> bytes:
    """A flow sample with these records only."""
    encoded = b"".join(encode_flow(record) for record in records)
    return _sample(1, pack(">8I", 9, 3, 1000, 1000, 7, 3, 5, len(records)) + encoded)


def _sample(tag: int, body: bytes) -> bytes:
    return pack(">II", tag, len(body)) + body


def expanded(frame_: bytes) -> bytes:
    """An expanded flow sample whose output is a discard reason."""
    record = encode.sampled_header(frame_[:128], len(frame_))
    return _sample(3, pack(">11I", 9, 0, 70_000, 512, 512, 1, 0, 70_000, 1, 258, 1) + record)


def of_protocol(protocol: int, header: bytes) -> bytes:
    """A flow sample whose header is of this header_protocol."""
    return (
        without_header()
        if not header
        else _sample(
            1, pack(">8I", 9, 3, 1000, 1000, 7, 3, 5, 1) + encode.sampled_header(header, len(header), protocol)
        )
    )


def counters(number: int) -> bytes:
    adapters = [{"if_index": 1, "mac_address": ["02:00:00:00:00:01", "02:00:00:00:00:02"]}]
    records = [
        Record("0:1005", "port_name", {"port_name": "swp3"}),
        Record("0:2001", "host_adapters", {"adapters": adapters}),
        Record("4300:77", "unknown"),
    ]
    return encode.counters_sample(sequence=number, source_index=3, records=records)


def of_raw(*records: tuple[int, bytes], padded: bool = True) -> bytes:
    """A flow sample with these bodies as they are, padded or not, and sampled_ipv4 behind them."""
    body = pack(">8I", 9, 3, 1000, 1000, 7, 3, 5, len(records) + 1)
    for tag, octets in records:
        body += pack(">II", tag, len(octets)) + octets + (bytes(-len(octets) & 3) if padded else b"")
    return _sample(1, body + encode_flow(SUBSTITUTES["ipv4"]))


NAMED = (1038, b"\0\0\0\3abc")
INNER = packet("fd00::5", "2001:db8::9")
FRAMES = [
    frame(packet()),
    frame(packet(LISTED, "10.0.0.5", 443, 51000, 0x12)),
    frame(vxlan(frame(INNER))),
    frame(vxlan(frame(vxlan(frame(packet()), vni=7)))),
    frame(erspan(frame(packet()))),
    frame(vxlan(frame(erspan(frame(packet()), dst="192.0.2.70")))),
    ethernet(0x0800, packet(), (0x88A8, 10), (0x8100, 20)),
    ethernet(0x86DD, ipv6(17, udp(6081, bytes((1, 0, 0x65, 0x58, 0, 0, 9, 0)) + bytes(4) + frame(packet())))),
    ethernet(0x0800, ipv4(47, bytes.fromhex("2000655800000007") + frame(INNER))),
    ethernet(0x0800, ipv4(47, bytes.fromhex("30810800000000070000000100000002") + packet())),
    ethernet(0x0800, ipv4(4, packet())),
    ethernet(0x0800, ipv4(41, INNER)),
    ethernet(0x0800, ipv4(97, b"\x30\0" + frame(packet()))),
    ethernet(0x0800, ipv4(137, bytes.fromhex("00010140") + packet())),
    ethernet(0x0800, ipv4(51, bytes.fromhex("06040000") + bytes(20) + tcp(443))),
    ethernet(0x86DD, ipv6(0, bytes((43, 0)) + bytes(6) + bytes((44, 1)) + bytes(14) + bytes((6, 0, 0, 0)) + tcp(80))),
    ethernet(0x86DD, ipv6(44, bytes((17, 0, 0x05, 0xA8, 0, 0, 0, 1)) + bytes(20))),
    ethernet(0x8847, bytes.fromhex("0001000000020140") + INNER),
    ethernet(0x8847, bytes.fromhex("00010140") + bytes(4) + frame(packet())),
    ethernet(0x8847, bytes.fromhex("00010140") + frame(packet())),
    ethernet(0x8847, bytes.fromhex("00000140") + frame(packet())),
    ethernet(0x8864, bytes.fromhex("110000010030") + b"\0\x21" + packet()),
    ethernet(0x88E7, bytes(4) + frame(packet())),
    ethernet(0x894F, bytes.fromhex("0fc6010300000000") + bytes(16) + frame(packet())),
    ethernet(0x894F, bytes.fromhex("0fc2010100000000") + packet()),
    ethernet(0x8926, bytes(4) + b"\x08\0" + packet()),
    ethernet(40, b"\xaa\xaa\x03\0\0\0\x08\0" + packet()),
    ethernet(0x0800, ipv4(17, udp(2152, bytes.fromhex("30ff001000000001") + packet()))),
    ethernet(0x0800, ipv4(17, udp(2152, bytes.fromhex("34ff001000000001000000850100000000000000") + packet()))),
    ethernet(0x0800, ipv4(17, udp(4790, bytes.fromhex("0c00000100000700") + packet()))),
    ethernet(0x0800, ipv4(17, udp(6635, bytes.fromhex("00010140") + packet()))),
    ethernet(0x0800, ipv4(17, udp(4754, bytes.fromhex("00000800") + packet()))),
    ethernet(0x0800, ipv4(17, udp(40000, bytes.fromhex("0800000000000700") + frame(packet()), 4789))),
    ethernet(0x0800, ipv4(1, bytes((3, 1)) + bytes(6) + packet())),
    ethernet(0x0800, ipv4(17, udp(53, bytes(30)), options=3)),
    ethernet(0x0806, bytes(28)),
]
SAMPLES = [
    *(flow(each) for each in FRAMES),
    expanded(frame(packet())),
    discard(frame(packet(LISTED, "10.0.0.5"))),
    flow(frame(packet()), extra_records=BESIDE),
    flow(frame(packet()), extra_records=[nat("198.51.100.1", LISTED), nat_port(1, 2)]),
    flow(frame(INNER), extra_records=[nat_port(1, 2), nat("198.51.100.1", "10.0.0.70"), nat("fd00::5", LISTED)]),
    flow(frame(packet()), extra_records=[tunnel("10.255.0.1", LISTED), tunnel("fd00::5", "2001:db8::9")] * 2),
    without_header(nat("10.0.0.5", "2001:db8::9"), nat_port(0, 443), tunnel("10.255.0.1", LISTED, protocol=47)),
    flow(frame(vxlan(frame(packet()))), extra_records=[*BESIDE, nat(LISTED, "10.0.0.5")] * 6),
    without_header(SUBSTITUTES["ethernet"], SUBSTITUTES["ipv4"]),
    without_header(SUBSTITUTES["ipv6"]),
    without_header(SUBSTITUTES["short"], SUBSTITUTES["ethernet"]),
    without_header(SUBSTITUTES["ethernet"]),
    without_header(*[SUBSTITUTES["ipv4"]] * 40),
    of_protocol(7, b"\xff\x03\0\x21" + packet()),
    of_protocol(7, b"\x21" + packet()),
    of_protocol(11, packet()),
    of_protocol(12, INNER),
    of_protocol(13, bytes.fromhex("00010140") + packet()),
    of_protocol(14, b"\x0f\0\x08\0" + packet()),
    of_protocol(99, packet()),
    of_raw(NAMED),
    of_raw(NAMED, padded=False),
    of_raw(NAMED, (1038, b"\0\0\0\1a"), NAMED, padded=False),
    of_raw((4300 << 12 | 7, b"abc"), padded=False),
    *(of_raw((1002, pack(">I", kind) + bytes(size))) for kind in range(5) for size in (0, 3, 4, 8, 12, 16, 24)),
    *(of_raw((1003, bytes(4) + bytes(size))) for size in range(0, 40, 3)),
    *(of_raw((1012, pack(">I", 3) + bytes(size))) for size in (0, 8, 11, 12, 13)),
    *(of_raw((1015, b"\0\0\0\5abcde" + bytes(size))) for size in range(0, 48, 5)),
    counters(1),
    table_space(9),
    _sample(4300 << 12 | 5, bytes(6)),
    _sample(1, bytes(8)),
]
DATAGRAMS = [
    *(datagram(each, sequence=number) for number, each in enumerate(SAMPLES, 1)),
    datagram(*SAMPLES[:12], sequence=100),
    # Samples whose length is odd, without and with their padding.
    datagram(*[_sample(9, b"abc")] * 2, *SAMPLES[:2], sequence=101),
    datagram(_sample(9, b"abc") + b"\0", SAMPLES[0], sequence=102),
    datagram(_sample(5, SAMPLES[0][8:] + b"x"), SAMPLES[0], sequence=103),
    datagram(*SAMPLES[-14:], agent="2001:db8::253", sequence=7),
]


def test_own_encodings_agree_and_are_found() -> None:
    both = Twins()
    assert both.feed_all(DATAGRAMS) > 100


def test_cut_at_every_offset_with_rubbish_behind() -> None:
    both = Twins()
    for whole in DATAGRAMS:
        both.feed_all((whole[:end] for end in range(len(whole))), 256)
        both.feed_all((whole[:end] + RUBBISH for end in range(0, len(whole), 3)), 256)


def test_headers_cut_at_every_offset() -> None:
    both = Twins()
    both.feed_all((datagram(flow(each[:end])) for each in FRAMES for end in range(len(each[:128]))), 256)


def test_every_recording() -> None:
    both = Twins()
    for folder in ("sflow", "headers", "erspan"):
        for pcap in sorted(data_folder(folder).glob("*.pcap")):
            both.feed([(one.payload, one.sender, one.at) for one in datagrams(packets(pcap))][:400])
    assert both.plain.counters.matches > 1000


def test_every_recorded_frame_as_a_sample() -> None:
    both = Twins()
    for folder in ("headers", "erspan"):
        for pcap in sorted(data_folder(folder).glob("*.pcap")):
            frames = [bytes(one.data) for one, _ in zip(packets(pcap), range(300), strict=False)]
            both.feed_all((datagram(flow(each)) for each in frames), 64)
    assert both.plain.counters.matches > 1000


@pytest.mark.parametrize("seed", range(4))
def test_mutated(seed: int) -> None:
    both = Twins(max_streams=40)
    both.feed_all(mutations(DATAGRAMS, 2_500, seed), 32)


@pytest.mark.parametrize("seed", range(2))
def test_mutated_headers(seed: int) -> None:
    both = Twins()
    both.feed_all((datagram(flow(each)) for each in mutations(FRAMES, 4_000, seed)), 64)


@QUICK
@given(st.lists(st.binary(max_size=300), max_size=6))
def test_any_octets(payloads: list[bytes]) -> None:
    Twins().feed_all(payloads)


@QUICK
@given(st.integers(0, 15), st.binary(max_size=160))
def test_any_header(protocol: int, header: bytes) -> None:
    Twins().feed_all([datagram(of_protocol(protocol, header))])


@QUICK
@given(st.lists(st.tuples(st.sampled_from((1, 2, 3, 5, 6)), st.binary(max_size=90)), max_size=6))
def test_any_samples(samples: list[tuple[int, bytes]]) -> None:
    Twins().feed_all([datagram(*(_sample(tag, body) for tag, body in samples))])


@QUICK
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.sampled_from((0, 1, 2, 3, 70, 500, 2**31, 2**32 - 70, 2**32 - 1)),
            st.sampled_from((0, 1, 5_000, 3_600_000, 2**32 - 1)),
            st.sampled_from((0.0, 1.0, 4_000.0)),
        ),
        max_size=40,
    )
)
def test_streams_that_jump_restart_and_are_forgotten(steps: list[tuple[int, int, int, float]]) -> None:
    both, now = Twins(max_streams=3), 0.0
    for sub_agent, sequence, uptime_ms, later in steps:
        now += later
        sample = flow(frame(packet()), sequence=sequence, sampling_rate=sequence, source_index=sub_agent)
        sample = sample[:28] + uptime_ms.to_bytes(4, "big") + sample[32:]
        both.feed([(encode.datagram(LEAF1, sub_agent, sequence, uptime_ms, [sample]), LEAF1, now)])


def test_all_that_were_silent_for_long_are_forgotten_at_once_and_their_places_taken_again() -> None:
    both = Twins(max_streams=40)
    sample = flow(frame(packet()))
    for now, sub_agents in ((0.0, range(40)), (1.0, range(5)), (3_600.5, range(40, 80)), (3_600.6, range(3))):
        for sub_agent in sub_agents:
            both.feed([(encode.datagram(LEAF1, sub_agent, 1, 1, [sample, sample]), LEAF1, now)])
    told = both.native.agents.snapshot()
    assert [each.sub_agent for each in told] == [*range(5), *range(40, 75)]
    assert [each.samples for each in told] == [6] * 3 + [4] * 2 + [2] * 35
    assert both.native.agents.overflow == 5


def test_more_sources_tags_and_rates_than_are_kept() -> None:
    both = Twins()
    for start in range(0, 2_400, 50):
        samples = [flow(frame(packet()), source_index=n, sampling_rate=n) for n in range(start, start + 50)]
        samples += [_sample(5000 + start, b""), without_header(Record(f"7:{start}", "unknown"), SUBSTITUTES["ipv4"])]
        both.feed([(datagram(*samples, sequence=start), LEAF1, 1.0)])
    [health] = both.native.agents.snapshot()
    assert (health.data_sources, len(health.sampling_rates), "other" in health.unknown_tags) == (2048, 16, True)


def test_more_flows_than_are_kept() -> None:
    both = Twins(max_flows=10)
    batch = [(datagram(flow(frame(packet(sport=n)))), LEAF1, float(n)) for n in range(30)]
    both.feed(batch, take=False)
    assert (len(both.native.flows), both.native.flows.evicted) == (10, 20)
    both.feed(batch)
    assert len(both.native.flows) == 0


def test_sums_stop_at_the_same_figure() -> None:
    both = Twins()
    huge = flow(frame(packet()), sampling_rate=2**32 - 1, frame_length=2**32 - 1)
    both.feed([(datagram(*[huge] * 5), LEAF1, 1.0)], take=False)
    taken = both.native.flows.take()
    [row] = flows_of(taken.table())
    assert (row.packets, row.bytes) == (taken.packets, taken.bytes)
    assert (row.packets, row.bytes) == (5 * (2**32 - 1), 2**63 - 1)


def test_who_is_heard() -> None:
    rules = [AdmissionRule((LEAF1, "10.0.0.252"), "leaf1"), AdmissionRule(("2001:db8::/64",))]
    admissions = (Admission(rules, ["192.0.2.0/24"]), Admission(rules, ["192.0.2.0/24"]))
    both = Twins(admissions=admissions)
    senders = (LEAF1, "10.0.0.252", "192.0.2.9", "198.51.100.1", "2001:db8::1", "fe80::1%eth0", "::ffff:10.0.0.253")
    agents = (LEAF1, "10.0.0.252", "10.9.9.9", "2001:db8::1", "2001:db8:1::1")
    batch: list[Received] = [
        (payload, sender, 1.0)
        for agent in agents
        for sender in senders
        for payload in (datagram(flow(frame(packet())), agent=agent), b"\0\0\0\5\0", datagram(agent=agent)[:20])
    ]
    sane = [one for one in batch if "%" not in one[1] and "ffff" not in one[1]]
    both.feed(sane * 2)
    assert set(both.plain.counters.refused) == {"unknown_agent", "foreign_sender"}
    mapped = both.native.scan([(batch[0][0], "::ffff:10.0.0.253", 1.0)], both.lists)
    assert len(mapped.matches) == 2


@QUICK
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(26, 32), st.none() | st.integers(0, 3)), max_size=8),
    st.lists(st.tuples(st.integers(0, 40), st.integers(29, 32)), max_size=3),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.booleans(), st.integers(0, 60)), max_size=40),
)
def test_any_admission(
    rules: list[tuple[int, int, int | None]],
    relays: list[tuple[int, int]],
    datagrams: list[tuple[int, int, bool, int]],
) -> None:
    made = [
        AdmissionRule((f"10.0.0.{low}/{size}", f"2001:db8::1:{low:x}"))
        if switch is None
        else AdmissionRule((f"10.0.0.{low}", f"10.0.0.{low + switch}", f"2001:db8::1:{low:x}"), "leaf")
        for low, size, switch in rules
    ]
    networks = [f"10.0.0.{low}/{size}" for low, size in relays]
    both = Twins(admissions=(Admission(made, networks), Admission(made, networks)))
    batch: list[Received] = []
    for agent, sender, six, end in datagrams:
        payload = datagram(agent=f"2001:db8::1:{agent:x}" if six else f"10.0.0.{agent}")
        batch.append((payload[:end] if end < 30 else payload, f"10.0.0.{sender}", 1.0))
        batch.append((payload, f"2001:db8::1:{sender:x}", 1.0))
    both.feed(batch)


def test_every_kind_of_no_datagram() -> None:
    both = Twins(admissions=(Admission([AdmissionRule((LEAF1,))]), Admission([AdmissionRule((LEAF1,))])))
    wholes = [datagram(agent=agent) for agent in (LEAF1, "10.9.9.9", "2001:db8::1", "::ffff:10.0.0.253")]
    kinds = [pack(">II", version, kind) + bytes(40) for version in (0, 4, 5, 2**32 - 1) for kind in (0, 1, 2, 3)]
    cut = [whole[:end] for whole in (*wholes, *kinds) for end in range(len(whole) + 1)]
    long = [whole + bytes(size) for whole in (*wholes, *kinds) for size in (65_507 - len(whole), 65_508, 70_000)]
    both.feed_all(cut, 50)
    both.feed_all(long, 50)
    assert set(both.plain.counters.bad_datagrams) == {"too_long", "version", "agent_address", "truncated"}


def test_a_batch_of_the_compiled_receiver_is_the_same_as_its_datagrams() -> None:
    module, receive = native(), importlib.import_module("sentinel.receive._native")
    senders = [bytes((10, 0, 0, n % 4)) for n in range(len(DATAGRAMS))]
    batch = receive.batch_of([*DATAGRAMS], senders, 5.0)
    taken_apart = list(batch)
    assert [payload for payload, _, _ in taken_apart] == DATAGRAMS
    assert taken_apart[1][1:] == ("10.0.0.1", 5.0)
    one, other = (module.NativeScan(agents=module.Health(), flows=module.Flows()) for _ in range(2))
    assert one.scan(batch, EVERYTHING) == other.scan(taken_apart, EVERYTHING)
    assert one.counters == other.counters
    assert one.agents.snapshot() == other.agents.snapshot()
    assert one.flows.take().table() == other.flows.take().table()


def test_tables_are_those_of_the_lists_that_are_asked() -> None:
    module = native()
    scanner = module.NativeScan()
    batch = [(datagram(flow(frame(packet()))), LEAF1, 1.0)]
    assert len(scanner.scan(batch, EVERYTHING).matches) == 2
    assert EVERYTHING.compiled is module.frozen(EVERYTHING)
