# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps the lists in force: last good copies at start, polite refreshes, and a swap of the whole.

A refresh has four steps. *Fetch* and *judge* work on one feed and touch nothing that is in force. *Swap* builds a new
Blacklist of all feeds off to the side and puts it in force in one assignment. Whatever goes wrong before the swap
leaves everything as it was, and is counted under its reason. What can wait comes behind it: *settle* keeps the copies
on disk and says what has changed.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sentinel.blacklist.cache import FeedCache, FeedState, digest
from sentinel.blacklist.catalogue import Feed, parse_allow_argument, with_distinct_names
from sentinel.blacklist.differences import Difference, difference, dump_since, load_since, since
from sentinel.blacklist.fetch import Fetched, Fetcher, HttpFetcher, RetryLaterError, Validators
from sentinel.blacklist.formats.parsed import Entry, FormatError, Parsed
from sentinel.blacklist.formats.prefixes import canonical_prefix
from sentinel.blacklist.formats.registry import parse
from sentinel.blacklist.held import (
    Held,
    allow_name,
    comparable_entries,
    has_expired,
    is_due,
    known_since,
    source_of,
    validators_of,
)
from sentinel.blacklist.networks import Networks
from sentinel.blacklist.overlap import overlaps
from sentinel.blacklist.resting import collector_resting
from sentinel.blacklist.rules import LocalListed, Sifted, check_download, check_text, sift, without_expired
from sentinel.blacklist.schedule import next_due_at
from sentinel.blacklist.status import FeedStatus, status_of
from sentinel.blacklist.text import decode
from sentinel.blacklist.trie import Allowed, Blacklist, Current, Dropped
from sentinel.errors import ConfigError, FeedError
from sentinel.limits import MAX_FEED_BYTES
from sentinel.model import Indicator

OutcomeKind = Literal["replaced", "unchanged", "quarantined", "failed", "not-due"]
# Several feeds that are due together share one swap, unless their downloads take longer than this.
_SWAP_AFTER_S = 5.0
# Nor longer than so many octets of theirs wait with them, to be kept on disk.
_SWAP_AFTER_BYTES = 2 * MAX_FEED_BYTES
# What a person who asks waits for a download that is under way.
_PATIENCE_S = 10.0
_NOWHERE = Networks([])
_NO_DIFFERENCE = Difference()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one refresh. ``reason`` is a counter label, ``detail`` for people.

    ``difference`` is empty for the copy a start begins with: nothing of it is news. ``local_listed`` are entries of
    this download that name one of our own addresses. ``allows``: it is a list of what never matches.
    """

    feed: str
    kind: OutcomeKind
    reason: str = ""
    detail: str = ""
    difference: Difference = _NO_DIFFERENCE
    local_listed: tuple[LocalListed, ...] = ()
    allows: bool = False


@dataclass(frozen=True, slots=True)
class _Judged:
    """A download that may be put in force."""

    body: bytes
    parsed: Parsed
    sifted: Sifted
    validators: Validators


@dataclass(frozen=True, slots=True)
class _Taken:
    """A download that was put among those held, and what its feed held before; the swap is to come, or just was."""

    held: Held
    judged: _Judged
    state: FeedState
    before: tuple[Entry, ...]
    times: tuple[float, ...]


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
        self._cache = FeedCache(state_dir) if state_dir is not None else None
        self._local = Networks(local)
        self._allowed = _allowed_by_config(allow)
        self._fetcher = fetcher or HttpFetcher()
        self._now = now
        self._jitter = jitter
        # One refresh at a time; readers of the status wait only for its short steps under `_lock`.
        self._refreshing = threading.Lock()
        self._lock = threading.Lock()
        # Time spent with servers, ever: a slow one must not keep the lists of others waiting.
        self._fetching_s = 0.0
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._load_allow_files()

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """The feeds, in the order they were given."""
        return tuple(held.feed for held in self._held.values())

    def load_cached(self) -> list[Outcome]:
        """Put the last good copies in force, and files as they are now; the network is not needed.

        A copy that is damaged or that today's rules refuse gives a failed outcome.
        """
        with self._refreshing:
            outcomes = [self._load_one(held) for held in self._held.values()]
            self._swap()
        return outcomes

    def refresh(self, name: str, force: bool = False) -> Outcome:
        """Download one feed if it is due, or at once with ``force``. KeyError for an unknown name."""
        held = self._held[name]
        if not self._refreshing.acquire(timeout=_PATIENCE_S):
            return _outcome(held, "failed", "busy", "another download is under way; try again")
        try:
            done = self._refresh_one(held, force=force)
            if isinstance(done, Outcome):
                return done
            self._swap()
            return self._settle(done)
        finally:
            self._refreshing.release()

    def refresh_due(self) -> list[Outcome]:
        """Take expired indicators out and refresh every feed that is due; feeds with neither are left out."""
        with self._refreshing:
            outcomes = [self._expire(held) for held in self._held.values() if has_expired(held, self._now())]
            if outcomes:
                self._swap()
        taken: list[_Taken] = []
        fetching_s = self._fetching_s
        for held in self._held.values():
            # Between two feeds people get their turn.
            with self._refreshing:
                done = self._refresh_one(held, force=False)
                if isinstance(done, _Taken):
                    taken.append(done)
                elif done.kind != "not-due":
                    outcomes.append(done)
                waiting_bytes = sum(len(each.judged.body) for each in taken)
                if taken and (self._fetching_s - fetching_s > _SWAP_AFTER_S or waiting_bytes > _SWAP_AFTER_BYTES):
                    outcomes += self._swap_and_settle(taken)
                    fetching_s = self._fetching_s
                    taken = []
        if taken:
            with self._refreshing:
                outcomes += self._swap_and_settle(taken)
        return outcomes

    def _swap_and_settle(self, taken: Iterable[_Taken]) -> list[Outcome]:
        self._swap()
        return [self._settle(each) for each in taken]

    def accept(self, name: str) -> Outcome:
        """Put a quarantined download in force because an operator says so; line rules still hold.

        Only what can be parsed at all can be accepted. KeyError for an unknown name.
        """
        held = self._held[name]
        if not self._refreshing.acquire(timeout=_PATIENCE_S):
            return _outcome(held, "failed", "busy", "a download is under way; try again")
        try:
            body = self._cache.quarantined(name) if self._cache is not None else None
            if body is None:
                return _outcome(held, "unchanged", detail="nothing is in quarantine")
            try:
                judged = self._judge(held.feed, Fetched(body, Validators()), last_entries=None, accepted=True)
            except FeedError as error:
                return self._failed(held, error, "quarantined")
            taken = self._take(held, judged)
            self._swap()
            return replace(self._settle(taken), reason="accepted")
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

    def counters(self) -> dict[tuple[str, str, str], int]:
        """Counts since the start by ``(what, feed, reason)``.

        ``refreshes`` by outcome, ``failures`` by reason, ``lines_rejected`` by line rule (or ``unreadable``), and
        ``damaged_copies``. Feeds are those of the configuration and reasons a closed set: both are safe as labels.
        """
        with self._lock:
            return dict(self._counts)

    def _load_one(self, held: Held) -> Outcome:
        if held.feed.path is not None:
            done = self._refresh_one(held, force=True)
            return done if isinstance(done, Outcome) else self._settle(done)
        if self._cache is None:
            return Outcome(held.feed.name, "unchanged", detail="no copy is kept")
        state, body, damage = self._cache.load(held.feed.name)
        if body is None:
            with self._lock:
                held.state = state
            if not damage:
                return Outcome(held.feed.name, "unchanged", detail="no copy yet")
            return self._damaged(held, damage)
        try:
            judged = self._judge(held.feed, Fetched(body, Validators()), last_entries=None, accepted=True)
        except FeedError as error:
            return self._damaged(held, error.detail)
        known = load_since(source_of(held.feed), self._cache.since(held.feed.name))
        with self._lock:
            held.state = state
            held.parsed, held.sifted = judged.parsed, judged.sifted
            held.since = since(judged.sifted.entries, known, state.changed_at)
            self._count_lines(held)
        return _outcome(held, "replaced", "cached", local_listed=judged.sifted.local_listed)

    def _expire(self, held: Held) -> Outcome:
        if held.sifted is None:
            return Outcome(held.feed.name, "unchanged")
        before, left = held.sifted, without_expired(held.sifted, self._now())
        known = known_since(held)
        with self._lock:
            held.sifted = left
            held.since = since(left.entries, known, self._now())
            self._counts["lines_rejected", held.feed.name, "expired"] += len(before.entries) - len(left.entries)
        changes = difference(held.feed.name, before.entries, left.entries)
        return _outcome(held, "replaced", "expired", difference=changes)

    def _damaged(self, held: Held, detail: str) -> Outcome:
        with self._lock:
            held.state = FeedState(error=detail, error_reason="damaged-copy")
            self._counts["damaged_copies", held.feed.name, ""] += 1
        return Outcome(held.feed.name, "failed", "damaged-copy", detail)

    def _refresh_one(self, held: Held, *, force: bool) -> Outcome | _Taken:
        now = self._now()
        if not force and not is_due(held, now):
            return Outcome(held.feed.name, "not-due")
        try:
            fetched = self._fetch(held, now)
            if fetched is None or digest(fetched.body) == (held.state.sha256 if held.sifted is not None else ""):
                return self._unchanged(held, fetched)
        except FeedError as error:
            return self._failed(held, error, "failed")
        try:
            judged = self._judge(held.feed, fetched, last_entries=comparable_entries(held))
        except FeedError as error:
            body = fetched.body
            self._on_disk(held, lambda cache: cache.save_quarantined(held.feed.name, body))
            return self._failed(held, error, "quarantined")
        return self._take(held, judged)

    def _fetch(self, held: Held, now: float) -> Fetched | None:
        begun = time.monotonic()
        try:
            return self._fetcher.fetch(held.feed, validators_of(held, now), now)
        finally:
            self._fetching_s += time.monotonic() - begun

    def _judge(self, feed: Feed, fetched: Fetched, *, last_entries: int | None, accepted: bool = False) -> _Judged:
        """Parse and apply the rules; ``accepted`` leaves out those an operator has overruled."""
        with collector_resting():
            return self._judged(feed, fetched, last_entries, accepted=accepted)

    def _judged(self, feed: Feed, fetched: Fetched, last_entries: int | None, *, accepted: bool) -> _Judged:
        text = decode(fetched.body)
        check_text(feed.name, text)
        try:
            parsed = parse(feed.format, text, feed.group, feed.column)
        except FormatError as error:
            raise FeedError(feed.name, error.reason, error.detail) from error
        # That a list of what to leave alone names our own or private addresses accuses nobody.
        local, reserved_is_legal = (_NOWHERE, True) if feed.allows else (self._local, feed.reserved_is_legal)
        sifted = sift(feed.name, parsed.entries, local, reserved_is_legal=reserved_is_legal, now=self._now())
        if not accepted:
            check_download(
                feed.name,
                parsed,
                sifted,
                empty_is_legal=feed.empty_is_legal,
                last_entries=last_entries,
                expected_entries=feed.expected_entries,
            )
        # From here on only the sifted entries are needed, and they are most of the memory.
        return _Judged(fetched.body, replace(parsed, entries=[]), sifted, fetched.validators)

    def _take(self, held: Held, judged: _Judged) -> _Taken:
        """Make a download the last good copy; the swap follows."""
        now = self._now()
        before = held.sifted.entries if held.sifted is not None else ()
        times = since(judged.sifted.entries, self._known(held), now)
        state = FeedState(
            url=source_of(held.feed),
            sha256=digest(judged.body),
            etag=judged.validators.etag,
            last_modified=judged.validators.last_modified,
            revision=judged.validators.revision,
            entries=len(judged.sifted.entries),
            fetched_at=now,
            checked_at=now,
            changed_at=now,
            next_due_at=next_due_at(held.feed.min_interval_s, now, self._jitter()),
        )
        with self._lock:
            held.state = state
            held.parsed, held.sifted, held.since = judged.parsed, judged.sifted, times
            self._counts["refreshes", held.feed.name, "replaced"] += 1
            self._count_lines(held)
        return _Taken(held, judged, state, before, times)

    def _settle(self, taken: _Taken) -> Outcome:
        """Keep the copy that is in force now, and say what has changed."""
        held, judged = taken.held, taken.judged
        if held.feed.path is None:
            self._on_disk(held, lambda cache: cache.save_body(held.feed.name, taken.state, judged.body))
            self._on_disk(held, lambda cache: cache.drop_quarantined(held.feed.name))
        packed = dump_since(source_of(held.feed), judged.sifted.entries, taken.times)
        # Most files of one's own are at a start what they were.
        if self._cache is not None and self._cache.since(held.feed.name) != packed:
            self._on_disk(held, lambda cache: cache.save_since(held.feed.name, packed))
        with collector_resting():
            changes = difference(held.feed.name, taken.before, judged.sifted.entries)
        return _outcome(held, "replaced", difference=changes, local_listed=judged.sifted.local_listed)

    def _known(self, held: Held) -> Mapping[str, float]:
        """Since when prefixes are in a feed: as held here, or as an earlier run left it."""
        if held.sifted is not None:
            return known_since(held)
        return load_since(source_of(held.feed), self._cache.since(held.feed.name)) if self._cache is not None else {}

    def _unchanged(self, held: Held, fetched: Fetched | None) -> Outcome:
        now = self._now()
        with self._lock:
            state = held.state
            if fetched is not None:
                # A whole body came and is the same: its validators are the newest there are.
                state.etag, state.last_modified = fetched.validators.etag, fetched.validators.last_modified
                state.revision, state.fetched_at, state.url = fetched.validators.revision, now, source_of(held.feed)
            state.checked_at = now
            state.failures = 0
            state.next_due_at = next_due_at(held.feed.min_interval_s, now, self._jitter())
            state.error = state.error_reason = ""
            state.refused = False
            self._counts["refreshes", held.feed.name, "unchanged"] += 1
        self._save_state(held)
        return Outcome(held.feed.name, "unchanged")

    def _failed(self, held: Held, error: FeedError, kind: Literal["failed", "quarantined"]) -> Outcome:
        now = self._now()
        wait = error.retry_after_s if isinstance(error, RetryLaterError) else 0.0
        with self._lock:
            state = held.state
            state.checked_at = now
            state.failures += 1
            state.next_due_at = next_due_at(
                held.feed.min_interval_s,
                now,
                self._jitter(),
                failures=state.failures,
                have_copy=held.sifted is not None,
                retry_after_s=wait,
            )
            state.error, state.error_reason = error.detail, error.reason
            state.refused = kind == "quarantined"
            self._counts["refreshes", held.feed.name, kind] += 1
            self._counts["failures", held.feed.name, error.reason] += 1
        self._save_state(held)
        return _outcome(held, kind, error.reason, error.detail)

    def _save_state(self, held: Held) -> None:
        if held.feed.path is None:
            with self._lock:
                state = replace(held.state)
            self._on_disk(held, lambda cache: cache.save_state(held.feed.name, state))

    def _on_disk(self, held: Held, write: Callable[[FeedCache], None]) -> None:
        """A full disk costs the next start its copy, and nobody the list that has just come."""
        if self._cache is None:
            return
        try:
            write(self._cache)
        except OSError as error:
            with self._lock:
                held.state.error, held.state.error_reason = f"cannot keep a copy: {error.strerror}", "disk"
                self._counts["failures", held.feed.name, "disk"] += 1

    def _count_lines(self, held: Held) -> None:
        if held.parsed is None or held.sifted is None:
            return
        self._counts["lines_rejected", held.feed.name, "unreadable"] += held.parsed.error_count
        for reason, count in held.sifted.rejected.items():
            self._counts["lines_rejected", held.feed.name, reason] += count

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
            outcome = self._load_one(held)
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


def _outcome(
    held: Held,
    kind: OutcomeKind,
    reason: str = "",
    detail: str = "",
    difference: Difference = _NO_DIFFERENCE,
    local_listed: tuple[LocalListed, ...] = (),
) -> Outcome:
    return Outcome(held.feed.name, kind, reason, detail, difference, local_listed, held.feed.allows)
