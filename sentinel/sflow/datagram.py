# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One sFlow v5 datagram, octets to samples (sflow.org/sflow_version_5.txt).

What the datagram says about itself is believed only as far as the octets carry it. Samples and records are skipped by
their length, so one that cannot be decoded costs only itself: a bad sample becomes a ``BadSample``, an unknown one an
``UnknownSample``, a bad record body an ``error`` among its fields. Only what isn't an sFlow v5 datagram at all raises.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct

from sentinel.errors import DecodeError
from sentinel.limits import MAX_DATAGRAM_BYTES
from sentinel.model import CountersSample, FlowSample, Packet, Record
from sentinel.sflow import header, records
from sentinel.sflow.cursor import Cursor
from sentinel.sflow.sampled import packet_from_records

_VERSION = 5
_FLOW, _COUNTERS, _FLOW_EXPANDED, _COUNTERS_EXPANDED, _DISCARD = 1, 2, 3, 4, 5
_SAMPLED_HEADER = 1
# A tag and a length.
_HEAD = Struct(">II")
# The fixed parts of the samples, up to and including the number of records.
_FLOW_HEAD = Struct(">8I")
_FLOW_EXPANDED_HEAD = Struct(">11I")
_COUNTERS_HEAD = Struct(">3I")
_COUNTERS_EXPANDED_HEAD = Struct(">4I")
_DISCARD_HEAD = Struct(">8I")
_SAMPLED_HEADER_HEAD = Struct(">4I")
# source_id: eight bits of class; interface: two bits of format, thirty of value.
_INDEX_BITS, _VALUE_BITS = 24, 30
_INDEX_MASK, _VALUE_MASK = (1 << _INDEX_BITS) - 1, (1 << _VALUE_BITS) - 1


@dataclass(frozen=True, slots=True)
class BadSample:
    """A sample that could not be decoded; ``offset`` counts from the datagram's start, ``tag`` is empty if unread."""

    index: int
    tag: str
    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class UnknownSample:
    """A sample of a format that isn't sFlow's own, passed over; ``length`` is that of its body in octets.

    ``offset`` counts from the datagram's start; it is no part of what makes two of them equal.
    """

    index: int
    tag: str
    length: int
    offset: int = field(default=0, compare=False)


Sample = FlowSample | CountersSample | BadSample | UnknownSample


@dataclass(frozen=True, slots=True)
class Datagram:
    """The header of a datagram and its samples in order; ``trailing`` octets lie behind the samples it announces."""

    agent: str
    sub_agent: int
    sequence: int
    uptime_ms: int
    samples: tuple[Sample, ...]
    trailing: int = 0


def decode(payload: bytes, *, bodies: bool = True) -> Datagram:
    """The datagram in one UDP payload.

    Raises ``DecodeError`` where its header isn't that of sFlow v5. With ``bodies`` false, records have tag and name but
    no fields; the packets of flow samples are decoded all the same, at a fraction of the cost.
    """
    if len(payload) > MAX_DATAGRAM_BYTES:
        raise DecodeError("too_long", f"datagram of {len(payload)} octets, at most {MAX_DATAGRAM_BYTES} fit in UDP", 0)
    cursor = Cursor(payload)
    version = cursor.u32()
    if version != _VERSION:
        raise DecodeError("version", f"version {version}, expected {_VERSION}", 0)
    agent = cursor.address()
    if agent is None:
        raise DecodeError("agent_address", "agent address of unknown type, expected 1 (IPv4) or 2 (IPv6)", 4)
    sub_agent, sequence, uptime_ms, announced = cursor.u32(), cursor.u32(), cursor.u32(), cursor.u32()
    samples = _samples(cursor, announced, bodies=bodies)
    return Datagram(agent, sub_agent, sequence, uptime_ms, samples, cursor.left)


def one_sample(payload: bytes, index: int, tag: int, at: int, size: int) -> Sample:
    """The sample of format ``tag`` whose body of ``size`` octets begins at ``at``: for who has walked there himself."""
    return _sample(index, tag, size, Cursor(payload, at, at + size), bodies=True)


def _samples(cursor: Cursor, announced: int, *, bodies: bool) -> tuple[Sample, ...]:
    found: list[Sample] = []
    for index in range(announced):
        start, left = cursor.at, cursor.left
        if left < _HEAD.size:
            cursor.at = cursor.end
            found.append(
                BadSample(index, "", start, f"{announced} samples announced, {left} octets left after {index}")
            )
            break
        tag, size = _HEAD.unpack_from(cursor.data, start)
        cursor.at += _HEAD.size
        if size > cursor.left:
            reason = f"sample length {size} past the end of the datagram, {cursor.left} octets left"
            found.append(BadSample(index, records.tag_text(tag), start, reason))
            cursor.at = cursor.end
            break
        body_end = cursor.at + size
        body = Cursor(cursor.data, cursor.at, body_end)
        found.append(_sample(index, tag, size, body, bodies=bodies))
        cursor.at = _behind(cursor, body_end, _known_sample)
    return tuple(found)


def _behind(cursor: Cursor, plain: int, known: Callable[[int], bool]) -> int:
    """Where the next sample or record begins when the one before ends at ``plain``.

    Lengths are multiples of four. Where one isn't, XDR has padding behind it, which some agents leave out: then what
    follows begins where a known format and a length that fits stand.
    """
    padded = min(plain + (cursor.at - plain & 3), cursor.end)
    if padded in (plain, cursor.end) or _begins(cursor, padded, known):
        return padded
    return plain if _begins(cursor, plain, known) else padded


def _begins(cursor: Cursor, at: int, known: Callable[[int], bool]) -> bool:
    if cursor.end - at < _HEAD.size:
        return False
    tag, size = _HEAD.unpack_from(cursor.data, at)
    return known(tag) and size <= cursor.end - at - _HEAD.size


def _known_sample(tag: int) -> bool:
    return _FLOW <= tag <= _DISCARD


def _sample(index: int, tag: int, size: int, body: Cursor, *, bodies: bool) -> Sample:
    try:
        if tag in {_FLOW, _FLOW_EXPANDED, _DISCARD}:
            return _flow_sample(index, tag, body, bodies=bodies)
        if tag in {_COUNTERS, _COUNTERS_EXPANDED}:
            return _counters_sample(index, tag, body, bodies=bodies)
    except DecodeError as error:
        return BadSample(index, records.tag_text(tag), error.offset, error.reason)
    return UnknownSample(index, records.tag_text(tag), size, body.at - _HEAD.size)


def _flow_sample(index: int, tag: int, body: Cursor, *, bodies: bool) -> FlowSample:
    reason: int | None = None
    input_format = output_format = 0
    rate, pool = 1, 0
    if tag == _FLOW:
        sequence, source, rate, pool, drops, input_, output, announced = _fixed(_FLOW_HEAD, body)
        source_class, source_index = source >> _INDEX_BITS, source & _INDEX_MASK
        input_format, input_ = input_ >> _VALUE_BITS, input_ & _VALUE_MASK
        output_format, output = output >> _VALUE_BITS, output & _VALUE_MASK
    elif tag == _FLOW_EXPANDED:
        sequence, source_class, source_index, rate, pool, drops, *ports, announced = _fixed(_FLOW_EXPANDED_HEAD, body)
        input_format, input_, output_format, output = ports
    else:
        sequence, source_class, source_index, drops, input_, output, reason, announced = _fixed(_DISCARD_HEAD, body)
    found, packet, frame_length = _flow_records(body, announced, bodies=bodies)
    return FlowSample(
        kind="discard" if tag == _DISCARD else "flow",
        tag=records.tag_text(tag),
        index=index,
        sequence=sequence,
        source_class=source_class,
        source_index=source_index,
        sampling_rate=rate,
        sample_pool=pool,
        drops=drops,
        input=input_,
        input_format=input_format,
        output=output,
        output_format=output_format,
        reason=reason,
        records=found,
        packet=packet,
        frame_length=frame_length,
    )


def _counters_sample(index: int, tag: int, body: Cursor, *, bodies: bool) -> CountersSample:
    if tag == _COUNTERS:
        sequence, source, announced = _fixed(_COUNTERS_HEAD, body)
        source_class, source_index = source >> _INDEX_BITS, source & _INDEX_MASK
    else:
        sequence, source_class, source_index, announced = _fixed(_COUNTERS_EXPANDED_HEAD, body)
    found: list[Record] = []
    for _ in range(announced):
        kind, record = _record(body, announced, len(found), records.known_counter)
        found.append(records.counter_record(kind, record) if bodies else records.named(kind, flow=False))
    return CountersSample(records.tag_text(tag), index, sequence, source_class, source_index, tuple(found))


def _fixed(head: Struct, body: Cursor) -> tuple[int, ...]:
    body.need(head.size)
    values = head.unpack_from(body.data, body.at)
    body.at += head.size
    return values


def _record(body: Cursor, announced: int, done: int, known: Callable[[int], bool]) -> tuple[int, Cursor]:
    """The format of the next record and a cursor over its body; ``body`` goes behind it."""
    start, left = body.at, body.left
    if left < _HEAD.size:
        raise DecodeError("truncated", f"{announced} records announced, {left} octets left after {done}", start)
    kind, size = _HEAD.unpack_from(body.data, start)
    begin = start + _HEAD.size
    if size > body.end - begin:
        raise DecodeError(
            "truncated",
            f"record {records.tag_text(kind)} of {size} octets past the end of its sample, {body.end - begin} left",
            start,
        )
    body.at = begin
    body.at = _behind(body, begin + size, known)
    return kind, Cursor(body.data, begin, begin + size)


def _flow_records(body: Cursor, announced: int, *, bodies: bool) -> tuple[tuple[Record, ...], Packet | None, int]:
    """The records, the packet they tell of, and the length of its frame on the wire in octets."""
    found: list[Record] = []
    packet: Packet | None = None
    frame_length = 0
    substitutes: list[Record] = []
    for _ in range(announced):
        kind, record = _record(body, announced, len(found), records.known_flow)
        if kind == _SAMPLED_HEADER and packet is None:
            packet, frame_length = _sampled_header(record)
        if bodies or 2 <= kind <= 4:
            decoded = records.flow_record(kind, record)
            if 2 <= kind <= 4:
                substitutes.append(decoded)
            found.append(decoded if bodies else records.named(kind, flow=True))
        else:
            found.append(records.named(kind, flow=True))
    if packet is None and substitutes:
        packet, length = packet_from_records(substitutes)
        frame_length = frame_length or length
    return tuple(found), packet, frame_length


def _sampled_header(record: Cursor) -> tuple[Packet | None, int]:
    """The packet of a sampled_header record, decoded as far as the octets are there; its frame's length on the wire."""
    if record.left < _SAMPLED_HEADER_HEAD.size:
        return None, 0
    protocol, frame_length, _, size = _SAMPLED_HEADER_HEAD.unpack_from(record.data, record.at)
    begin = record.at + _SAMPLED_HEADER_HEAD.size
    return header.decode(record.data[begin : min(begin + size, record.end)], protocol), frame_length
