# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Address ranges ``first-last``, with or without ``label:`` before them (the P2P form of peer block lists)."""

import re

from sentinel.blacklist.formats.parsed import Parsed, entry_lines
from sentinel.limits import MAX_FEED_LINE_CHARS

# The label may hold colons itself, so that only IPv4 ranges can have one.
_LABELLED = re.compile(r".*:\s*([0-9.]{7,15})\s*-\s*([0-9.]{7,15})")
_BARE = re.compile(r"([0-9a-fA-F.:]{2,45})\s*-\s*([0-9a-fA-F.:]{2,45})")


def parse(text: str, group: str) -> Parsed:
    """Each range as the fewest prefixes that are exactly it, all in ``group``."""
    parsed = Parsed()
    for number, line in entry_lines(text, parsed, "#;"):
        found = None
        if len(line) <= MAX_FEED_LINE_CHARS:
            found = _BARE.fullmatch(line) or _LABELLED.fullmatch(line)
        if found is None:
            parsed.fail(number, line, "expected first-last")
        else:
            parsed.add_range(found[1], found[2], group, number)
    return parsed
