# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""How much of each feed the others have too: one sweep over all prefixes in the order of their addresses.

In that order every prefix follows those that contain it, so that a stack of the open ones tells which feeds cover it.
Feeds are bits of an integer; there are few different combinations, which are counted and evaluated at the end. A
million prefixes take some two seconds of processor time, off the hot path; they are ordered in small lots, because a
sort holds every thread for as long as it takes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sentinel.blacklist.formats.parsed import Entry
from sentinel.blacklist.formats.prefixes import pack

# The bits of a key are the first address and the prefix length: wider comes before narrower.
_LENGTH_BITS = 8
# Two keys are in the same lot when they agree in all but so many bits: 65,536 addresses of IPv4, a /48 of IPv6.
_LOT_BITS = {4: _LENGTH_BITS + 16, 6: _LENGTH_BITS + 80}


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
    counts = _combinations(_feeds_by_key(entries_by_feed.values()))
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


def _feeds_by_key(lists: Iterable[Iterable[Entry]]) -> dict[int, dict[int, dict[int, int]]]:
    """Bits of the feeds that list a prefix, by family, lot and key."""
    lots: dict[int, dict[int, dict[int, int]]] = {4: {}, 6: {}}
    for number, entries in enumerate(lists):
        bit = 1 << number
        for entry in entries:
            address, _, length = entry.prefix.partition("/")
            packed = pack(address)
            family = 4 if len(packed) == 4 else 6
            key = int.from_bytes(packed, "big") << _LENGTH_BITS | int(length)
            lot = lots[family].setdefault(key >> _LOT_BITS[family], {})
            lot[key] = lot.get(key, 0) | bit
    return lots


def _combinations(lots: Mapping[int, Mapping[int, Mapping[int, int]]]) -> Counter[tuple[int, int]]:
    """How many prefixes have these feeds themselves, and these with everything that contains them."""
    counts: Counter[tuple[int, int]] = Counter()
    for family, bits in ((4, 32), (6, 128)):
        around: list[tuple[int, int]] = []
        for number in sorted(lots[family]):
            lot = lots[family][number]
            for key in sorted(lot):
                first, host_bits = key >> _LENGTH_BITS, bits - (key & ((1 << _LENGTH_BITS) - 1))
                while around and around[-1][0] < first:
                    around.pop()
                own = lot[key]
                covering = own | around[-1][1] if around else own
                counts[own, covering] += 1
                if host_bits:
                    around.append((first | ((1 << host_bits) - 1), covering))
    return counts
