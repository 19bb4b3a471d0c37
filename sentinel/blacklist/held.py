# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What a loader holds of one feed, and what follows from it alone."""

from dataclasses import dataclass

from sentinel.blacklist.cache import FeedState
from sentinel.blacklist.catalogue import Feed
from sentinel.blacklist.fetch import Validators
from sentinel.blacklist.formats.parsed import Parsed
from sentinel.blacklist.overlap import Overlap
from sentinel.blacklist.rules import Sifted
from sentinel.limits import MAX_FEED_AGE_WITHOUT_BODY_S

NO_OVERLAP = Overlap()


@dataclass(slots=True)
class Held:
    """One feed as it is now: its copy in force and what is remembered of it."""

    feed: Feed
    state: FeedState
    parsed: Parsed | None = None
    sifted: Sifted | None = None
    # When each of the sifted entries' prefixes first stood in this feed, in their order.
    since: tuple[float, ...] = ()
    overlap: Overlap = NO_OVERLAP


def has_expired(held: Held, now: float) -> bool:
    """Whether an entry in force has run out."""
    return held.sifted is not None and held.sifted.expires_at is not None and held.sifted.expires_at <= now


def is_due(held: Held, now: float) -> bool:
    """Due by the clock, or because the clock was set back behind the last attempt, or the feed's address changed."""
    state = held.state
    return now >= state.next_due_at or now < state.checked_at - 60 or bool(state.url and not _same_source(held))


def known_since(held: Held) -> dict[str, float]:
    """When each prefix in force first stood in the feed."""
    entries = held.sifted.entries if held.sifted is not None else ()
    return {entry.prefix: at for entry, at in zip(entries, held.since, strict=True)}


def source_of(feed: Feed) -> str:
    """Where a feed comes from; another place makes what is remembered worthless."""
    return str(feed.path) if feed.path is not None else feed.url


def _same_source(held: Held) -> bool:
    return held.state.url == source_of(held.feed)


def comparable_entries(held: Held) -> int | None:
    """The size a download must not fall far short of: none for one's own files, whose owner may empty them."""
    if held.sifted is None or held.feed.path is not None or not _same_source(held):
        return None
    return len(held.sifted.entries)


def validators_of(held: Held, now: float) -> Validators:
    """None when the copy is another's, is not in force, or is so old that the server's word is no longer taken."""
    state = held.state
    old = not 0 <= now - state.fetched_at < MAX_FEED_AGE_WITHOUT_BODY_S
    if held.sifted is None or not _same_source(held) or old:
        return Validators()
    return Validators(state.etag, state.last_modified, state.revision)


def allow_name(feed: Feed, group: str) -> str:
    """What people know an allow list by."""
    if feed.path is None:
        return feed.name if group == feed.name else f"{feed.name} ({group})"
    return str(feed.path) if group == Feed.for_file(feed.path).group else f"{feed.path} ({group})"
