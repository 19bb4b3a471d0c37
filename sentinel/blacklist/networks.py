# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A set of networks asked whether a prefix lies inside it or touches it; a bisection per question."""

from bisect import bisect_right
from collections.abc import Iterable

from sentinel.blacklist.formats.prefixes import bounds, canonical_prefix, unpack


class Networks:
    """Disjoint, sorted address ranges per family, made of CIDRs (ValueError where one is none)."""

    def __init__(self, cidrs: Iterable[str]) -> None:
        ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for cidr in cidrs:
            family, first, last = bounds(canonical_prefix(cidr)[0])
            ranges[family].append((first, last))
        self._firsts: dict[int, list[int]] = {}
        self._lasts: dict[int, list[int]] = {}
        for family, pairs in ranges.items():
            merged = _merged(pairs)
            self._firsts[family] = [first for first, _ in merged]
            self._lasts[family] = [last for _, last in merged]

    def united(self, other: "Networks") -> "Networks":
        """The addresses of both sets."""
        both = Networks([])
        for family in (4, 6):
            pairs = [
                *zip(self._firsts[family], self._lasts[family], strict=True),
                *zip(other._firsts[family], other._lasts[family], strict=True),
            ]
            merged = _merged(pairs)
            both._firsts[family] = [first for first, _ in merged]
            both._lasts[family] = [last for _, last in merged]
        return both

    def contain(self, family: int, first: int, last: int) -> bool:
        """Whether every address of the range is in the set."""
        index = bisect_right(self._firsts[family], first) - 1
        return index >= 0 and self._lasts[family][index] >= last

    def touch(self, family: int, first: int, last: int) -> bool:
        """Whether any address of the range is in the set."""
        index = bisect_right(self._firsts[family], last) - 1
        return index >= 0 and self._lasts[family][index] >= first

    def first_touched(self, family: int, first: int, last: int) -> str:
        """The lowest address of the set that lies in the range, as text; empty when there is none."""
        if not self.touch(family, first, last):
            return ""
        index = bisect_right(self._firsts[family], first) - 1
        if index < 0 or self._lasts[family][index] < first:
            first = self._firsts[family][index + 1]
        return unpack(first.to_bytes(4 if family == 4 else 16, "big"))


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged
