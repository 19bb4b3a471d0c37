# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""sFlow v5 datagrams from values: the reverse of ``datagram.decode``, for the demo's agents and for tests."""

from collections.abc import Sequence
from struct import pack

from sentinel.model import CountersSample, FlowSample, Record
from sentinel.sflow.datagram import BadSample, Datagram, Sample, UnknownSample
from sentinel.sflow.records import encode_counter, encode_flow, tag_number
from sentinel.sflow.xdr import address, opaque, padded

_FLOW, _COUNTERS, _FLOW_EXPANDED, _COUNTERS_EXPANDED, _DISCARD = 1, 2, 3, 4, 5
_ETHERNET = 1


def encode(value: Datagram) -> bytes:
    """The octets of which ``datagram.decode`` makes ``value`` again.

    Raises ``ValueError`` for what no octets stand for: a bad sample, a record that was not decoded whole, a number that
    its field has no room for. Of unknown samples and records only the tag (and a sample's length) is known: zeros.
    """
    samples = [_sample(sample) for sample in value.samples]
    octets = datagram(value.agent, value.sub_agent, value.sequence, value.uptime_ms, samples)
    return octets + bytes(value.trailing)


def datagram(agent: str, sub_agent: int, sequence: int, uptime_ms: int, samples: Sequence[bytes]) -> bytes:
    """A datagram of encoded samples; ``agent`` is an IPv4 or IPv6 address."""
    head = _words(sub_agent, sequence, uptime_ms, len(samples))
    return _words(5) + address(agent) + head + b"".join(samples)


def flow_sample(
    *,
    sequence: int,
    source_index: int,
    source_class: int = 0,
    sampling_rate: int,
    sample_pool: int,
    input: int,  # noqa: A002 - sFlow's own name of the field
    output: int,
    header: bytes,
    frame_length: int,
    expanded: bool = False,
    drops: int = 0,
    extra_records: Sequence[Record] = (),
) -> bytes:
    """An encoded flow sample of one Ethernet frame: ``header`` its first octets, ``frame_length`` all of them."""
    records = [sampled_header(header, frame_length), *(encode_flow(record) for record in extra_records)]
    source = _source(source_class, source_index, expanded=expanded)
    ports = _words(0, input, 0, output) if expanded else _words(input, output)
    head = _words(sequence) + source + _words(sampling_rate, sample_pool, drops) + ports
    return _framed(_FLOW_EXPANDED if expanded else _FLOW, head, records)


def counters_sample(
    *, sequence: int, source_index: int, source_class: int = 0, records: Sequence[Record], expanded: bool = False
) -> bytes:
    """An encoded counters sample."""
    head = _words(sequence) + _source(source_class, source_index, expanded=expanded)
    return _framed(_COUNTERS_EXPANDED if expanded else _COUNTERS, head, [encode_counter(record) for record in records])


def discarded_packet(
    *,
    sequence: int,
    source_index: int,
    source_class: int = 0,
    drops: int = 0,
    input: int,  # noqa: A002 - sFlow's own name of the field
    output: int = 0,
    reason: int,
    header: bytes,
    frame_length: int,
    extra_records: Sequence[Record] = (),
) -> bytes:
    """An encoded discarded_packet of one Ethernet frame; ``reason`` is sFlow's drop_reason (258: an access list)."""
    head = _words(sequence, source_class, source_index, drops, input, output, reason)
    return _framed(
        _DISCARD, head, [sampled_header(header, frame_length), *(encode_flow(record) for record in extra_records)]
    )


def sampled_header(header: bytes, frame_length: int, protocol: int = _ETHERNET, stripped: int = 0) -> bytes:
    """An encoded sampled_header record."""
    return _words(1) + opaque(_words(protocol, frame_length, stripped) + opaque(header))


def _sample(sample: Sample) -> bytes:
    if isinstance(sample, BadSample):
        raise ValueError(f"sample {sample.index} was not decoded: {sample.reason}")  # noqa: TRY004 - a value it is
    if isinstance(sample, UnknownSample):
        return _words(tag_number(sample.tag), sample.length) + padded(bytes(sample.length))
    tag = tag_number(sample.tag)
    if isinstance(sample, CountersSample):
        head = _words(sample.sequence)
        head += _source(sample.source_class, sample.source_index, expanded=tag == _COUNTERS_EXPANDED)
        return _framed(tag, head, [encode_counter(record) for record in sample.records])
    return _framed(tag, _flow_head(tag, sample), [encode_flow(record) for record in sample.records])


def _flow_head(tag: int, sample: FlowSample) -> bytes:
    source = _source(sample.source_class, sample.source_index, expanded=tag != _FLOW)
    if tag == _DISCARD:
        return _words(sample.sequence) + source + _words(sample.drops, sample.input, sample.output, sample.reason or 0)
    amounts = _words(sample.sampling_rate, sample.sample_pool, sample.drops)
    if tag == _FLOW_EXPANDED:
        ports = _words(sample.input_format, sample.input, sample.output_format, sample.output)
    else:
        ports = _interface(sample.input_format, sample.input) + _interface(sample.output_format, sample.output)
    return _words(sample.sequence) + source + amounts + ports


def _words(*values: int) -> bytes:
    if any(not 0 <= value < 1 << 32 for value in values):
        raise ValueError(f"not all of {values} fit in 32 bits")
    return pack(f">{len(values)}I", *values)


def _source(source_class: int, source_index: int, *, expanded: bool) -> bytes:
    """The data source: two words when expanded, else eight bits of class and 24 of index."""
    if expanded:
        return _words(source_class, source_index)
    if source_class >= 1 << 8 or source_index >= 1 << 24:
        raise ValueError(f"data source {source_class}:{source_index} needs an expanded sample")
    return _words(source_class << 24 | source_index)


def _interface(form: int, value: int) -> bytes:
    """Two bits of format, thirty of value."""
    if form >= 1 << 2 or value >= 1 << 30:
        raise ValueError(f"interface {form}:{value} needs an expanded sample")
    return _words(form << 30 | value)


def _framed(tag: int, head: bytes, records: Sequence[bytes]) -> bytes:
    body = head + _words(len(records)) + b"".join(records)
    return _words(tag) + opaque(body)
