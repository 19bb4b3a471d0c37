# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What every format parser returns, and the bounded collector they fill."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sentinel.blacklist.formats.prefixes import canonical_prefix, range_prefixes
from sentinel.errors import FeedReason, OutsideError
from sentinel.limits import (
    MAX_FEED_COMMENTS_KEPT,
    MAX_FEED_ENTRIES,
    MAX_FEED_EXCERPT_CHARS,
    MAX_FEED_GROUP_CHARS,
    MAX_FEED_GROUPS,
    MAX_FEED_LINE_CHARS,
    MAX_FEED_LINE_ERRORS_KEPT,
    MAX_FEED_LINES,
)


class Entry(NamedTuple):
    """One listed prefix. ``prefix`` is canonical CIDR text; ``line`` counts from 1 (or is the object's index, from 1).

    ``valid_until`` is UTC seconds since 1970 after which the listing no longer holds; ``confidence`` is 0 to 100.
    """

    prefix: str
    group: str
    line: int
    valid_until: float | None = None
    confidence: int | None = None


class LineError(NamedTuple):
    """A line that could not be read: where, the start of it (printable), and why."""

    line: int
    excerpt: str
    reason: str


class FormatError(OutsideError):
    """A whole file that is not of its format. ``reason`` is a counter label."""

    def __init__(self, reason: FeedReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(slots=True)
class Parsed:
    """The contents of one feed file.

    ``error_count`` counts every unreadable line, of which ``errors`` holds the first ones. ``masked`` counts entries
    whose host bits were set and have been cleared; ``skipped`` rows that are well formed but list no address (a URL, a
    revoked indicator). ``revision`` and ``declared_entries`` are what the file says of itself, where it does.
    """

    entries: list[Entry] = field(default_factory=list)
    errors: list[LineError] = field(default_factory=list)
    error_count: int = 0
    masked: int = 0
    skipped: int = 0
    comments: list[str] = field(default_factory=list)
    revision: str | None = None
    declared_entries: int | None = None

    def add(
        self, token: str, group: str, line: int, *, until: float | None = None, confidence: int | None = None
    ) -> None:
        """Add an address or CIDR; what is neither becomes a line error."""
        try:
            prefix, masked = canonical_prefix(token)
        except ValueError as error:
            self.fail(line, token, str(error))
            return
        self.masked += masked
        self._append(Entry(prefix, group, line, until, confidence))

    def add_range(self, first: str, last: str, group: str, line: int) -> None:
        """Add every prefix of an address range, both ends included."""
        try:
            prefixes = range_prefixes(first, last)
        except ValueError as error:
            self.fail(line, f"{first}-{last}", str(error))
            return
        for prefix in prefixes:
            self._append(Entry(prefix, group, line))

    def fail(self, line: int, text: str, reason: str) -> None:
        """Count an unreadable line; keep it while there are few."""
        self.error_count += 1
        if len(self.errors) < MAX_FEED_LINE_ERRORS_KEPT:
            self.errors.append(LineError(line, printable(text, MAX_FEED_EXCERPT_CHARS), reason))

    def comment(self, text: str) -> None:
        """Keep the first comments: licence and date of a feed often stand nowhere else."""
        if len(self.comments) < MAX_FEED_COMMENTS_KEPT:
            self.comments.append(printable(text, MAX_FEED_LINE_CHARS))

    def _append(self, entry: Entry) -> None:
        if len(self.entries) >= MAX_FEED_ENTRIES:
            raise FormatError("too-many-entries", f"more than {MAX_FEED_ENTRIES} entries")
        self.entries.append(entry)


class Groups:
    """Names of groups as a feed writes them, made printable, bounded in length and number.

    Names beyond the bound share the default: a feed cannot make us hold a million of them.
    """

    def __init__(self, default: str) -> None:
        self._default = default
        self._names: dict[str, str] = {}

    def named(self, text: str) -> str:
        """The name to use for ``text``."""
        known = self._names.get(text)
        if known is not None:
            return known
        if len(self._names) >= MAX_FEED_GROUPS:
            return self._default
        name = printable(text.strip(), MAX_FEED_GROUP_CHARS) or self._default
        self._names[text] = name
        return name


def printable(text: str, longest: int) -> str:
    """At most ``longest`` characters with everything unprintable replaced, so that it is safe in a log line."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:longest])


def split_lines(text: str) -> list[str]:
    """Lines by LF, CRLF or CR only, so that line numbers agree with an editor's.

    Raises FormatError when there are more lines than any feed has.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.count("\n") > MAX_FEED_LINES:
        raise FormatError("too-many-lines", f"more than {MAX_FEED_LINES} lines")
    return text.split("\n")


def entry_lines(text: str, parsed: Parsed, comment_marks: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that is neither empty nor a comment, which ``parsed`` keeps.

    A comment begins with one of ``comment_marks``. Raises FormatError as ``split_lines``.
    """
    for number, line in enumerate(split_lines(text), 1):
        stripped = line.strip()
        if not stripped:
            continue
        if stripped[0] in comment_marks:
            parsed.comment(stripped)
        else:
            yield number, stripped
