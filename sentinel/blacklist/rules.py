# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The guard between a download and the lists in force, in two levels.

*Line rules* drop a line and count it: one line, whoever wrote it, never decides about its feed. *Feed rules* refuse the
whole download, and the last good copy stays. Lines dropped by line rules say nothing about the health of a download
(FireHOL's level 1 lists private space on purpose); unreadable ones do.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

from sentinel.blacklist.formats.parsed import Entry, Parsed
from sentinel.blacklist.formats.prefixes import bounds
from sentinel.blacklist.networks import Networks
from sentinel.blacklist.text import is_html
from sentinel.errors import FeedError
from sentinel.limits import (
    FEED_GROWTH_CHECKED_FROM,
    MAX_FEED_GROWTH,
    MAX_FEED_LOCAL_LISTED_KEPT,
    MAX_FEED_REJECTS_KEPT,
    MAX_FEED_UNREADABLE_SHARE,
    MIN_FEED_PREFIX_V4,
    MIN_FEED_PREFIX_V6,
    MIN_FEED_SHARE_OF_LAST,
)

LineReason = Literal["floor", "multicast", "reserved", "local", "expired"]
LINE_REASONS: tuple[LineReason, ...] = get_args(LineReason)

_MULTICAST = Networks(["224.0.0.0/4", "ff00::/8"])
# IANA special-purpose registries (RFC 6890 and successors): no host on the Internet answers from there. The first set
# is in use inside networks, so that a wider prefix that covers it is refused too.
_INTERNAL_BLOCKS = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
    *("240.0.0.0/4", "::/3", "4000::/2", "8000::/1"),
]
_UNUSED_BLOCKS = [
    *("192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("2001:db8::/32", "3fff::/20"),
]
_INTERNAL = Networks(_INTERNAL_BLOCKS)
_RESERVED = Networks(_INTERNAL_BLOCKS + _UNUSED_BLOCKS)
_INTERNAL_BOUNDS = [bounds(block) for block in _INTERNAL_BLOCKS]
_WIDEST = {4: 1 << (32 - MIN_FEED_PREFIX_V4), 6: 1 << (128 - MIN_FEED_PREFIX_V6)}


class Rejected(NamedTuple):
    """A readable line that a line rule dropped."""

    prefix: str
    group: str
    line: int
    reason: LineReason


@dataclass(frozen=True, slots=True)
class LocalListed:
    """A feed lists one of our own addresses: ``address`` is the first of them inside ``prefix``."""

    feed: str
    group: str
    prefix: str
    line: int
    address: str


@dataclass(frozen=True, slots=True)
class Sifted:
    """What the line rules leave of a feed. ``rejected`` counts by reason; the ``…_kept`` lists hold the first ones.

    ``expires_at`` is when the first of the entries runs out, UTC seconds since 1970.
    """

    entries: tuple[Entry, ...]
    entries_v6: int
    duplicates: int
    rejected: dict[LineReason, int]
    rejected_kept: tuple[Rejected, ...]
    local_listed: tuple[LocalListed, ...]
    expires_at: float | None = None


def sift(feed: str, entries: Iterable[Entry], local: Networks, *, reserved_is_legal: bool, now: float) -> Sifted:
    """Apply the line rules; ``now`` is UTC seconds since 1970.

    The same prefix in the same group counts once, in two groups twice.
    """
    kept: dict[tuple[str, str], Entry] = {}
    rejected: dict[LineReason, int] = dict.fromkeys(LINE_REASONS, 0)
    rejected_kept: list[Rejected] = []
    local_listed: list[LocalListed] = []
    duplicates = 0
    rules = _LineRules(local, reserved_is_legal)
    for entry in entries:
        key = (entry.prefix, entry.group)
        if key in kept:
            duplicates += 1
            kept[key] = _longer_valid(kept[key], entry)
            continue
        family, first, last = 0, 0, 0
        reason: LineReason | None = None
        if not rules.is_harmless(entry.prefix):
            family, first, last = bounds(entry.prefix)
            reason = rules.reason(family, first, last)
        if reason is None and entry.valid_until is not None and entry.valid_until <= now:
            reason = "expired"
        if reason is None:
            kept[key] = entry
            continue
        rejected[reason] += 1
        if len(rejected_kept) < MAX_FEED_REJECTS_KEPT:
            rejected_kept.append(Rejected(entry.prefix, entry.group, entry.line, reason))
        if reason == "local" and len(local_listed) < MAX_FEED_LOCAL_LISTED_KEPT:
            address = local.first_touched(family, first, last)
            local_listed.append(LocalListed(feed, entry.group, entry.prefix, entry.line, address))
    entries_v6 = sum(":" in prefix for prefix, _ in kept)
    usable = tuple(kept.values())
    return Sifted(
        usable, entries_v6, duplicates, rejected, tuple(rejected_kept), tuple(local_listed), _first_expiry(usable)
    )


def without_expired(sifted: Sifted, now: float) -> Sifted:
    """What is left of a list in force when time has passed; ``now`` is UTC seconds since 1970."""
    left = tuple(entry for entry in sifted.entries if entry.valid_until is None or entry.valid_until > now)
    gone = len(sifted.entries) - len(left)
    return replace(
        sifted,
        entries=left,
        entries_v6=sum(":" in entry.prefix for entry in left),
        rejected={**sifted.rejected, "expired": sifted.rejected["expired"] + gone},
        expires_at=_first_expiry(left),
    )


def check_text(feed: str, text: str) -> None:
    """Refuse what is no list at all, before it is parsed."""
    if is_html(text):
        raise FeedError(feed, "html", "a web page came instead of the list")


def check_download(
    feed: str,
    parsed: Parsed,
    sifted: Sifted,
    *,
    empty_is_legal: bool,
    last_entries: int | None,
    expected_entries: int | None = None,
) -> None:
    """Apply the feed rules; FeedError names the one that is broken.

    ``last_entries`` is the number of usable entries of the last good copy, ``None`` without one. A list that may be
    empty may shrink too, and grows from its usual size, ``expected_entries``, rather than from nothing.
    """
    readable = len(parsed.entries) + parsed.skipped
    errors = parsed.error_count
    if errors > 1 and errors > MAX_FEED_UNREADABLE_SHARE * (readable + errors):
        first = parsed.errors[0]
        raise FeedError(
            feed,
            "unreadable",
            f"{errors} of {readable + errors} lines are unreadable, first line {first.line}: {first.reason}: "
            f"{first.excerpt!r}",
        )
    _check_declared(feed, parsed)
    usable = len(sifted.entries)
    if not parsed.entries and errors:
        raise FeedError(feed, "unreadable", f"its only line is unreadable: {parsed.errors[0].reason}")
    if not usable and not empty_is_legal:
        raise FeedError(feed, "empty", _why_empty(parsed, sifted))
    if last_entries is None:
        return
    if not empty_is_legal and usable < MIN_FEED_SHARE_OF_LAST * last_entries:
        raise FeedError(feed, "shrunk", f"{usable} entries, less than half of the last {last_entries}")
    # Lines and not entries: one range of addresses, whoever wrote it, makes hundreds of entries.
    lines = len({entry.line for entry in sifted.entries})
    usual = max(last_entries, expected_entries or 0)
    if lines > FEED_GROWTH_CHECKED_FROM and lines > MAX_FEED_GROWTH * usual:
        raise FeedError(
            feed, "grown", f"{lines} lines of entries, over {MAX_FEED_GROWTH} times the last {last_entries}"
        )


class _LineRules:
    """The rules of one feed, with one set that answers "none of them" for nearly every line."""

    def __init__(self, local: Networks, reserved_is_legal: bool) -> None:
        self._local = local
        self._reserved_is_legal = reserved_is_legal
        self._suspicious = _RESERVED.united(_MULTICAST).united(local)
        octet = 1 << 24
        # First octets of IPv4 addresses that no rule is about, as text: nine lines of ten begin with one.
        self._harmless = frozenset(
            str(n) for n in range(256) if not self._suspicious.touch(4, n * octet, (n + 1) * octet - 1)
        )
        # The same of IPv6: by the first group, as they are met.
        self._harmless_v6: dict[str, bool] = {}

    def is_harmless(self, prefix: str) -> bool:
        """Whether a prefix is seen at once to be a single host that no rule is about; false says nothing."""
        if prefix.endswith("/128"):
            group = prefix.partition(":")[0]
            harmless = self._harmless_v6.get(group)
            if harmless is None:
                first = int(group or "0", 16) << 112
                harmless = self._harmless_v6[group] = not self._suspicious.touch(6, first, first + (1 << 112) - 1)
            return harmless
        return prefix.endswith("/32") and prefix.partition(".")[0] in self._harmless

    def reason(self, family: int, first: int, last: int) -> LineReason | None:
        if last - first + 1 > _WIDEST[family]:
            return "floor"
        if not self._suspicious.touch(family, first, last):
            return None
        if _MULTICAST.touch(family, first, last):
            return "multicast"
        if self._local.touch(family, first, last):
            # 10.0.0.0/8 in a list of bogons accuses nobody of ours.
            return "local" if self._reserved_is_legal or not _covers_a_block(family, first, last) else "reserved"
        if self._reserved_is_legal:
            return None
        inside = _RESERVED.contain(family, first, last)
        return "reserved" if inside or _INTERNAL.touch(family, first, last) else None


def _covers_a_block(family: int, first: int, last: int) -> bool:
    return any(family == f and first <= low and high <= last for f, low, high in _INTERNAL_BOUNDS)


def _first_expiry(entries: Iterable[Entry]) -> float | None:
    return min((entry.valid_until for entry in entries if entry.valid_until is not None), default=None)


def _longer_valid(one: Entry, other: Entry) -> Entry:
    """Of two equal listings the one that holds longer."""
    if one.valid_until is None or (other.valid_until is not None and other.valid_until <= one.valid_until):
        return one
    return other


def _check_declared(feed: str, parsed: Parsed) -> None:
    """A file that says how many entries it has is believed when it has fewer."""
    read = len(parsed.entries) + parsed.skipped + parsed.error_count
    if parsed.declared_entries is not None and read < parsed.declared_entries:
        raise FeedError(feed, "truncated", f"the file announces {parsed.declared_entries} entries and has {read}")


def _why_empty(parsed: Parsed, sifted: Sifted) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in sifted.rejected.items() if count)
    return f"none of its {len(parsed.entries)} entries is usable ({reasons})" if reasons else "it has no entries"
