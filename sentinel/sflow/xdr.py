# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The types records are made of: each reads itself from a cursor and writes itself back.

Values are as they appear in JSON: numbers, text, lists, dicts. Addresses and MACs are text, octets hexadecimal text.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from struct import pack
from typing import Any
from uuid import UUID

from sentinel.sflow.cursor import Cursor


@dataclass(frozen=True, slots=True)
class Kind:
    """One XDR type. ``least`` is the least number of octets a value takes; ``read`` raises ``DecodeError``.

    ``element`` is what an array consists of, ``fields`` what a struct does.
    """

    name: str
    least: int
    read: Callable[[Cursor], Any]
    write: Callable[[Any], bytes]
    element: "Kind | None" = None
    fields: "Fields" = ()


Fields = tuple[tuple[str, Kind], ...]


def padded(data: bytes) -> bytes:
    """Octets with the zeros that make them a multiple of four."""
    return data + bytes(-len(data) & 3)


def opaque(data: bytes) -> bytes:
    """opaque<>: length, octets, padding."""
    return pack(">I", len(data)) + padded(data)


def address(text: str | None) -> bytes:
    """union address; ``None`` is the unknown one."""
    if text is None:
        return pack(">I", 0)
    packed = ip_address(text).packed
    return pack(">I", 1 if len(packed) == 4 else 2) + packed


def _read_float(cursor: Cursor) -> float | None:
    value = cursor.f32()
    return value if math.isfinite(value) else None


def _write_float(value: float | None) -> bytes:
    return pack(">f", math.nan if value is None else value)


def _text(data: bytes) -> str:
    """UTF-8; what isn't shows as backslash escapes rather than being lost."""
    return data.decode("utf-8", "backslashreplace")


def _octets(size: int) -> Kind:
    return Kind(f"opaque[{size}]", size, lambda c: c.fixed(size).hex(), lambda v: padded(bytes.fromhex(v)))


def array(element: Kind) -> Kind:
    """element<>: a count, then the elements."""

    def read(cursor: Cursor) -> list[Any]:
        return [element.read(cursor) for _ in range(cursor.count(element.least))]

    def write(values: Sequence[Any]) -> bytes:
        return pack(">I", len(values)) + b"".join(element.write(value) for value in values)

    return Kind(f"{element.name}<>", 4, read, write, element)


def struct(*fields: tuple[str, Kind]) -> Kind:
    """The fields one behind the other, as a dict."""

    def read(cursor: Cursor) -> dict[str, Any]:
        return {name: kind.read(cursor) for name, kind in fields}

    def write(values: Mapping[str, Any]) -> bytes:
        return b"".join(kind.write(values.get(name)) for name, kind in fields)

    return Kind("struct", sum(kind.least for _, kind in fields), read, write, fields=fields)


U32 = Kind("unsigned int", 4, Cursor.u32, lambda v: pack(">I", v))
I32 = Kind("int", 4, lambda c: (c.u32() ^ 0x80000000) - 0x80000000, lambda v: pack(">i", v))
U64 = Kind("unsigned hyper", 8, Cursor.u64, lambda v: pack(">Q", v))
# JSON has no NaN and no infinity: where an agent sends one, the field is left out.
F32 = Kind("float", 4, _read_float, _write_float)
STRING = Kind("string<>", 4, lambda c: _text(c.opaque()), lambda v: opaque(v.encode()))
OPAQUE = Kind("opaque<>", 4, lambda c: c.opaque().hex(), lambda v: opaque(bytes.fromhex(v)))
# opaque[6] is padded to eight like all of XDR.
MAC = Kind("mac", 6, lambda c: c.fixed(6).hex(":"), lambda v: padded(bytes.fromhex(v.replace(":", ""))))
UUID16 = Kind("uuid", 16, lambda c: str(UUID(bytes=c.take(16))), lambda v: UUID(v).bytes)
IPV4 = Kind("ip_v4", 4, lambda c: inet_ntop(AF_INET, c.take(4)), lambda v: inet_pton(AF_INET, v))
IPV6 = Kind("ip_v6", 16, lambda c: inet_ntop(AF_INET6, c.take(16)), lambda v: inet_pton(AF_INET6, v))
ADDRESS = Kind("address", 4, Cursor.address, address)
OCTETS4 = _octets(4)
OCTETS16 = _octets(16)
