# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One flow or counter record, body to fields and back, by the layouts of ``flow_records`` and ``counter_records``.

A body may be shorter than its layout (an older agent: the rest is absent) or longer (a newer one: the rest is passed
over). Where a body ends or lies inside a field, the fields before it stand and ``error`` says what was wrong: one bad
record takes neither its sample's other records nor its addresses along.
"""

from collections.abc import Mapping
from struct import Struct
from typing import Any

from sentinel.errors import DecodeError
from sentinel.model import Record
from sentinel.sflow.counter_records import COUNTER_RECORDS
from sentinel.sflow.cursor import Cursor
from sentinel.sflow.flow_records import FLOW_RECORDS
from sentinel.sflow.xdr import I32, U32, U64, Fields, Kind, array, opaque, struct

_CODES = {U32.name: "I", I32.name: "i", U64.name: "Q"}
# Twelve bits of format below twenty of enterprise.
_FORMAT_BITS = 12


class Layout:
    """The named fields of one record, in order."""

    __slots__ = ("_all", "fields", "name", "names", "text")

    def __init__(self, enterprise: int, number: int, name: str, fields: Fields) -> None:
        self.text = f"{enterprise}:{number}"
        self.name = name
        self.fields = fields
        self.names = tuple(field for field, _ in fields)
        codes = [_CODES.get(kind.name) for _, kind in fields]
        # Most counters are plain numbers: one unpack instead of a call per field.
        self._all = Struct(">" + "".join(code for code in codes if code)) if codes and None not in codes else None

    def read(self, cursor: Cursor) -> dict[str, Any]:
        """The fields of the body that ``cursor`` covers."""
        if self._all is not None and cursor.left >= self._all.size:
            return dict(zip(self.names, self._all.unpack_from(cursor.data, cursor.at), strict=True))
        values: dict[str, Any] = {}
        for name, kind in self.fields:
            if cursor.at >= cursor.end:
                break
            try:
                value = kind.read(cursor)
            except DecodeError as error:
                values["error"] = f"{name}: {error}"
                break
            if value is not None:
                values[name] = value
        return values

    def write(self, values: Mapping[str, Any]) -> bytes:
        """The body; fields behind the last one given are left off, as an older agent does."""
        present = [number for number, name in enumerate(self.names) if values.get(name) is not None]
        last = present[-1] + 1 if present else 0
        return b"".join(kind.write(values.get(name)) for name, kind in self.fields[:last])


def tag_text(tag: int) -> str:
    """``enterprise:format`` of a 32-bit data format."""
    return f"{tag >> _FORMAT_BITS}:{tag & 0xFFF}"


def tag_number(text: str) -> int:
    """The 32-bit data format of ``enterprise:format``."""
    enterprise, _, number = text.partition(":")
    return int(enterprise) << _FORMAT_BITS | int(number)


def _layouts(table: Mapping[tuple[int, int], tuple[str, Fields]]) -> dict[int, Layout]:
    return {
        enterprise << _FORMAT_BITS | number: Layout(enterprise, number, name, fields)
        for (enterprise, number), (name, fields) in table.items()
    }


_FLOW = _layouts(FLOW_RECORDS)
_COUNTER = _layouts(COUNTER_RECORDS)


def _read_nested(cursor: Cursor) -> dict[str, Any]:
    tag = cursor.u32()
    size = cursor.u32()
    cursor.need(size)
    body = Cursor(cursor.data, cursor.at, cursor.at + size)
    cursor.at += size
    cursor.pad(size)
    record = _decode(_PLAIN_FLOW, tag, body)
    return {"tag": record.tag, "name": record.name, **record.fields}


def _write_nested(value: Mapping[str, Any]) -> bytes:
    return encode(_PLAIN_FLOW, value["tag"], value)


# extended_80211_aggregation carries flow records; an aggregation inside an aggregation is passed over, so that the
# depth is two whatever a datagram says.
_PLAIN_FLOW = dict(_FLOW)
_NESTED = Kind("flow_record", 8, _read_nested, _write_nested)
_FLOW[1016] = Layout(
    0, 1016, "extended_80211_aggregation", (("pdus", array(struct(("flow_records", array(_NESTED))))),)
)


def _decode(layouts: Mapping[int, Layout], tag: int, body: Cursor) -> Record:
    layout = layouts.get(tag)
    if layout is None:
        return Record(tag_text(tag), "unknown")
    return Record(layout.text, layout.name, layout.read(body))


def flow_record(tag: int, body: Cursor) -> Record:
    """The flow record of data format ``tag`` whose body ``body`` covers; an unknown one has no fields."""
    return _decode(_FLOW, tag, body)


def counter_record(tag: int, body: Cursor) -> Record:
    """The counter record of data format ``tag`` whose body ``body`` covers; an unknown one has no fields."""
    return _decode(_COUNTER, tag, body)


def known_flow(tag: int) -> bool:
    """Whether the flow record's layout is known."""
    return tag in _FLOW


def known_counter(tag: int) -> bool:
    """Whether the counter record's layout is known."""
    return tag in _COUNTER


def named(tag: int, *, flow: bool) -> Record:
    """The record of data format ``tag`` by name only, its body unread."""
    layout = (_FLOW if flow else _COUNTER).get(tag)
    return Record(tag_text(tag), "unknown") if layout is None else Record(layout.text, layout.name)


def encode(layouts: Mapping[int, Layout], tag: str, values: Mapping[str, Any]) -> bytes:
    """Tag, length and body of one record; ``ValueError`` for one that was not decoded whole."""
    if "error" in values:
        raise ValueError(f"record {tag} was not decoded whole: {values['error']}")
    number = tag_number(tag)
    layout = layouts.get(number)
    return number.to_bytes(4) + opaque(layout.write(values) if layout else b"")


def encode_flow(record: Record) -> bytes:
    """Tag, length and body of a flow record; of an unknown one an empty body."""
    return encode(_FLOW, record.tag, record.fields)


def encode_counter(record: Record) -> bytes:
    """Tag, length and body of a counter record; of an unknown one an empty body."""
    return encode(_COUNTER, record.tag, record.fields)


def layouts(*, flow: bool) -> list[Layout]:
    """The layouts of all known flow records, or of all known counter records."""
    return list((_FLOW if flow else _COUNTER).values())
