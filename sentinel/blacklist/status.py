# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What a loader holds of a feed, and the row people see of it."""

from dataclasses import dataclass
from typing import Literal

from sentinel.blacklist.fetch import safe_url
from sentinel.blacklist.formats.parsed import LineError, Parsed
from sentinel.blacklist.held import Held
from sentinel.blacklist.overlap import Overlap
from sentinel.blacklist.rules import LocalListed


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """One row of ``sentinel feeds list``. Times are UTC seconds since 1970, ``None`` for never.

    ``state``: ``empty`` (nothing in force), ``ok``, ``stale`` (the last attempt failed) or ``quarantined`` (the last
    download was refused); in the last two the last good copy, if there is one, is in force. ``accepted`` counts the
    entries in force by group and prefix; ``unreadable`` and ``rejected`` the lines that are not, and the first of each.
    ``allows``: what it lists never matches. ``age_s`` counts from ``fetched_at``, the last whole download.
    """

    name: str
    title: str
    allows: bool
    state: Literal["empty", "ok", "stale", "quarantined"]
    source: str
    licence: str
    attribution: str
    homepage: str
    entries_v4: int
    entries_v6: int
    accepted: int
    duplicates: int
    masked: int
    skipped: int
    unreadable: int
    first_errors: tuple[LineError, ...]
    rejected: dict[str, int]
    first_rejected_lines: dict[str, int]
    local_listed: tuple[LocalListed, ...]
    age_s: float | None
    fetched_at: float | None
    checked_at: float | None
    changed_at: float | None
    next_due_at: float
    last_error: str
    last_error_reason: str
    overlap: Overlap


def status_of(held: Held, now: float) -> FeedStatus:
    """The row of one feed; ``now`` is UTC seconds since 1970."""
    feed, state, parsed, sifted = held.feed, held.state, held.parsed or Parsed(), held.sifted
    entries = len(sifted.entries) if sifted is not None else 0
    entries_v6 = sifted.entries_v6 if sifted is not None else 0
    first_lines: dict[str, int] = {}
    for rejected in sifted.rejected_kept if sifted is not None else ():
        first_lines.setdefault(rejected.reason, rejected.line)
    return FeedStatus(
        name=feed.name,
        title=feed.title,
        allows=feed.allows,
        state=_state_word(held),
        source=safe_url(feed.url) if feed.url else str(feed.path),
        licence=feed.licence,
        attribution=feed.attribution,
        homepage=feed.homepage,
        entries_v4=entries - entries_v6,
        entries_v6=entries_v6,
        accepted=entries,
        duplicates=sifted.duplicates if sifted is not None else 0,
        masked=parsed.masked,
        skipped=parsed.skipped,
        unreadable=parsed.error_count,
        first_errors=tuple(parsed.errors),
        rejected={reason: count for reason, count in sifted.rejected.items() if count} if sifted is not None else {},
        first_rejected_lines=first_lines,
        local_listed=sifted.local_listed if sifted is not None else (),
        age_s=max(now - state.fetched_at, 0.0) if state.fetched_at else None,
        fetched_at=state.fetched_at or None,
        checked_at=state.checked_at or None,
        changed_at=state.changed_at or None,
        next_due_at=state.next_due_at,
        last_error=state.error,
        last_error_reason=state.error_reason,
        overlap=held.overlap,
    )


def _state_word(held: Held) -> Literal["empty", "ok", "stale", "quarantined"]:
    if held.state.refused:
        return "quarantined"
    if held.sifted is None:
        return "empty"
    return "stale" if held.state.error else "ok"
