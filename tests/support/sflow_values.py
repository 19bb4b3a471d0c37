# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for everything an sFlow datagram can say, made from the record layouts themselves."""

from dataclasses import replace
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any

from hypothesis import strategies as st

from sentinel.model import CountersSample, FlowSample, Packet, Record
from sentinel.sflow import header, records
from sentinel.sflow.datagram import Datagram, UnknownSample
from sentinel.sflow.records import Layout
from sentinel.sflow.sampled import packet_from_records
from sentinel.sflow.xdr import Kind

Values = st.SearchStrategy[Any]

U8, U24, U30, U32 = (st.integers(0, 2**bits - 1) for bits in (8, 24, 30, 32))
FLOW_LAYOUTS = records.layouts(flow=True)
COUNTER_LAYOUTS = records.layouts(flow=False)
PLAIN_FLOW_LAYOUTS = [layout for layout in FLOW_LAYOUTS if layout.text != "0:1016"]


def _ip_text(packed: bytes) -> str:
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


def octets(size: int) -> Values:
    return st.binary(min_size=size, max_size=size)


_IPV4 = octets(4).map(_ip_text)
_IPV6 = octets(16).map(_ip_text)
AGENTS = st.one_of(_IPV4, _IPV6)

_SIMPLE: dict[str, Values] = {
    "unsigned int": U32,
    "int": st.integers(-(2**31), 2**31 - 1),
    "unsigned hyper": st.integers(0, 2**64 - 1),
    "float": st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    "string<>": st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    "opaque<>": st.binary(max_size=80).map(bytes.hex),
    "mac": octets(6).map(lambda data: data.hex(":")),
    "uuid": st.uuids().map(str),
    "ip_v4": _IPV4,
    "ip_v6": _IPV6,
    "address": st.none() | AGENTS,
    "opaque[4]": octets(4).map(bytes.hex),
    "opaque[16]": octets(16).map(bytes.hex),
}


def values(kind: Kind) -> Values:
    """Any value of an XDR type."""
    if kind.element is not None:
        return st.lists(values(kind.element), max_size=3)
    if kind.fields:
        return st.fixed_dictionaries({name: values(field) for name, field in kind.fields})
    if kind.name == "flow_record":
        return st.sampled_from(PLAIN_FLOW_LAYOUTS).flatmap(
            lambda layout: fields(layout).map(lambda found: {"tag": layout.text, "name": layout.name, **found})
        )
    return _SIMPLE[kind.name]


@st.composite
def fields(draw: st.DrawFn, layout: Layout) -> dict[str, Any]:
    """The fields of a record, all of them or, as from an older agent, only the first ones."""
    found = {}
    for name, kind in layout.fields[: draw(st.integers(0, len(layout.fields)) | st.just(len(layout.fields)))]:
        value = draw(values(kind))
        if value is not None:
            found[name] = value
    return found


@st.composite
def known_records(draw: st.DrawFn, layouts: list[Layout]) -> Record:
    layout = draw(st.sampled_from(layouts))
    return Record(layout.text, layout.name, draw(fields(layout)))


def any_records(layouts: list[Layout]) -> Values:
    known = {layout.text for layout in layouts}
    tags = st.tuples(st.integers(0, 2**20 - 1), st.integers(0, 2**12 - 1)).map(lambda each: f"{each[0]}:{each[1]}")
    unknown = tags.filter(lambda tag: tag not in known).map(lambda tag: Record(tag, "unknown"))
    return st.lists(st.one_of(known_records(layouts), known_records(layouts), unknown), max_size=4).map(tuple)


def packet_of(found: tuple[Record, ...]) -> tuple[Packet | None, int]:
    """What the records tell of the packet: the first readable header, else the Ethernet and IP records."""
    packet, length = None, 0
    for record in found:
        if record.name == "sampled_header" and packet is None:
            packet, length = None, 0
            if "header" in record.fields:
                octets_ = bytes.fromhex(str(record.fields["header"]))
                packet = header.decode(octets_, int(str(record.fields["protocol"])))
                length = int(str(record.fields["frame_length"]))
    if packet is None:
        substitutes = [record for record in found if record.tag in {"0:2", "0:3", "0:4"}]
        packet, other = packet_from_records(substitutes)
        length = length or other
    return packet, length


@st.composite
def flow_samples(draw: st.DrawFn) -> FlowSample:
    tag = draw(st.sampled_from(["0:1", "0:3", "0:5"]))
    number = U30 if tag == "0:1" else U32
    form = {"0:1": st.integers(0, 3), "0:3": U32, "0:5": st.just(0)}[tag]
    found = draw(any_records(FLOW_LAYOUTS))
    packet, frame_length = packet_of(found)
    return FlowSample(
        kind="discard" if tag == "0:5" else "flow",
        tag=tag,
        index=0,
        sequence=draw(U32),
        source_class=draw(U8 if tag == "0:1" else U32),
        source_index=draw(U24 if tag == "0:1" else U32),
        sampling_rate=1 if tag == "0:5" else draw(U32),
        sample_pool=0 if tag == "0:5" else draw(U32),
        drops=draw(U32),
        input=draw(number),
        input_format=draw(form),
        output=draw(number),
        output_format=draw(form),
        reason=draw(U32) if tag == "0:5" else None,
        records=found,
        packet=packet,
        frame_length=frame_length,
    )


@st.composite
def counters_samples(draw: st.DrawFn) -> CountersSample:
    tag = draw(st.sampled_from(["0:2", "0:4"]))
    compact = tag == "0:2"
    found = draw(any_records(COUNTER_LAYOUTS))
    return CountersSample(tag, 0, draw(U32), draw(U8 if compact else U32), draw(U24 if compact else U32), found)


_UNKNOWN = st.builds(
    UnknownSample,
    st.just(0),
    st.integers(1, 2**20 - 1).map(lambda enterprise: f"{enterprise}:1"),
    st.integers(0, 50),
)


@st.composite
def datagrams(draw: st.DrawFn) -> Datagram:
    """Any datagram that octets can stand for."""
    found = draw(st.lists(st.one_of(flow_samples(), counters_samples(), _UNKNOWN), max_size=4))
    samples = tuple(replace(sample, index=index) for index, sample in enumerate(found))
    return Datagram(draw(AGENTS), draw(U32), draw(U32), draw(U32), samples, draw(st.integers(0, 12)))
