# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""How much of each feed the others have too: one sweep over all prefixes in the order of their addresses.

In that order every prefix follows those that contain it, so that a stack of the open ones tells which feeds cover it.
Feeds are bits of an integer; there are few different combinations, which are counted and evaluated at the end. A
million prefixes take some two seconds of processor time, off the hot path.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sentinel.blacklist.formats.parsed import Entry
from sentinel.blacklist.formats.prefixes import bounds

_V6_ABOVE = 1 << 32


@dataclass(frozen=True, slots=True)
class Overlap:
    """Of a feed's ``prefixes`` (each counted once) ``unique`` lie in no other feed.

    ``shared`` counts, by other feed, those that it lists too, as they are or inside a wider prefix.
    """

    prefixes: int = 0
    unique: int = 0
    shared: Mapping[str, int] = field(default_factory=dict)

    @property
    def unique_share(self) -> float | None:
        """``unique`` of ``prefixes``, 0 to 1; ``None`` for an empty feed."""
        return self.unique / self.prefixes if self.prefixes else None


def overlaps(entries_by_feed: Mapping[str, Iterable[Entry]]) -> dict[str, Overlap]:
    """The overlap of every feed with the others."""
    names = list(entries_by_feed)
    counts = _combinations(_feeds_by_range(entries_by_feed.values()))
    found = {}
    for number, name in enumerate(names):
        mine = [(covering, count) for (own, covering), count in counts.items() if own >> number & 1]
        shared = {
            other: sum(count for covering, count in mine if covering >> bit & 1)
            for bit, other in enumerate(names)
            if bit != number
        }
        found[name] = Overlap(
            prefixes=sum(count for _, count in mine),
            unique=sum(count for covering, count in mine if covering == 1 << number),
            shared={other: count for other, count in shared.items() if count},
        )
    return found


def _feeds_by_range(lists: Iterable[Iterable[Entry]]) -> dict[tuple[int, int], int]:
    """Bits of the feeds that list a range of addresses; IPv6 stands above all of IPv4."""
    ranges: dict[tuple[int, int], int] = {}
    for number, entries in enumerate(lists):
        bit = 1 << number
        for entry in entries:
            family, first, last = bounds(entry.prefix)
            # The last address negated: of two ranges with one beginning the wider comes first.
            key = (first, -last) if family == 4 else (first + _V6_ABOVE, -last - _V6_ABOVE)
            ranges[key] = ranges.get(key, 0) | bit
    return ranges


def _combinations(ranges: Mapping[tuple[int, int], int]) -> Counter[tuple[int, int]]:
    """How many ranges have these feeds themselves, and these with everything that contains them."""
    counts: Counter[tuple[int, int]] = Counter()
    around: list[tuple[int, int]] = []
    for key in sorted(ranges):
        first, last = key[0], -key[1]
        while around and around[-1][0] < first:
            around.pop()
        own = ranges[key]
        covering = own | around[-1][1] if around else own
        counts[own, covering] += 1
        if first != last:
            around.append((last, covering))
    return counts
