# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The lines of `sentinel decode`: a dict per sample, in the key order of its contract; what is absent is left out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from sentinel.errors import DecodeError
from sentinel.model import CountersSample, FlowSample, Packet, Record
from sentinel.sflow import datagram
from sentinel.sflow.datagram import BadSample, Datagram, Sample, UnknownSample

_PACKET_KEYS = (
    *("src_mac", "dst_mac", "vlans", "mpls", "ether_type", "src_ip", "dst_ip", "protocol", "src_port", "dst_port"),
    *("icmp_type", "tcp_flags", "ttl", "length", "vni", "mirror"),
)


class Framed(Protocol):
    """What ``decode_lines`` needs of a ``sflow.recorded.RecordedDatagram``."""

    @property
    def frame(self) -> int:
        """Number of the frame, from 1."""

    @property
    def payload(self) -> bytes:
        """The UDP payload."""


@dataclass(slots=True)
class DecodeCounters:
    """What came of the datagrams that were decoded."""

    datagrams: int = 0
    not_sflow: int = 0
    samples: int = 0
    bad_samples: int = 0
    unknown_samples: int = 0
    unknown_records: int = 0
    bad_records: int = 0
    trailing_octets: int = 0


def decode_lines(packets: Iterable[Framed], counters: DecodeCounters | None = None) -> Iterator[dict[str, Any]]:
    """One dict per sample of every datagram; one with ``error`` and ``offset`` for what cannot be decoded."""
    counters = DecodeCounters() if counters is None else counters
    for packet in packets:
        counters.datagrams += 1
        try:
            decoded = datagram.decode(packet.payload)
        except DecodeError as error:
            counters.not_sflow += 1
            yield {"frame": packet.frame, "error": error.reason, "offset": error.offset}
            continue
        counters.trailing_octets += decoded.trailing
        for sample in decoded.samples:
            _count(counters, sample)
            yield sample_line(packet.frame, decoded, sample)


def _count(counters: DecodeCounters, sample: Sample) -> None:
    if isinstance(sample, BadSample):
        counters.bad_samples += 1
    elif isinstance(sample, UnknownSample):
        counters.unknown_samples += 1
    else:
        counters.samples += 1
        counters.unknown_records += sum(record.name == "unknown" for record in sample.records)
        counters.bad_records += sum("error" in record.fields for record in sample.records)


def sample_line(frame: int, decoded: Datagram, sample: Sample) -> dict[str, Any]:
    """One sample of a datagram as a dict that ``json.dumps`` takes."""
    if isinstance(sample, BadSample):
        place = {"frame": frame, "agent": decoded.agent, "index": sample.index}
        return place | {"error": sample.reason, "offset": sample.offset}
    if isinstance(sample, UnknownSample):
        place = {"frame": frame, "agent": decoded.agent, "index": sample.index}
        return place | {"error": f"unknown sample format {sample.tag}", "offset": sample.offset}
    line: dict[str, Any] = {
        "frame": frame,
        "agent": decoded.agent,
        "sub_agent": decoded.sub_agent,
        "sequence": decoded.sequence,
        "uptime_ms": decoded.uptime_ms,
        "index": sample.index,
        "sample": sample.kind if isinstance(sample, FlowSample) else "counters",
        "tag": sample.tag,
        "source_class": sample.source_class,
        "source_index": sample.source_index,
        "sample_sequence": sample.sequence,
    }
    return line | (_counters(sample) if isinstance(sample, CountersSample) else _flow(sample))


def _counters(sample: CountersSample) -> dict[str, Any]:
    return {"records": [_record(record) for record in sample.records]}


def _flow(sample: FlowSample) -> dict[str, Any]:
    line: dict[str, Any] = {}
    if sample.kind == "flow":
        line = {"sampling_rate": sample.sampling_rate, "sample_pool": sample.sample_pool}
    line |= {"drops": sample.drops, "input": sample.input, "output": sample.output}
    if sample.input_format:
        line["input_format"] = sample.input_format
    if sample.output_format:
        line["output_format"] = sample.output_format
    if sample.reason is not None:
        line["reason"] = sample.reason
    line["records"] = [_record(record) for record in sample.records]
    if sample.packet is not None:
        line["packet"] = packet_dict(sample.packet)
    return line


def _record(record: Record) -> dict[str, Any]:
    return {"tag": record.tag, "name": record.name, **record.fields}


def packet_dict(packet: Packet) -> dict[str, Any]:
    """A packet with its inner ones; depth is bounded by the header decoder."""
    line: dict[str, Any] = {}
    for key in _PACKET_KEYS:
        value = getattr(packet, key)
        if isinstance(value, tuple):
            value = list(value)
        if value is not None and value != []:
            line[key] = value
    if packet.inner is not None:
        line["inner"] = packet_dict(packet.inner)
    return line
