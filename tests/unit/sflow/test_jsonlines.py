# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The lines of sentinel decode: their keys, their order, what is left out."""

import json
from collections.abc import Iterator

from sentinel.sflow import encode
from sentinel.sflow.jsonlines import DecodeCounters, decode_lines
from sentinel.sflow.recorded import RecordedDatagram
from tests.support.sflow import ethernet, gre, ipv4, tcp, udp

VXLAN = b"\x08\0\0\0\0\0\x64\0"
FRAME = ethernet(0x0800, ipv4(17, udp(4789, VXLAN + ethernet(0x0800, ipv4(6, tcp())))), (0x8100, 10))


def flow(frame: bytes = FRAME, output: int = 4) -> bytes:
    return encode.flow_sample(
        sequence=9,
        source_index=3,
        sampling_rate=1000,
        sample_pool=5000,
        input=3,
        output=output,
        header=frame,
        frame_length=1500,
    )


def recorded(*payloads: bytes) -> Iterator[RecordedDatagram]:
    for frame, payload in enumerate(payloads, 1):
        yield RecordedDatagram(frame, 0.0, "10.0.0.253", "10.0.0.1", 6343, payload)


def lines(*samples: bytes) -> list[dict[str, object]]:
    return list(decode_lines(recorded(encode.datagram("10.0.0.253", 1, 7, 1000, samples))))


def test_a_flow_sample_in_the_order_of_the_contract() -> None:
    (line,) = lines(flow())
    assert " ".join(line) == (
        "frame agent sub_agent sequence uptime_ms index sample tag source_class source_index sample_sequence"
        " sampling_rate sample_pool drops input output records packet"
    )
    packet = line["packet"]
    assert isinstance(packet, dict)
    assert " ".join(packet) == (
        "src_mac dst_mac vlans ether_type src_ip dst_ip protocol src_port dst_port ttl length vni inner"
    )
    assert " ".join(packet["inner"]) == (
        "src_mac dst_mac ether_type src_ip dst_ip protocol src_port dst_port tcp_flags ttl length"
    )
    assert (packet["vlans"], packet["vni"], packet["inner"]["dst_port"]) == ([10], 100, 443)
    assert line["records"] == [
        {
            "tag": "0:1",
            "name": "sampled_header",
            "protocol": 1,
            "frame_length": 1500,
            "stripped": 0,
            "header": FRAME.hex(),
        }
    ]


def test_formats_stand_only_where_they_are_not_0() -> None:
    (line,) = lines(flow(output=1 << 30 | 258))
    assert (line["output"], line["output_format"], "input_format" in line) == (258, 1, False)


def test_a_discard_has_a_reason_and_no_sampling() -> None:
    sample = encode.discarded_packet(
        sequence=1, source_index=2, input=3, reason=258, header=FRAME, frame_length=99, drops=4
    )
    (line,) = lines(sample)
    assert (line["sample"], line["reason"], line["drops"], line["tag"]) == ("discard", 258, 4, "0:5")
    assert not {"sampling_rate", "sample_pool"} & set(line)


def test_mirror_traffic_says_so() -> None:
    (line,) = lines(flow(ethernet(0x0800, ipv4(47, gre(0x88BE, bytes(64))))))
    assert isinstance(line["packet"], dict)
    assert line["packet"]["mirror"] == "erspan"


def test_errors_say_where_and_the_next_one_follows() -> None:
    counters = DecodeCounters()
    good = encode.datagram("10.0.0.253", 1, 7, 1000, [encode._words(1, 4, 0), encode._words(4300 << 12 | 2, 0), flow()])
    found = list(decode_lines(recorded(b"\0\0\0\4" + bytes(40), good), counters))
    assert found[:3] == [
        {"frame": 1, "error": "version 4, expected 5", "offset": 0},
        {"frame": 2, "agent": "10.0.0.253", "index": 0, "error": "32 octets needed, 4 left", "offset": 36},
        {"frame": 2, "agent": "10.0.0.253", "index": 1, "error": "unknown sample format 4300:2", "offset": 40},
    ]
    assert (found[3]["frame"], found[3]["index"], found[3]["sample"]) == (2, 2, "flow")
    assert counters == DecodeCounters(datagrams=2, not_sflow=1, samples=1, bad_samples=1, unknown_samples=1)


def test_every_line_is_strict_json() -> None:
    nan = bytes.fromhex("7fc00000")
    counters = encode._words(2, 24, 1, 1, 1, 2003, 4) + nan
    for line in lines(flow(), counters):
        assert json.loads(json.dumps(line, allow_nan=False)) == line
