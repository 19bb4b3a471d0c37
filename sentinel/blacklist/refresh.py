# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The steps of one feed's refresh: fetch, judge, take, and settle after the swap that is the loader's."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sentinel.blacklist.cache import FeedCache, FeedState, digest
from sentinel.blacklist.catalogue import Feed
from sentinel.blacklist.counters import FeedCounters, RefreshKind
from sentinel.blacklist.differences import Difference, difference, dump_since, load_since, since
from sentinel.blacklist.fetch import Fetched, Fetcher, RetryLaterError, Validators
from sentinel.blacklist.formats.parsed import Entry, FormatError, Parsed
from sentinel.blacklist.formats.registry import parse
from sentinel.blacklist.held import Held, comparable_entries, is_due, known_since, source_of, validators_of
from sentinel.blacklist.networks import Networks
from sentinel.blacklist.resting import collector_resting
from sentinel.blacklist.rules import LocalListed, Sifted, check_download, check_text, sift, without_expired
from sentinel.blacklist.schedule import next_due_at
from sentinel.blacklist.text import decode
from sentinel.errors import FeedError

_NOWHERE = Networks([])
_NO_DIFFERENCE = Difference()


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The outcome of one refresh. ``reason`` is a counter label, ``detail`` for people.

    ``difference`` is empty for the copy a start begins with: nothing of it is news. ``local_listed`` are entries of
    this download that name one of our own addresses. ``allows``: it is a list of what never matches.
    """

    feed: str
    kind: RefreshKind
    reason: str = ""
    detail: str = ""
    difference: Difference = _NO_DIFFERENCE
    local_listed: tuple[LocalListed, ...] = ()
    allows: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """A download that may be put in force."""

    body: bytes
    parsed: Parsed
    sifted: Sifted
    validators: Validators


@dataclass(frozen=True, slots=True)
class Taken:
    """A download that was put among those held, and what its feed held before; the swap is to come, or just was."""

    held: Held
    judged: Judged
    state: FeedState
    before: tuple[Entry, ...]
    times: tuple[float, ...]


class Refresher:
    """The steps of every feed of one loader, which calls them one at a time.

    What a feed holds changes under ``lock`` only. ``fetching_s`` is the time spent with servers, ever.
    """

    def __init__(
        self,
        names: Iterable[str],
        cache: FeedCache | None,
        fetcher: Fetcher,
        local: Networks,
        *,
        lock: threading.Lock,
        now: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.counters = {name: FeedCounters() for name in names}
        self.fetching_s = 0.0
        self._cache = cache
        self._fetcher = fetcher
        self._local = local
        self._lock = lock
        self._now = now
        self._jitter = jitter

    def load(self, held: Held) -> Refreshed:
        """Begin with the last good copy, or with a file as it is now."""
        if held.feed.path is not None:
            done = self.refresh(held, force=True)
            return done if isinstance(done, Refreshed) else self.settle(done)
        if self._cache is None:
            return Refreshed(held.feed.name, "unchanged", detail="no copy is kept")
        state, body, damage = self._cache.load(held.feed.name)
        if body is None:
            with self._lock:
                held.state = state
            if not damage:
                return Refreshed(held.feed.name, "unchanged", detail="no copy yet")
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
        return refreshed(held, "replaced", "cached", local_listed=judged.sifted.local_listed)

    def expire(self, held: Held) -> Refreshed:
        """Take out the entries that have run out."""
        if held.sifted is None:
            return Refreshed(held.feed.name, "unchanged")
        before, left = held.sifted, without_expired(held.sifted, self._now())
        known = known_since(held)
        with self._lock:
            held.sifted = left
            held.since = since(left.entries, known, self._now())
            self.counters[held.feed.name].lines_rejected["expired"] += len(before.entries) - len(left.entries)
        changes = difference(held.feed.name, before.entries, left.entries)
        return refreshed(held, "replaced", "expired", difference=changes)

    def refresh(self, held: Held, *, force: bool) -> Refreshed | Taken:
        """Fetch and judge a feed if it is due; a good download is taken, and waits for the swap."""
        now = self._now()
        if not force and not is_due(held, now):
            return Refreshed(held.feed.name, "not-due")
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

    def _take(self, held: Held, judged: Judged) -> Taken:
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
            self.counters[held.feed.name].refreshes["replaced"] += 1
            self._count_lines(held)
        return Taken(held, judged, state, before, times)

    def accept(self, held: Held) -> Refreshed | Taken:
        """Take the download in quarantine, because an operator overrules the rules for whole downloads."""
        body = self._cache.quarantined(held.feed.name) if self._cache is not None else None
        if body is None:
            return refreshed(held, "unchanged", detail="nothing is in quarantine")
        try:
            judged = self._judge(held.feed, Fetched(body, Validators()), last_entries=None, accepted=True)
        except FeedError as error:
            return self._failed(held, error, "quarantined")
        return self._take(held, judged)

    def settle(self, taken: Taken) -> Refreshed:
        """Store the copy that is in force now, and return what has changed."""
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
        return refreshed(held, "replaced", difference=changes, local_listed=judged.sifted.local_listed)

    def _failed(self, held: Held, error: FeedError, kind: Literal["failed", "quarantined"]) -> Refreshed:
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
            self.counters[held.feed.name].refreshes[kind] += 1
            self.counters[held.feed.name].failures[error.reason] += 1
        self._save_state(held)
        return refreshed(held, kind, error.reason, error.detail)

    def _fetch(self, held: Held, now: float) -> Fetched | None:
        begun = time.monotonic()
        try:
            return self._fetcher.fetch(held.feed, validators_of(held, now), now)
        finally:
            self.fetching_s += time.monotonic() - begun

    def _judge(self, feed: Feed, fetched: Fetched, *, last_entries: int | None, accepted: bool = False) -> Judged:
        """Parse and apply the rules; ``accepted`` leaves out those an operator has overruled."""
        with collector_resting():
            return self._judged(feed, fetched, last_entries, accepted=accepted)

    def _judged(self, feed: Feed, fetched: Fetched, last_entries: int | None, *, accepted: bool) -> Judged:
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
        return Judged(fetched.body, replace(parsed, entries=[]), sifted, fetched.validators)

    def _known(self, held: Held) -> Mapping[str, float]:
        """Since when prefixes are in a feed: as held here, or as an earlier run left it."""
        if held.sifted is not None:
            return known_since(held)
        return load_since(source_of(held.feed), self._cache.since(held.feed.name)) if self._cache is not None else {}

    def _unchanged(self, held: Held, fetched: Fetched | None) -> Refreshed:
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
            self.counters[held.feed.name].refreshes["unchanged"] += 1
        self._save_state(held)
        return Refreshed(held.feed.name, "unchanged")

    def _damaged(self, held: Held, detail: str) -> Refreshed:
        with self._lock:
            held.state = FeedState(error=detail, error_reason="damaged-copy")
            self.counters[held.feed.name].damaged_copies += 1
        return Refreshed(held.feed.name, "failed", "damaged-copy", detail)

    def _save_state(self, held: Held) -> None:
        if held.feed.path is None:
            with self._lock:
                state = replace(held.state)
            self._on_disk(held, lambda cache: cache.save_state(held.feed.name, state))

    def _on_disk(self, held: Held, write: Callable[[FeedCache], None]) -> None:
        """Write to the cache; a full disk costs the next start its copy, never the list that has just come."""
        if self._cache is None:
            return
        try:
            write(self._cache)
        except OSError as error:
            with self._lock:
                held.state.error, held.state.error_reason = f"cannot keep a copy: {error.strerror}", "disk"
                self.counters[held.feed.name].failures["disk"] += 1

    def _count_lines(self, held: Held) -> None:
        if held.parsed is None or held.sifted is None:
            return
        self.counters[held.feed.name].lines_rejected["unreadable"] += held.parsed.error_count
        for reason, count in held.sifted.rejected.items():
            self.counters[held.feed.name].lines_rejected[reason] += count


def refreshed(
    held: Held,
    kind: RefreshKind,
    reason: str = "",
    detail: str = "",
    difference: Difference = _NO_DIFFERENCE,
    local_listed: tuple[LocalListed, ...] = (),
) -> Refreshed:
    return Refreshed(held.feed.name, kind, reason, detail, difference, local_listed, held.feed.allows)
