# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""All lists in force as two radix tries, and the holder that swaps them whole.

Of very large lists the tries are made only if somebody asks: where the compiled scan made its flat tables first, those
answer instead, as a trie of a million prefixes takes two seconds and 160 MB.

A node's value is the tuple of ``(feed, group)`` pairs that list its prefix. Those tuples are shared (a million prefixes
have a few dozen different ones), and an Indicator is made only for a hit: misses, nearly all, cost one descent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

import pytricia

from sentinel.blacklist.formats.parsed import Entry
from sentinel.blacklist.formats.prefixes import bounds, canonical_prefix, pack, unpack
from sentinel.blacklist.rules import Rejected
from sentinel.model import Indicator

# A frozen trie answers a miss in half the time, but freezing holds every thread: 0.13 s for so many prefixes, which a
# receive buffer bridges; 0.65 s for a million, which it does not.
_FROZEN_UP_TO = 200_000

_Sources = tuple[tuple[str, str], ...]


class Tables(Protocol):
    """What a compiled scan made of the lists; it answers as the tries do."""

    def lookup_packed(self, packed: bytes) -> tuple[Indicator, ...]: ...
    def covering(self, packed: bytes) -> tuple[Indicator, ...]: ...
    def entries(self) -> Iterator[tuple[str, _Sources]]: ...


class Allowed(NamedTuple):
    """A prefix that never matches, and the list that says so (``config`` or a file)."""

    prefix: str
    source: str


class Dropped(NamedTuple):
    """A line rule's rejection, with the feed it happened in."""

    feed: str
    rejected: Rejected


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an address matches, or why not.

    ``indicators`` cover it, longest prefix first, whether or not ``allowed_by`` overrules them. ``dropped`` are lines
    that would cover it but for a line rule (the first ones of each feed are known).
    """

    address: str
    indicators: tuple[Indicator, ...]
    allowed_by: tuple[Allowed, ...]
    dropped: tuple[Dropped, ...]

    @property
    def listed(self) -> bool:
        """Whether a packet from or to the address is a match."""
        return bool(self.indicators) and not self.allowed_by


class Blacklist:
    """Every listed prefix of every feed; never changed after ``build``."""

    def __init__(self) -> None:
        self._v4 = pytricia.PyTricia(32)
        self._v6 = pytricia.PyTricia(128)
        self._allowed4 = pytricia.PyTricia(32)
        self._allowed6 = pytricia.PyTricia(128)
        self._dropped: tuple[Dropped, ...] = ()
        # Of a large list, until it becomes tries or tables.
        self._pending: dict[str, _Sources] | None = None
        # What a compiled scan made of these lists: it lives and dies with them.
        self.compiled: Tables | None = None
        # Those tables, where there are no tries beside them.
        self._served: Tables | None = None
        self.prefixes_v4 = 0
        self.prefixes_v6 = 0

    @classmethod
    def build(
        cls,
        entries_by_feed: Mapping[str, Iterable[Entry]],
        allow: Iterable[Allowed] = (),
        dropped: Iterable[Dropped] = (),
    ) -> "Blacklist":
        """The lists of all feeds, with the prefixes that never match.

        Entries carry canonical CIDR text, as parsers give it; ValueError for text that is no CIDR at all.
        """
        blacklist = cls()
        pending = blacklist._pending = _sources_by_prefix(entries_by_feed)
        for allowed in allow:
            _add_allowed(blacklist._allowed6 if ":" in allowed.prefix else blacklist._allowed4, allowed)
        blacklist._dropped = tuple(dropped)
        blacklist.prefixes_v6 = sum(":" in prefix for prefix in pending)
        blacklist.prefixes_v4 = len(pending) - blacklist.prefixes_v6
        if len(pending) <= _FROZEN_UP_TO:
            blacklist.settle()
        return blacklist

    def settle(self) -> None:
        """Make what answers, if nothing does yet; before the lists are put in force, as it may take seconds."""
        pending = self._pending
        if pending is None:
            return
        if self.compiled is None:
            v4, v6 = pytricia.PyTricia(32), pytricia.PyTricia(128)
            for prefix, sources in pending.items():
                (v6 if ":" in prefix else v4)[prefix] = sources
            self.prefixes_v4, self.prefixes_v6 = len(v4), len(v6)
            self._v4, self._v6 = v4, v6
        for trie in (self._v4, self._v6, self._allowed4, self._allowed6):
            if len(trie) <= _FROZEN_UP_TO:
                trie.freeze()
        self._served = self.compiled
        self._pending = None

    def __len__(self) -> int:
        """The number of different prefixes."""
        return self.prefixes_v4 + self.prefixes_v6

    def lookup(self, ip: str) -> tuple[Indicator, ...]:
        """Every indicator that covers the address: longest prefix first, then by feed and group.

        ValueError when ``ip`` is not an address.
        """
        return self.lookup_packed(pack(ip))

    def lookup_packed(self, packed: bytes) -> tuple[Indicator, ...]:
        """The same for 4 or 16 octets in network order."""
        self.settle()
        if self._served is not None:
            return self._served.lookup_packed(packed)
        trie, allowed = (self._v4, self._allowed4) if len(packed) == 4 else (self._v6, self._allowed6)
        if trie.get(packed) is None or allowed.get(packed) is not None:
            return ()
        return _covering(trie, packed)

    def explain(self, ip: str) -> Explanation:
        """Everything known about an address; ValueError when it is none."""
        packed = pack(ip)
        self.settle()
        trie, allowed = (self._v4, self._allowed4) if len(packed) == 4 else (self._v6, self._allowed6)
        return Explanation(
            unpack(packed),
            _covering(trie, packed) if self._served is None else self._served.covering(packed),
            tuple(Allowed(key, source) for key in _chain(allowed, packed) for source in allowed[key]),
            tuple(dropped for dropped in self._dropped if _contains(dropped.rejected.prefix, packed)),
        )

    def prefixes(self) -> Iterator[str]:
        """Every listed prefix once, as canonical CIDR text."""
        return (prefix for prefix, _ in self.entries())

    def entries(self) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
        """Every listed prefix once, with the (feed, group) pairs that list it: what compiled tables are made of."""
        pending = self._pending
        if pending is not None:
            yield from pending.items()
        elif self._served is not None:
            yield from self._served.entries()
        for trie in (self._v4, self._v6):
            for prefix in trie:
                yield prefix, trie[prefix]

    def allowed_prefixes(self) -> Iterator[str]:
        """Every prefix that never matches."""
        yield from self._allowed4
        yield from self._allowed6


class Current:
    """The lists in force. Readers take the reference once per batch; a refresh replaces it in one assignment.

    ``prepare`` is called with new lists before they are put in force: whatever takes long about them is done then.
    """

    def __init__(
        self, blacklist: Blacklist | None = None, prepare: Callable[[Blacklist], object] | None = None
    ) -> None:
        self._held = (0, blacklist or Blacklist.build({}))
        self._prepare = prepare

    @property
    def blacklist(self) -> Blacklist:
        """What to match against now."""
        return self._held[1]

    @property
    def generation(self) -> int:
        """How often the lists were replaced."""
        return self._held[0]

    def snapshot(self) -> tuple[int, Blacklist]:
        """Generation and lists that belong together."""
        return self._held

    def replace(self, blacklist: Blacklist) -> int:
        """Put other lists in force and return their generation; only one thread may call it at a time."""
        if self._prepare is not None:
            self._prepare(blacklist)
        blacklist.settle()
        generation = self._held[0] + 1
        self._held = (generation, blacklist)
        return generation


def _sources_by_prefix(entries_by_feed: Mapping[str, Iterable[Entry]]) -> dict[str, _Sources]:
    table: dict[str, _Sources] = {}
    joined: dict[tuple[_Sources, tuple[str, str]], _Sources] = {}
    for feed in sorted(entries_by_feed):
        own: dict[str, _Sources] = {}
        for entry in entries_by_feed[feed]:
            prefix = entry.prefix
            before = table.get(prefix)
            if before is None:
                sources = own.get(entry.group)
                if sources is None:
                    sources = own[entry.group] = ((feed, entry.group),)
                table[prefix] = sources
                continue
            key = (before, (feed, entry.group))
            together = joined.get(key)
            if together is None:
                together = joined[key] = tuple(sorted({*before, key[1]}))
            table[prefix] = together
    return table


def _add_allowed(trie: pytricia.PyTricia, allowed: Allowed) -> None:
    prefix = canonical_prefix(allowed.prefix)[0]
    sources = trie[prefix] if trie.has_key(prefix) else ()
    if allowed.source not in sources:
        trie[prefix] = (*sources, allowed.source)


def _chain(trie: pytricia.PyTricia, packed: bytes) -> Iterator[str]:
    """The prefixes that cover the address, longest first."""
    key: str | None = trie.get_key(packed)
    while key is not None:
        yield key
        key = trie.parent(key)


def _covering(trie: pytricia.PyTricia, packed: bytes) -> tuple[Indicator, ...]:
    return tuple(
        Indicator(key, feed, group) for key in _chain(trie, packed) for feed, group in cast(_Sources, trie[key])
    )


def _contains(prefix: str, packed: bytes) -> bool:
    family, first, last = bounds(prefix)
    return len(packed) == (4 if family == 4 else 16) and first <= int.from_bytes(packed, "big") <= last
