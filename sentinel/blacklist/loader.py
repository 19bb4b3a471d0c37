# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps the lists in force: last good copies at start, polite refreshes, and a swap of the whole.

A refresh has three steps. *Fetch* and *judge* work on one feed and touch nothing that is in force. *Swap* builds a new
Blacklist of all feeds off to the side and puts it in force in one assignment. Whatever goes wrong before the swap
leaves everything as it was, and is counted under its reason.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sentinel.blacklist.cache import FeedCache, FeedState, digest
from sentinel.blacklist.catalogue import Feed, with_distinct_names
from sentinel.blacklist.fetch import Fetched, Fetcher, HttpFetcher, RetryLaterError, Validators
from sentinel.blacklist.formats.parsed import Entry, FormatError, Parsed
from sentinel.blacklist.formats.prefixes import canonical_prefix
from sentinel.blacklist.formats.registry import parse
from sentinel.blacklist.networks import Networks
from sentinel.blacklist.rules import LocalListed, Sifted, check_download, check_text, sift, without_expired
from sentinel.blacklist.schedule import next_due_at
from sentinel.blacklist.status import FeedStatus, Held, status_of
from sentinel.blacklist.text import decode
from sentinel.blacklist.trie import Allowed, Blacklist, Current, Dropped
from sentinel.errors import ConfigError, FeedError
from sentinel.limits import MAX_FEED_AGE_WITHOUT_BODY_S, MAX_FEED_BYTES
from sentinel.model import Indicator

OutcomeKind = Literal["replaced", "unchanged", "quarantined", "failed", "not-due"]
# Several feeds that are due together share one swap, unless their downloads take longer than this.
_SWAP_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class Difference:
    """Indicators that a refresh of one feed brought and took away."""

    added: tuple[Indicator, ...] = ()
    removed: tuple[Indicator, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one refresh. ``reason`` is a counter label, ``detail`` for people.

    ``local_listed`` are entries of this download that name one of our own addresses.
    """

    feed: str
    kind: OutcomeKind
    reason: str = ""
    detail: str = ""
    difference: Difference = Difference()
    local_listed: tuple[LocalListed, ...] = ()


@dataclass(frozen=True, slots=True)
class _Judged:
    """A download that may be put in force."""

    body: bytes
    parsed: Parsed
    sifted: Sifted
    validators: Validators


class Loader:
    """All feeds of one daemon. Every method may be called from any thread.

    ``state_dir`` is ``None`` for a run that leaves nothing behind. ``allow`` are CIDRs of the configuration,
    ``allow_files`` plain lists or MISP warning lists; ``now`` gives UTC seconds since 1970. ConfigError: an allow list
    that cannot be read.
    """

    def __init__(
        self,
        feeds: Iterable[Feed],
        state_dir: Path | None,
        *,
        local: Sequence[str] = (),
        allow: Sequence[str] = (),
        allow_files: Sequence[Path] = (),
        fetcher: Fetcher | None = None,
        current: Current | None = None,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.current = current or Current()
        self._held = {feed.name: Held(feed, FeedState()) for feed in with_distinct_names(feeds)}
        self._cache = FeedCache(state_dir) if state_dir is not None else None
        self._local = Networks(local)
        self._allow = tuple(allow)
        self._allow_files = tuple(allow_files)
        self._allowed = self._read_allowed()
        self._fetcher = fetcher or HttpFetcher()
        self._now = now
        self._jitter = jitter
        # One refresh at a time; readers of the status wait only for its short steps under `_lock`.
        self._refreshing = threading.Lock()
        self._lock = threading.Lock()
        # Time spent with servers, ever: a slow one must not keep the lists of others waiting.
        self._fetching_s = 0.0
        self._counts: Counter[tuple[str, str, str]] = Counter()

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
        with self._refreshing:
            outcome = self._refresh_one(held, force=force)
            if outcome.kind == "replaced":
                self._swap()
        return outcome

    def refresh_due(self) -> list[Outcome]:
        """Take expired indicators out and refresh every feed that is due; feeds with neither are left out."""
        with self._refreshing:
            outcomes = [self._expire(held) for held in self._held.values() if _has_expired(held, self._now())]
            waiting, fetching_s = bool(outcomes), self._fetching_s
            for held in self._held.values():
                outcome = self._refresh_one(held, force=False)
                if outcome.kind == "not-due":
                    continue
                outcomes.append(outcome)
                waiting = waiting or outcome.kind == "replaced"
                if waiting and self._fetching_s - fetching_s > _SWAP_AFTER_S:
                    self._swap()
                    waiting, fetching_s = False, self._fetching_s
            if waiting:
                self._swap()
        return outcomes

    def accept(self, name: str) -> Outcome:
        """Put a quarantined download in force because an operator says so; line rules still hold.

        Only what can be parsed at all can be accepted. KeyError for an unknown name.
        """
        held = self._held[name]
        with self._refreshing:
            body = self._cache.quarantined(name) if self._cache is not None else None
            if body is None:
                return Outcome(name, "unchanged", detail="nothing is in quarantine")
            try:
                judged = self._judge(held.feed, Fetched(body, Validators()), last_entries=None, accepted=True)
            except FeedError as error:
                return self._failed(held, error, "quarantined")
            outcome = self._take(held, judged)
            self._swap()
        return outcome

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
            return self._refresh_one(held, force=True)
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
        difference = _difference(held, judged.sifted)
        with self._lock:
            held.state = state
            held.parsed, held.sifted = judged.parsed, judged.sifted
            self._count_lines(held)
        return Outcome(
            held.feed.name, "replaced", "cached", difference=difference, local_listed=judged.sifted.local_listed
        )

    def _expire(self, held: Held) -> Outcome:
        if held.sifted is None:
            return Outcome(held.feed.name, "unchanged")
        left = without_expired(held.sifted, self._now())
        difference = _difference(held, left)
        with self._lock:
            held.sifted = left
            self._counts["lines_rejected", held.feed.name, "expired"] += len(difference.removed)
        return Outcome(held.feed.name, "replaced", "expired", difference=difference)

    def _damaged(self, held: Held, detail: str) -> Outcome:
        with self._lock:
            held.error, held.error_reason = detail, "damaged-copy"
            held.state = FeedState()
            self._counts["damaged_copies", held.feed.name, ""] += 1
        return Outcome(held.feed.name, "failed", "damaged-copy", detail)

    def _refresh_one(self, held: Held, *, force: bool) -> Outcome:
        now = self._now()
        if not force and not _is_due(held, now):
            return Outcome(held.feed.name, "not-due")
        try:
            fetched = self._fetch(held, now)
            if fetched is None or digest(fetched.body) == (held.state.sha256 if held.sifted is not None else ""):
                return self._unchanged(held, fetched)
        except FeedError as error:
            return self._failed(held, error, "failed")
        try:
            judged = self._judge(held.feed, fetched, last_entries=_comparable(held))
        except FeedError as error:
            body = fetched.body
            self._on_disk(held, lambda cache: cache.save_quarantined(held.feed.name, body))
            return self._failed(held, error, "quarantined")
        return self._take(held, judged)

    def _fetch(self, held: Held, now: float) -> Fetched | None:
        begun = time.monotonic()
        try:
            return self._fetcher.fetch(held.feed, _validators_of(held, now), now)
        finally:
            self._fetching_s += time.monotonic() - begun

    def _judge(self, feed: Feed, fetched: Fetched, *, last_entries: int | None, accepted: bool = False) -> _Judged:
        """Parse and apply the rules; ``accepted`` leaves out those an operator has overruled."""
        text = decode(fetched.body)
        check_text(feed.name, text)
        try:
            parsed = parse(feed.format, text, feed.group, feed.column)
        except FormatError as error:
            raise FeedError(feed.name, error.reason, error.detail) from error
        sifted = sift(feed.name, parsed.entries, self._local, reserved_is_legal=feed.reserved_is_legal, now=self._now())
        if not accepted:
            check_download(feed.name, parsed, sifted, empty_is_legal=feed.empty_is_legal, last_entries=last_entries)
        # From here on only the sifted entries are needed, and they are most of the memory.
        return _Judged(fetched.body, replace(parsed, entries=[]), sifted, fetched.validators)

    def _take(self, held: Held, judged: _Judged) -> Outcome:
        """Make a download the last good copy; the swap follows."""
        now = self._now()
        difference = _difference(held, judged.sifted)
        state = FeedState(
            url=_source(held.feed),
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
            held.parsed, held.sifted = judged.parsed, judged.sifted
            held.error = held.error_reason = ""
            held.refused = False
            self._counts["refreshes", held.feed.name, "replaced"] += 1
            self._count_lines(held)
        if held.feed.path is None:
            self._on_disk(held, lambda cache: cache.save_body(held.feed.name, state, judged.body))
            self._on_disk(held, lambda cache: cache.drop_quarantined(held.feed.name))
        return Outcome(held.feed.name, "replaced", difference=difference, local_listed=judged.sifted.local_listed)

    def _unchanged(self, held: Held, fetched: Fetched | None) -> Outcome:
        now = self._now()
        with self._lock:
            state = held.state
            if fetched is not None:
                # A whole body came and is the same: its validators are the newest there are.
                state.etag, state.last_modified = fetched.validators.etag, fetched.validators.last_modified
                state.revision, state.fetched_at, state.url = fetched.validators.revision, now, _source(held.feed)
            state.checked_at = now
            state.failures = 0
            state.next_due_at = next_due_at(held.feed.min_interval_s, now, self._jitter())
            held.error = held.error_reason = ""
            held.refused = False
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
            held.error, held.error_reason = error.detail, error.reason
            held.refused = kind == "quarantined"
            self._counts["refreshes", held.feed.name, kind] += 1
            self._counts["failures", held.feed.name, error.reason] += 1
        self._save_state(held)
        return Outcome(held.feed.name, kind, error.reason, error.detail)

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
                held.error, held.error_reason = f"cannot keep a copy: {error.strerror}", "disk"
                self._counts["failures", held.feed.name, "disk"] += 1

    def _count_lines(self, held: Held) -> None:
        if held.parsed is None or held.sifted is None:
            return
        self._counts["lines_rejected", held.feed.name, "unreadable"] += held.parsed.error_count
        for reason, count in held.sifted.rejected.items():
            self._counts["lines_rejected", held.feed.name, reason] += count

    def _swap(self) -> None:
        with self._lock:
            sifted = {name: held.sifted for name, held in self._held.items() if held.sifted is not None}
        self.current.replace(
            Blacklist.build(
                {name: one.entries for name, one in sifted.items()},
                self._allowed,
                [Dropped(name, rejected) for name, one in sifted.items() for rejected in one.rejected_kept],
            )
        )

    def _read_allowed(self) -> tuple[Allowed, ...]:
        allowed = []
        findings = []
        for prefix in self._allow:
            try:
                allowed.append(Allowed(canonical_prefix(prefix)[0], "config"))
            except ValueError as error:
                findings.append(f"{prefix!r} is {error}")
        for path in self._allow_files:
            try:
                with path.open("rb") as file:
                    text = decode(file.read(MAX_FEED_BYTES))
                parsed = parse("misp-warninglist" if text.lstrip().startswith("{") else "plain", text, "")
            except (OSError, FormatError) as error:
                findings.append(f"{path}: {error}")
                continue
            findings += [f"{path}, line {error.line}: {error.reason}: {error.excerpt!r}" for error in parsed.errors]
            allowed += [Allowed(entry.prefix, str(path)) for entry in parsed.entries]
        if findings:
            raise ConfigError("allow lists", findings)
        return tuple(allowed)


def _has_expired(held: Held, now: float) -> bool:
    return held.sifted is not None and held.sifted.expires_at is not None and held.sifted.expires_at <= now


def _is_due(held: Held, now: float) -> bool:
    """Due by the clock, or because the clock was set back behind the last attempt, or the feed's address changed."""
    state = held.state
    return now >= state.next_due_at or now < state.checked_at - 60 or bool(state.url and not _same_source(held))


def _source(feed: Feed) -> str:
    return str(feed.path) if feed.path is not None else feed.url


def _same_source(held: Held) -> bool:
    return held.state.url == _source(held.feed)


def _comparable(held: Held) -> int | None:
    """The size a download must not fall far short of: none for one's own files, whose owner may empty them."""
    if held.sifted is None or held.feed.path is not None or not _same_source(held):
        return None
    return len(held.sifted.entries)


def _validators_of(held: Held, now: float) -> Validators:
    """None when the copy is another's, is not in force, or is so old that the server's word is no longer taken."""
    state = held.state
    old = not 0 <= now - state.fetched_at < MAX_FEED_AGE_WITHOUT_BODY_S
    if held.sifted is None or not _same_source(held) or old:
        return Validators()
    return Validators(state.etag, state.last_modified, state.revision)


def _difference(held: Held, after: Sifted) -> Difference:
    name = held.feed.name
    if held.sifted is None:
        return Difference(tuple(Indicator(entry.prefix, name, entry.group) for entry in after.entries))
    old, new = _keys(held.sifted.entries), _keys(after.entries)
    return Difference(
        tuple(Indicator(prefix, name, group) for prefix, group in sorted(new - old)),
        tuple(Indicator(prefix, name, group) for prefix, group in sorted(old - new)),
    )


def _keys(entries: Iterable[Entry]) -> set[tuple[str, str]]:
    return {(entry.prefix, entry.group) for entry in entries}
