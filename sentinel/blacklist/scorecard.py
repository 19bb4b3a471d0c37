# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What became of each feed and what it is worth, as events, the API, the commands and the metrics say it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sentinel.blacklist.refresh import Refreshed
from sentinel.blacklist.status import FeedStatus
from sentinel.limits import MAX_FEED_EVENT_INDICATORS, MAX_FEED_LOCAL_LISTED_KEPT, MAX_FEED_OVERLAPS_SHOWN
from sentinel.model import Indicator
from sentinel.readings import Reading
from sentinel.rows import FeedRow, LineFault, Shared
from sentinel.times import time_text

STATES = ("ok", "stale", "quarantined", "empty")


@dataclass(slots=True)
class Caused:
    """Detections and captures since the start, by every feed that had a part in them."""

    detections: Counter[str] = field(default_factory=Counter)
    captures: Counter[str] = field(default_factory=Counter)


def feeds_in(indicators: Iterable[Indicator]) -> set[str]:
    """The feeds that list an address, each once."""
    return {indicator.feed for indicator in indicators}


def feed_event(outcome: Refreshed, now: float) -> dict[str, object]:
    """What became of a refresh, as an event: counts, and the first of what was added, removed and changed.

    ``now`` is UTC seconds since 1970.
    """
    changes = {
        "added": outcome.difference.added,
        "removed": outcome.difference.removed,
        "changed": outcome.difference.changed,
    }
    return {
        "timestamp": time_text(now),
        "event_type": "feed",
        "feed": {
            "name": outcome.feed,
            "allows": outcome.allows,
            "outcome": outcome.kind,
            "reason": outcome.reason,
            "detail": outcome.detail,
            **{what: len(indicators) for what, indicators in changes.items()},
            "first": {
                what: [{"prefix": one.prefix, "group": one.group} for one in indicators[:MAX_FEED_EVENT_INDICATORS]]
                for what, indicators in changes.items()
                if indicators
            },
            "local_listed": [row.prefix for row in outcome.local_listed[:MAX_FEED_LOCAL_LISTED_KEPT]],
        },
    }


def feed_row(status: FeedStatus, open_detections: Mapping[str, int], caused: Caused | None) -> FeedRow:
    """Return one feed as ``openapi.json`` describes it; ``caused`` is ``None`` outside a running daemon."""
    shared = sorted(status.overlap.shared.items(), key=lambda each: (-each[1], each[0]))
    prefixes = status.overlap.prefixes
    return FeedRow(
        name=status.name,
        title=status.title,
        url=status.source,
        homepage=status.homepage,
        licence=status.licence,
        attribution=status.attribution,
        allows=status.allows,
        state=status.state,
        detail=status.last_error,
        entries=status.accepted,
        entries_v4=status.entries_v4,
        entries_v6=status.entries_v6,
        rejected=sum(status.rejected.values()) + status.unreadable,
        rejected_by_reason={**status.rejected, **({"unreadable": status.unreadable} if status.unreadable else {})},
        first_errors=tuple(LineFault(error.line, error.reason) for error in status.first_errors),
        duplicates=status.duplicates,
        fetched_at=status.fetched_at,
        changed_at=status.changed_at,
        checked_at=status.checked_at,
        next_at=status.next_due_at,
        unique_share=status.overlap.unique_share,
        overlap=tuple(Shared(other, count, count / prefixes) for other, count in shared[:MAX_FEED_OVERLAPS_SHOWN]),
        detections=open_detections.get(status.name, 0),
        detections_total=caused.detections[status.name] if caused is not None else None,
        captures_total=caused.captures[status.name] if caused is not None else None,
    )


def readings(statuses: Iterable[FeedStatus], caused: Caused, now: float) -> Iterator[Reading]:
    """The same as metrics; ``now`` is UTC seconds since 1970."""
    for status in statuses:
        feed = {"feed": status.name}
        for family, count in (("ipv4", status.entries_v4), ("ipv6", status.entries_v6)):
            labels = {**feed, "family": family}
            yield "sentinel_blacklist_feed_entries", labels, float(count), "gauge", "Entries in force, by feed"
        for state in STATES:
            labels = {**feed, "state": state}
            yield "sentinel_blacklist_feed_state", labels, float(status.state == state), "gauge", "1 for its state"
        if status.last_error_reason:
            labels = {**feed, "reason": status.last_error_reason}
            yield "sentinel_blacklist_feed_trouble", labels, 1.0, "gauge", "1 for what is wrong with a feed now"
        for name, at, text in (
            ("age", status.fetched_at, "Since the last whole download"),
            ("changed_age", status.changed_at, "Since the list last changed"),
        ):
            if at is not None:
                yield f"sentinel_blacklist_feed_{name}_seconds", feed, max(now - at, 0.0), "gauge", text
        if status.overlap.unique_share is not None:
            share = status.overlap.unique_share
            yield "sentinel_blacklist_feed_unique_share", feed, share, "gauge", "Share of prefixes no other feed has"
        for other, count in status.overlap.shared.items():
            labels = {**feed, "other": other}
            yield "sentinel_blacklist_feed_overlap", labels, float(count), "gauge", "Prefixes another feed has too"
        for what, counts in (("detections", caused.detections), ("captures", caused.captures)):
            total = float(counts[status.name])
            yield (
                f"sentinel_blacklist_feed_{what}_total",
                feed,
                total,
                "counter",
                f"{what.capitalize()} it had a part in",
            )
