# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What a refresh of one feed brought, took away and changed; and since when each prefix is on it."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sentinel.blacklist.formats.parsed import Entry
from sentinel.blacklist.unpack import unpacked
from sentinel.errors import FeedError
from sentinel.limits import MAX_FEED_SINCE_BYTES
from sentinel.model import Indicator


@dataclass(frozen=True, slots=True)
class Difference:
    """The indicators of a feed's prefixes that are new, gone, or listed otherwise than before.

    ``changed`` are indicators as they are now, of prefixes that were listed before with another group, validity or
    confidence. Every prefix is in one of the three at most.
    """

    added: tuple[Indicator, ...] = ()
    removed: tuple[Indicator, ...] = ()
    changed: tuple[Indicator, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def difference(feed: str, before: Sequence[Entry], after: Sequence[Entry]) -> Difference:
    """From ``before`` to ``after``, in the order of the lists."""
    old, new = _Listings(before), _Listings(after)
    changed = {prefix for prefix in new.prefixes if prefix in old.prefixes and old.terms(prefix) != new.terms(prefix)}
    return Difference(
        tuple(_indicators(feed, (entry for entry in after if entry.prefix not in old.prefixes))),
        tuple(_indicators(feed, (entry for entry in before if entry.prefix not in new.prefixes))),
        tuple(_indicators(feed, (entry for entry in after if entry.prefix in changed))),
    )


def since(after: Iterable[Entry], known: Mapping[str, float], now: float) -> tuple[float, ...]:
    """When each entry's prefix first stood in its feed; ``now``, UTC seconds since 1970, for those not ``known``."""
    return tuple(known.get(entry.prefix, now) for entry in after)


def dump_since(source: str, entries: Iterable[Entry], times: Iterable[float]) -> bytes:
    """Packed text: the source, then each time with the prefixes under it; ``times`` go with ``entries``."""
    by_time: dict[int, dict[str, None]] = {}
    for entry, at in zip(entries, times, strict=True):
        by_time.setdefault(int(at), {})[entry.prefix] = None
    lines = [source]
    for at, prefixes in sorted(by_time.items()):
        lines.append(f"@{at}")
        lines += prefixes
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress("\n".join(lines).encode()) + packer.flush()


def load_since(source: str, data: bytes) -> dict[str, float]:
    """Times by prefix; empty when ``data`` is damaged or tells of another source."""
    known: dict[str, float] = {}
    at = 0.0
    try:
        lines = unpacked("", data, MAX_FEED_SINCE_BYTES).decode().split("\n")
        if lines[0] != source:
            return {}
        for line in lines[1:]:
            if line.startswith("@"):
                at = float(line[1:])
            else:
                known[line] = at
    except (FeedError, ValueError):
        return {}
    return known


class _Listings:
    """The entries of one list by prefix; nearly every prefix has one entry."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.prefixes = {entry.prefix: entry for entry in entries}
        self._several: dict[str, set[tuple[str, float | None, int | None]]] = {}
        if len(self.prefixes) < len(entries):
            for entry in entries:
                if self.prefixes[entry.prefix] is not entry:
                    self._several.setdefault(entry.prefix, set()).add(_terms(entry))

    def terms(self, prefix: str) -> set[tuple[str, float | None, int | None]]:
        """Groups with validity and confidence."""
        return {_terms(self.prefixes[prefix]), *self._several.get(prefix, ())}


def _terms(entry: Entry) -> tuple[str, float | None, int | None]:
    return entry.group, entry.valid_until, entry.confidence


def _indicators(feed: str, entries: Iterable[Entry]) -> Iterator[Indicator]:
    return (Indicator(entry.prefix, feed, entry.group) for entry in entries)
