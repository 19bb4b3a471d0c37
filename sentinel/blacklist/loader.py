# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The lists in force: last good copies at start, polite refreshes, and a swap of the whole.

A refresh has four steps, of which ``refresh.py`` holds all but the swap. *Fetch* and *judge* work on one feed and touch
nothing that is in force. *Swap* builds a new Blacklist of all feeds off to the side and puts it in force in one
assignment. Whatever goes wrong before the swap leaves everything as it was, and is counted under its reason. What can
wait comes behind it: *settle* keeps the copies on disk and reports what has changed.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from sentinel.blacklist.cache import FeedCache, FeedState
from sentinel.blacklist.catalogue import Feed, parse_allow_argument, with_distinct_names
from sentinel.blacklist.counters import FeedCounters
from sentinel.blacklist.fetch import Fetcher, HttpFetcher
from sentinel.blacklist.formats.prefixes import canonical_prefix
from sentinel.blacklist.held import Held, allow_name, has_expired
from sentinel.blacklist.networks import Networks
from sentinel.blacklist.overlap import overlaps
from sentinel.blacklist.refresh import Refreshed, Refresher, Taken, refreshed
from sentinel.blacklist.resting import collector_resting
from sentinel.blacklist.status import FeedStatus, status_of
from sentinel.blacklist.trie import Allowed, Blacklist, Current, Dropped
from sentinel.errors import ConfigError
from sentinel.limits import MAX_FEED_BYTES
from sentinel.model import Indicator

# Several feeds that are due together share one swap, unless their downloads take longer than this.
_SWAP_AFTER_S = 5.0
# Nor longer than so many octets of theirs wait with them, to be kept on disk.
_SWAP_AFTER_BYTES = 2 * MAX_FEED_BYTES
# What a person who asks waits for a download that is under way.
_PATIENCE_S = 10.0


class Loader:
    """All feeds of one daemon. Every method may be called from any thread.

    ``state_dir`` is ``None`` for a run that leaves nothing behind. ``allow`` are CIDRs of the configuration that never
    match, ``allow_files`` lists of such, ``PATH[:FORMAT[:GROUP]]``; ``now`` gives UTC seconds since 1970. ConfigError:
    an allow list that cannot be read, with the lines that are wrong.
    """

    def __init__(
        self,
        feeds: Iterable[Feed],
        state_dir: Path | None,
        *,
        local: Sequence[str] = (),
        allow: Sequence[str] = (),
        allow_files: Sequence[str | Path] = (),
        fetcher: Fetcher | None = None,
        current: Current | None = None,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.current = current or Current()
        allowing = [parse_allow_argument(str(each)) for each in allow_files]
        self._held = {feed.name: Held(feed, FeedState()) for feed in with_distinct_names([*feeds, *allowing])}
        self._allowed = _allowed_by_config(allow)
        self._now = now
        # One refresh at a time; readers of the status wait only for its short steps under `_lock`.
        self._refreshing = threading.Lock()
        self._lock = threading.Lock()
        self._refresher = Refresher(
            self._held,
            FeedCache(state_dir) if state_dir is not None else None,
            fetcher or HttpFetcher(),
            Networks(local),
            lock=self._lock,
            now=now,
            jitter=jitter,
        )
        self._load_allow_files()

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """The feeds, in the order they were given."""
        return tuple(held.feed for held in self._held.values())

    def load_cached(self) -> list[Refreshed]:
        """Put the last good copies in force, and files as they are now; the network is not needed.

        A copy that is damaged or that today's rules refuse gives a failed outcome.
        """
        with self._refreshing:
            outcomes = [self._refresher.load(held) for held in self._held.values()]
            self._swap()
        return outcomes

    def refresh(self, name: str, force: bool = False) -> Refreshed:
        """Download one feed if it is due, or at once with ``force``. KeyError for an unknown name."""
        held = self._held[name]
        if not self._refreshing.acquire(timeout=_PATIENCE_S):
            return refreshed(held, "failed", "busy", "another download is under way; try again")
        try:
            done = self._refresher.refresh(held, force=force)
            if isinstance(done, Refreshed):
                return done
            self._swap()
            return self._refresher.settle(done)
        finally:
            self._refreshing.release()

    def refresh_due(self) -> list[Refreshed]:
        """Take expired indicators out and refresh every feed that is due; feeds with neither are left out."""
        with self._refreshing:
            now = self._now()
            outcomes = [self._refresher.expire(held) for held in self._held.values() if has_expired(held, now)]
            if outcomes:
                self._swap()
        taken: list[Taken] = []
        fetching_s = self._refresher.fetching_s
        for held in self._held.values():
            # Between two feeds people get their turn.
            with self._refreshing:
                done = self._refresher.refresh(held, force=False)
                if isinstance(done, Taken):
                    taken.append(done)
                elif done.kind != "not-due":
                    outcomes.append(done)
                waiting_bytes = sum(len(each.judged.body) for each in taken)
                slow = self._refresher.fetching_s - fetching_s > _SWAP_AFTER_S
                if taken and (slow or waiting_bytes > _SWAP_AFTER_BYTES):
                    outcomes += self._swap_and_settle(taken)
                    fetching_s = self._refresher.fetching_s
                    taken = []
        if taken:
            with self._refreshing:
                outcomes += self._swap_and_settle(taken)
        return outcomes

    def _swap_and_settle(self, taken: Iterable[Taken]) -> list[Refreshed]:
        self._swap()
        return [self._refresher.settle(each) for each in taken]

    def accept(self, name: str) -> Refreshed:
        """Put a quarantined download in force because an operator says so; line rules still hold.

        Only what can be parsed at all can be accepted. KeyError for an unknown name.
        """
        held = self._held[name]
        if not self._refreshing.acquire(timeout=_PATIENCE_S):
            return refreshed(held, "failed", "busy", "a download is under way; try again")
        try:
            done = self._refresher.accept(held)
            if isinstance(done, Refreshed):
                return done
            self._swap()
            return replace(self._refresher.settle(done), reason="accepted")
        finally:
            self._refreshing.release()

    def since(self, indicator: Indicator) -> float | None:
        """When the indicator's prefix was first seen in its feed, UTC seconds since 1970; ``None`` when it is not.

        A walk over the feed's list, for people who ask about one address.
        """
        held = self._held.get(indicator.feed)
        if held is None:
            return None
        with self._lock:
            entries = held.sifted.entries if held.sifted is not None else ()
            times = held.since
        found = (at for entry, at in zip(entries, times, strict=True) if entry.prefix == indicator.prefix)
        return next(found, None)

    def next_due_at(self) -> float:
        """When the next feed is due, UTC seconds since 1970; infinity without feeds."""
        with self._lock:
            return min((held.state.next_due_at for held in self._held.values()), default=float("inf"))

    def status(self) -> list[FeedStatus]:
        """One row per feed."""
        now = self._now()
        with self._lock:
            return [status_of(held, now) for held in self._held.values()]

    def counters(self) -> Mapping[str, FeedCounters]:
        """Return the live counts of every feed by its name; all keys are there from the start."""
        return MappingProxyType(self._refresher.counters)

    def _swap(self) -> None:
        with self._lock:
            held_now = [(held, held.sifted) for held in self._held.values() if held.sifted is not None]
        listing = {held.feed.name: sifted for held, sifted in held_now if not held.feed.allows}
        allowed = [
            Allowed(entry.prefix, allow_name(held.feed, entry.group))
            for held, sifted in held_now
            if held.feed.allows
            for entry in sifted.entries
        ]
        self.current.replace(
            Blacklist.build(
                {name: sifted.entries for name, sifted in listing.items()},
                [*self._allowed, *allowed],
                [Dropped(name, rejected) for name, sifted in listing.items() for rejected in sifted.rejected_kept],
            )
        )
        # The lists are in force; what follows is only for people to compare feeds by.
        with collector_resting():
            found = overlaps({name: sifted.entries for name, sifted in listing.items()})
        with self._lock:
            for name, overlap in found.items():
                self._held[name].overlap = overlap

    def _load_allow_files(self) -> None:
        """At the start every line must be right; later a file that went bad keeps its old copy, like any feed."""
        findings = []
        for held in self._held.values():
            if not held.feed.allows or held.feed.path is None:
                continue
            outcome = self._refresher.load(held)
            if outcome.kind in {"failed", "quarantined"}:
                findings.append(f"{held.feed.path}: {outcome.detail}")
            elif held.parsed is not None:
                findings += [
                    f"{held.feed.path}, line {error.line}: {error.reason}: {error.excerpt!r}"
                    for error in held.parsed.errors
                ]
        if findings:
            raise ConfigError("allow lists", findings)


def _allowed_by_config(prefixes: Iterable[str]) -> list[Allowed]:
    allowed, findings = [], []
    for prefix in prefixes:
        try:
            allowed.append(Allowed(canonical_prefix(prefix)[0], "config"))
        except ValueError as error:
            findings.append(f"{prefix!r} is {error}")
    if findings:
        raise ConfigError("allow lists", findings)
    return allowed
