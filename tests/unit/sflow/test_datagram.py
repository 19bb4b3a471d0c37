# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Datagrams: what is decoded, what is skipped by its length, what costs only itself."""

from struct import pack

import pytest

from sentinel.errors import DecodeError
from sentinel.limits import MAX_DATAGRAM_BYTES
from sentinel.model import CountersSample, FlowSample, Packet, Record
from sentinel.sflow import datagram, encode
from sentinel.sflow.datagram import BadSample, UnknownSample
from sentinel.sflow.records import encode_flow
from tests.support.sflow import ethernet, ipv4, tcp

FRAME = ethernet(0x0800, ipv4(6, tcp()))
IPV4 = {"length": 1400, "protocol": 6, "src_ip": "10.0.0.1", "dst_ip": "192.0.2.1", "src_port": 1, "dst_port": 2}
IPV4_RECORD = Record("0:3", "sampled_ipv4", IPV4 | {"tcp_flags": 0x12, "tos": 0})
ETHERNET_RECORD = Record(
    "0:2",
    "sampled_ethernet",
    {"length": 1418, "src_mac": "02:00:00:00:00:01", "dst_mac": "02:00:00:00:00:02", "type": 0x0800},
)


def words(*values: int) -> bytes:
    return pack(f">{len(values)}I", *values)


def flow(sequence: int = 1, **more: object) -> bytes:
    values = {"source_index": 3, "sampling_rate": 1000, "sample_pool": 5000, "input": 3, "output": 4} | more
    return encode.flow_sample(sequence=sequence, header=FRAME, frame_length=1500, **values)  # type: ignore[arg-type]


def decode(*samples: bytes, announced: int | None = None, behind: bytes = b"") -> datagram.Datagram:
    octets = encode.datagram("10.0.0.253", 0, 7, 1000, samples)
    if announced is not None:
        octets = octets[:24] + words(announced) + octets[28:]
    return datagram.decode(octets + behind)


def one(sample: bytes) -> datagram.Sample:
    (found,) = decode(sample).samples
    return found


def test_the_header_of_agents_over_ipv4_and_ipv6() -> None:
    v4 = datagram.decode(encode.datagram("10.0.0.253", 100000, 2**32 - 1, 12, []))
    assert v4 == datagram.Datagram("10.0.0.253", 100000, 2**32 - 1, 12, ())
    assert datagram.decode(encode.datagram("2001:db8::1", 0, 1, 2, [])).agent == "2001:db8::1"


@pytest.mark.parametrize(
    ("octets", "code", "offset"),
    [
        pytest.param(b"", "truncated", 0, id="empty"),
        pytest.param(words(4, 1, 0x0A000001, 0, 1, 2, 0), "version", 0, id="version-4"),
        pytest.param(words(5, 0, 0, 1, 2, 0, 0), "agent_address", 4, id="agent-of-unknown-type"),
        pytest.param(words(5, 3, 0, 1, 2, 0, 0), "address", 4, id="agent-of-no-type"),
        pytest.param(words(5, 1, 0x0A000001, 0, 1, 2), "truncated", 24, id="cut"),
        pytest.param(words(5, 1, 0, 0, 1, 2, 0) + bytes(MAX_DATAGRAM_BYTES), "too_long", 0, id="too-long"),
    ],
)
def test_what_is_no_sflow_v5_raises(octets: bytes, code: str, offset: int) -> None:
    with pytest.raises(DecodeError) as raised:
        datagram.decode(octets)
    assert (raised.value.code, raised.value.offset) == (code, offset)


def test_a_compact_flow_sample() -> None:
    sample = one(flow(9, source_class=2, drops=11, input=0x3FFFFFFF, output=1 << 30 | 258))
    assert isinstance(sample, FlowSample)
    assert (sample.kind, sample.tag, sample.index, sample.sequence) == ("flow", "0:1", 0, 9)
    assert (sample.source_class, sample.source_index) == (2, 3)
    assert (sample.sampling_rate, sample.sample_pool, sample.drops) == (1000, 5000, 11)
    assert (sample.input_format, sample.input) == (0, 0x3FFFFFFF)
    assert (sample.output_format, sample.output) == (1, 258)
    assert (sample.reason, sample.frame_length) == (None, 1500)
    assert sample.packet is not None
    assert sample.packet.dst_ip == "192.0.2.1"


def test_an_expanded_flow_sample_has_room_for_large_numbers() -> None:
    body = words(1, 3, 150_000, 400, 0, 0, 2, 2**32 - 1, 1, 256, 0)
    sample = one(words(3, len(body)) + body)
    assert isinstance(sample, FlowSample)
    assert (sample.source_class, sample.source_index, sample.tag) == (3, 150_000, "0:3")
    assert (sample.input_format, sample.input, sample.output_format, sample.output) == (2, 2**32 - 1, 1, 256)
    assert (sample.packet, sample.frame_length, sample.records) == (None, 0, ())


def test_a_discarded_packet() -> None:
    reason = Record("0:1042", "extended_linux_drop_reason", {"reason": "NETFILTER_DROP"})
    sample = one(
        encode.discarded_packet(
            sequence=2,
            source_index=1,
            drops=5,
            input=0x3FFFFFFF,
            output=2,
            reason=258,
            header=FRAME,
            frame_length=64,
            extra_records=[reason],
        )
    )
    assert isinstance(sample, FlowSample)
    assert (sample.kind, sample.tag, sample.reason, sample.drops) == ("discard", "0:5", 258, 5)
    assert (sample.sampling_rate, sample.input, sample.input_format) == (1, 0x3FFFFFFF, 0)
    assert sample.records[1] == reason
    assert sample.packet is not None


@pytest.mark.parametrize("expanded", [False, True])
def test_counters(expanded: bool) -> None:
    record = Record("0:1005", "port_name", {"port_name": "swp1"})
    sample = one(encode.counters_sample(sequence=4, source_index=5, records=[record], expanded=expanded))
    assert sample == CountersSample("0:4" if expanded else "0:2", 0, 4, 0, 5, (record,))


def test_an_unknown_sample_is_passed_over() -> None:
    unknown = words(4300 << 12 | 1002, 8, 1, 2)
    assert decode(flow(1), unknown, flow(2)).samples[1] == UnknownSample(1, "4300:1002", 8)
    assert [each.index for each in decode(flow(1), unknown, flow(2)).samples] == [0, 1, 2]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        pytest.param(words(1, 8, 1, 2), "32 octets needed", id="short"),
        pytest.param(words(1, 32, 1, 2, 3, 4, 5, 6, 7, 1), "1 records announced, 0 octets left", id="record-missing"),
        pytest.param(words(1, 44, 1, 2, 3, 4, 5, 6, 7, 1, 1001, 16, 0), "record 0:1001 of 16 octets", id="record-long"),
        pytest.param(words(2, 20, 1, 2, 2**32 - 1, 1, 0), "4294967295 records announced", id="records-lie"),
        pytest.param(words(4, 12, 1, 2, 3), "16 octets needed", id="counters-short"),
        pytest.param(words(5, 28, 1, 2, 3, 4, 5, 6, 7), "32 octets needed", id="discard-short"),
    ],
)
def test_a_bad_sample_costs_only_itself(bad: bytes, reason: str) -> None:
    first, second, third = decode(flow(1), bad, flow(2)).samples
    assert isinstance(second, BadSample)
    assert reason in second.reason
    assert second.index == 1
    assert 28 + len(flow()) <= second.offset <= 28 + len(flow()) + len(bad)
    assert isinstance(first, FlowSample)
    assert isinstance(third, FlowSample)
    assert third.sequence == 2


def test_a_sample_longer_than_the_datagram_ends_it() -> None:
    first, second = decode(flow(1), words(1, 2**32 - 1) + bytes(40), announced=3).samples
    assert isinstance(first, FlowSample)
    assert second == BadSample(
        1, "0:1", 28 + len(flow()), "sample length 4294967295 past the end of the datagram, 40 octets left"
    )


def test_more_samples_announced_than_there_are() -> None:
    first, second = decode(flow(1), announced=2**32 - 1).samples
    assert isinstance(first, FlowSample)
    assert isinstance(second, BadSample)
    assert (second.index, second.tag) == (1, "")
    assert "4294967295 samples announced" in second.reason


def test_fewer_samples_announced_than_there_are() -> None:
    found = decode(flow(1), flow(2), announced=1)
    assert [each.index for each in found.samples] == [0]
    assert found.trailing == len(flow(2))


def test_an_unaligned_length_with_and_without_its_padding() -> None:
    symbol = words(1038, 10, 6) + b"symbol"
    body = words(1, 0, 1, 0, 1, 2, 258, 1) + symbol
    bare = words(5, len(body)) + body
    assert len(bare) % 4
    for sample in (bare, bare + bytes(-len(bare) & 3)):
        for samples in ((sample,), (sample, flow(2))):
            found = decode(*samples).samples
            assert all(isinstance(each, FlowSample) for each in found), found
            assert isinstance(found[0], FlowSample)
            assert found[0].records == (Record("0:1038", "extended_function", {"symbol": "symbol"}),)


def test_unaligned_records_in_one_sample_with_and_without_padding() -> None:
    symbol = words(1038, 10, 6) + b"symbol"
    queue = words(1036, 4, 7)
    for middle in (symbol, symbol + bytes(2)):
        body = words(1, 0, 1, 0, 1, 2, 258, 2) + middle + queue
        sample = one(words(5, len(body)) + body)
        assert isinstance(sample, FlowSample), sample
        assert [record.tag for record in sample.records] == ["0:1038", "0:1036"]


def test_the_packet_of_an_ipv4_record_where_there_is_no_header() -> None:
    body = words(1, 3, 400, 0, 0, 1, 2, 2) + encode_flow(ETHERNET_RECORD) + encode_flow(IPV4_RECORD)
    sample = one(words(1, len(body)) + body)
    assert isinstance(sample, FlowSample)
    assert sample.frame_length == 1418
    assert sample.packet == Packet(
        src_mac="02:00:00:00:00:01",
        dst_mac="02:00:00:00:00:02",
        ether_type=0x0800,
        src_ip="10.0.0.1",
        dst_ip="192.0.2.1",
        protocol=6,
        src_port=1,
        dst_port=2,
        tcp_flags=0x12,
        length=1400,
    )


def test_the_packet_of_an_ipv6_record_alone() -> None:
    fields = IPV4 | {"src_ip": "2001:db8::1", "dst_ip": "2001:db8::2", "protocol": 58, "tcp_flags": 0, "priority": 0}
    body = words(1, 3, 400, 0, 0, 1, 2, 1) + encode_flow(Record("0:4", "sampled_ipv6", fields))
    sample = one(words(1, len(body)) + body)
    assert isinstance(sample, FlowSample)
    assert sample.frame_length == 1400
    assert sample.packet == Packet(src_ip="2001:db8::1", dst_ip="2001:db8::2", protocol=58, length=1400)


def test_a_header_wins_over_the_records_beside_it() -> None:
    sample = one(flow(1, extra_records=[IPV4_RECORD]))
    assert isinstance(sample, FlowSample)
    assert sample.packet is not None
    assert (sample.packet.dst_port, sample.frame_length) == (443, 1500)


def test_a_header_longer_than_its_record_is_read_as_far_as_it_goes() -> None:
    record = words(1, 1500, 4, 4000) + FRAME + bytes(-len(FRAME) & 3)
    body = words(1, 3, 400, 0, 0, 1, 2, 1) + words(1, len(record)) + record
    sample = one(words(1, len(body)) + body)
    assert isinstance(sample, FlowSample)
    assert sample.packet is not None
    assert sample.packet.dst_ip == "192.0.2.1"
    assert "opaque of 4000 octets" in str(sample.records[0].fields["error"])


def test_without_bodies_the_packets_are_the_same() -> None:
    octets = encode.datagram("10.0.0.253", 0, 7, 1000, [flow(1, extra_records=[IPV4_RECORD])])
    (light,) = datagram.decode(octets, bodies=False).samples
    (full,) = datagram.decode(octets).samples
    assert isinstance(light, FlowSample)
    assert isinstance(full, FlowSample)
    assert (light.packet, light.frame_length) == (full.packet, full.frame_length)
    assert light.records == (Record("0:1", "sampled_header"), Record("0:3", "sampled_ipv4"))
