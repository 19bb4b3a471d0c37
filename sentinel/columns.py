# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Tables as columns: the one form in which the scan hands over what it counted.

A table is one run of octets, so it is written to a file, a pipe or another process as it is, and read there with the
same schema. Each column is contiguous in it and reached through the buffer protocol: numpy and Arrow look at it in
place, and no row becomes an object.

The columns stand one behind the other in the order of the schema, which has the widest first: each begins at a multiple
of its own width without any padding.
"""

from dataclasses import dataclass
from functools import cached_property
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from struct import calcsize
from typing import Final, Protocol

MAPPED: Final = bytes(10) + b"\xff\xff"
"""The first octets of ::ffff:0:0/96, which stands for IPv4 in a column of addresses."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``format`` is a native one of ``struct``: a letter for a number, or ``16s`` for 16 octets each."""

    name: str
    format: str
    unit: str = ""

    @property
    def width(self) -> int:
        """Octets of one value."""
        return calcsize(f"={self.format}")


@dataclass(frozen=True)
class Schema:
    """The columns of one kind of table, the widest first."""

    name: str
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        widths = [column.width for column in self.columns]
        if widths != sorted(widths, reverse=True):
            raise ValueError(f"{self.name}: the widest columns come first, got widths {widths}")

    @cached_property
    def row_bytes(self) -> int:
        """Octets of one row in all columns."""
        return sum(column.width for column in self.columns)

    @cached_property
    def places(self) -> dict[str, tuple[Column, int]]:
        """Each column by its name, with the octets of one row in the columns before it."""
        found, before = {}, 0
        for column in self.columns:
            found[column.name] = column, before
            before += column.width
        return found


@dataclass(frozen=True, slots=True)
class Table:
    """``rows`` rows in ``octets``, column behind column in the order of ``schema``, in this machine's octet order."""

    schema: Schema
    rows: int
    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != self.rows * self.schema.row_bytes:
            wanted = f"{self.rows} rows of {self.schema.row_bytes} octets"
            raise ValueError(f"{self.schema.name}: {len(self.octets)} octets, expected {wanted}")

    def column(self, name: str) -> memoryview:
        """The values of one column, without a copy; of one of octets the octets of all rows, row behind row."""
        column, before = self.schema.places[name]
        begin = self.rows * before
        part = memoryview(self.octets)[begin : begin + self.rows * column.width]
        return part if column.format.endswith("s") else part.cast(column.format)  # type: ignore[call-overload]  # any of struct's


class Finished(Protocol):
    """Rows that a scan gave away whole, in its own form, with none added any more.

    To give them away costs the same for any number of rows. ``table`` arranges them as columns, in the thread of the
    caller and, where the scan is compiled, without the GIL; each call makes another table.
    """

    def __len__(self) -> int: ...
    def table(self) -> Table: ...


def address_octets(text: str) -> tuple[bytes, int]:
    """An address as a column has it, and its family (4 or 6), since ::ffff:a.b.c.d may be either."""
    return (inet_pton(AF_INET6, text), 6) if ":" in text else (MAPPED + inet_pton(AF_INET, text), 4)


def address_text(octets: bytes, family: int) -> str:
    """The address whose 16 octets stand in a column."""
    return inet_ntop(AF_INET6, octets) if family == 6 else inet_ntop(AF_INET, octets[12:])
