# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Plain lists: one address, CIDR or range per line; FireHOL's .ipset and .netset, CINS, blocklist.de and many more.

Whole-line and trailing comments begin with ``#``, ``;`` or ``//``. Several addresses on one line are separated by
spaces, tabs or commas. A line with anything else in it is an error: it belongs to another format, and guessing would
list wrong things.
"""

import re
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from sentinel.blacklist.formats.parsed import Entry, FormatError, Parsed, split_lines
from sentinel.limits import MAX_FEED_ENTRIES, MAX_FEED_LINE_CHARS

_COMMENT = re.compile(r"[#;]|//")
_SEPARATORS = re.compile(r"[\s,]+")
_RANGE = re.compile(r"([0-9a-fA-F.:]+)\s*-\s*([0-9a-fA-F.:]+)")


def parse(text: str, group: str) -> Parsed:
    """Every entry of ``text`` in ``group``."""
    parsed = Parsed()
    entries = parsed.entries
    for number, line in enumerate(split_lines(text), 1):
        token = line.strip()
        if not token:
            continue
        if token[0].isdigit() and len(token) <= 15:
            # Nine lines of ten are a bare IPv4 address: its text is canonical already once inet_pton takes it.
            try:
                inet_pton(AF_INET, token)
            except (OSError, ValueError):
                add_line(parsed, token, group, number)
                continue
            entries.append(Entry(token + "/32", group, number))
        elif ":" in token and "/" not in token:
            # Of IPv6 most lines are a bare address too.
            try:
                address = inet_ntop(AF_INET6, inet_pton(AF_INET6, token))
            except (OSError, ValueError):
                add_line(parsed, token, group, number)
                continue
            entries.append(Entry(address + "/128", group, number))
        else:
            add_line(parsed, token, group, number)
            continue
        if len(entries) > MAX_FEED_ENTRIES:
            raise FormatError("too-many-entries", f"more than {MAX_FEED_ENTRIES} entries")
    return parsed


def add_line(parsed: Parsed, line: str, group: str, number: int) -> None:
    """Add the addresses of one line that is not blank."""
    if len(line) > MAX_FEED_LINE_CHARS:
        parsed.fail(number, line, f"line longer than {MAX_FEED_LINE_CHARS} characters")
        return
    found = _COMMENT.search(line)
    if found is not None:
        if found.start() == 0:
            parsed.comment(line)
            return
        line = line[: found.start()].rstrip()
    as_range = _RANGE.fullmatch(line)
    if as_range is not None:
        parsed.add_range(as_range[1], as_range[2], group, number)
        return
    tokens = [token for token in _SEPARATORS.split(line) if token]
    if len(tokens) == 1:
        parsed.add(tokens[0], group, number)
        return
    _add_several(parsed, line, tokens, group, number)


def _add_several(parsed: Parsed, line: str, tokens: list[str], group: str, number: int) -> None:
    """All tokens of a line are addresses, or none is taken."""
    trial = Parsed()
    for token in tokens:
        trial.add(token, group, number)
    if trial.error_count:
        parsed.fail(number, line, "more on the line than addresses")
        return
    for token in tokens:
        parsed.add(token, group, number)
