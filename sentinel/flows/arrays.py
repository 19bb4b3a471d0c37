# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Columns of flows as arrays of numpy, which works on them without the GIL: values, sums that stop, groups.

Amounts reach ``MAX_FIGURE``, so that two of them no longer fit a sum of 64 bits. They are therefore summed as halves of
32 bits, of which 2^32 rows fit.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinel.columns import Table, address_octets, address_text
from sentinel.flowmodel import FLOW_ABSENT, FLOWS, FlowKey, FlowSums
from sentinel.limits import MAX_FIGURE

Numbers = npt.NDArray[np.uint64]
Places = npt.NDArray[np.intp]
Marks = npt.NDArray[np.bool_]
Figures = npt.NDArray[np.int64]
Column = npt.NDArray[Any]

NO_FLOWS = Table(FLOWS, 0, b"")
ABSENT = -1
ADDRESSES: dict[str, str] = {"agent": "agent_family", "src_ip": "family", "dst_ip": "family"}
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_TYPES = {"16s": "V16", "Q": "u8", "d": "f8", "I": "u4", "B": "u1"}


def values(table: Table, name: str) -> Column:
    """One column in place; addresses as 16 octets each."""
    return np.frombuffer(table.column(name), _TYPES[table.schema.places[name][0].format])


def picked(tables: Sequence[Table], places: Places) -> Table:
    """The rows at these places of all tables one behind the other."""
    columns = (np.concatenate([values(each, column.name) for each in tables])[places] for column in FLOWS.columns)
    return Table(FLOWS, len(places), b"".join(column.tobytes() for column in columns))


def total(amounts: Numbers) -> int:
    """Their sum, at most ``MAX_FIGURE``."""
    return min((int((amounts >> _HALF).sum()) << 32) + int((amounts & _LOW).sum()), MAX_FIGURE)


def sums_at(tables: Sequence[Table], places: Places) -> FlowSums:
    """What the rows at these places of all tables one behind the other add up to."""
    names = ("packets", "bytes", "samples")
    columns = (np.concatenate([values(each, name) for each in tables])[places] for name in names)
    return FlowSums(*(total(column.astype(np.uint64)) for column in columns))


class Flows:
    """The flows of several tables, or those of them that are ``marked``, as one; columns are made when first needed."""

    def __init__(self, tables: Sequence[Table], marked: Marks | None = None) -> None:
        self._tables = tables or [NO_FLOWS]
        self._marked = marked
        self._made: dict[str, Column] = {}

    def marked(self, marks: Marks) -> "Flows":
        """Those that are marked."""
        return Flows(self._tables, marks)

    @cached_property
    def table_of(self) -> Places:
        """The number of each row's table."""
        numbers = np.repeat(np.arange(len(self._tables)), [table.rows for table in self._tables])
        return numbers if self._marked is None else numbers[self._marked]

    def __len__(self) -> int:
        return len(self.table_of)

    def column(self, name: str) -> Column:
        """The values of one column."""
        made = self._made.get(name)
        if made is None:
            made = np.concatenate([values(table, name) for table in self._tables])
            made = self._made[name] = made if self._marked is None else made[self._marked]
        return made

    def amounts(self, name: str) -> Numbers:
        """Packets, bytes or samples."""
        return self.column(name).astype(np.uint64, copy=False)

    def numbers(self, key: FlowKey) -> Figures:
        """The values of a key that is no address, ``ABSENT`` where there is none."""
        found = self.column(key).astype(np.int64)
        if key in FLOW_ABSENT:
            found[(self.column("absent") & FLOW_ABSENT[key]) != 0] = ABSENT
        return found

    def halves(self, key: str) -> tuple[Numbers, Numbers]:
        """The first and last 8 octets of addresses, as numbers that are in the same order."""
        both = self.column(key).view(">u8").reshape(-1, 2).astype(np.uint64)
        return both[:, 0], both[:, 1]

    def are(self, key: FlowKey, address: str) -> Marks:
        """Where a key is this address."""
        octets, family = address_octets(address)
        high, low = self.halves(key)
        same = (high == int.from_bytes(octets[:8])) & (low == int.from_bytes(octets[8:]))
        is_same: Marks = same & (self.column(ADDRESSES[key]) == family)
        return is_same

    def columns_of(self, keys: Sequence[FlowKey]) -> list[Column]:
        """What two flows of equal keys have equal."""
        found: list[Column] = []
        for key in keys:
            found += [*self.halves(key), self.column(ADDRESSES[key])] if key in ADDRESSES else [self.numbers(key)]
        return found

    def value(self, key: FlowKey, place: int) -> str | int | None:
        """The value of a key in one row."""
        if key in ADDRESSES:
            return address_text(self.column(key)[place].tobytes(), int(self.column(ADDRESSES[key])[place]))
        if key in FLOW_ABSENT and self.column("absent")[place] & FLOW_ABSENT[key]:
            return None
        return int(self.column(key)[place])


class Groups:
    """Rows that are equal in ``columns``, and in each group the parts that are equal ``within`` too.

    ``order`` has the rows group behind group; ``begins`` are the places in it where a group begins, ``parts`` where a
    part does.
    """

    def __init__(self, columns: Sequence[Column], within: Sequence[Column]) -> None:
        # What is the same in every row sorts nothing; the last key of a sort is its first.
        keys = [each for each in (*columns, *within) if len(each) and (each != each[0]).any()]
        rows = len(columns[0])
        self.order: Places = np.lexsort(keys[::-1]) if keys else np.arange(rows)
        group = self._edges(columns)
        self.begins: Places = np.flatnonzero(group)
        self.parts: Places = np.flatnonzero(group | self._edges(within))
        self._group = group

    def __len__(self) -> int:
        return len(self.begins)

    def _edges(self, columns: Sequence[Column]) -> Marks:
        """Where a value differs from the one before."""
        edges = np.zeros(len(self.order), np.bool_)
        edges[:1] = True
        for column in columns:
            ordered = column[self.order]
            edges[1:] |= ordered[1:] != ordered[:-1]
        return edges

    @cached_property
    def of_parts(self) -> Places:
        """The number of each part's group."""
        return np.cumsum(self._group)[self.parts] - 1

    def of_rows(self, found: Column, begins: Places) -> Column:
        """What is known of each group or part, for each row."""
        spread = np.empty(len(self.order), found.dtype)
        spread[self.order] = np.repeat(found, np.diff(begins, append=len(self.order)))
        return spread

    def sums(self, amounts: Numbers, begins: Places) -> Figures:
        """Of each group or part the sum, at most ``MAX_FIGURE``."""
        if not len(begins):
            return np.zeros(0, np.int64)
        ordered = amounts[self.order]
        return _figures(np.add.reduceat(ordered >> _HALF, begins), np.add.reduceat(ordered & _LOW, begins))


def binned(bins: Places, amounts: Numbers, count: int) -> Figures:
    """The sums of ``count`` bins, each at most ``MAX_FIGURE``; exact for up to 2^21 rows, as doubles have 53 bits."""
    high, low = (np.bincount(bins, half, count).astype(np.uint64) for half in (amounts >> _HALF, amounts & _LOW))
    return _figures(high, low)


def _figures(high: Numbers, low: Numbers) -> Figures:
    high = high + (low >> _HALF)
    found = ((high << _HALF) | (low & _LOW)).view(np.int64)
    found[high >= np.uint64(1 << 31)] = MAX_FIGURE
    return found
