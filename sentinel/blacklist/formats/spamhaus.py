# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Spamhaus DROP as JSON lines (``drop_v4.json``, ``drop_v6.json``); the text form is plain, with ``; SBL…`` behind.

One object a line, not an array: ``{"cidr", "sblid", "rir"}``; the last line ``{"type": "metadata", "records": n, …}``
tells a whole file from a cut one.
"""

import json

from sentinel.blacklist.formats.parsed import FormatError, Parsed, entry_lines
from sentinel.limits import MAX_FEED_LINE_CHARS


def parse(text: str, group: str) -> Parsed:
    """Every ``cidr`` in ``group``. FormatError without the metadata record."""
    parsed = Parsed()
    for number, line in entry_lines(text, parsed, ""):
        item = _object(line)
        if item is None:
            parsed.fail(number, line, "not a JSON object")
        elif item.get("type") == "metadata":
            records = item.get("records")
            parsed.declared_entries = records if isinstance(records, int) and not isinstance(records, bool) else None
            parsed.comment(line)
        elif isinstance(item.get("cidr"), str):
            parsed.add(str(item["cidr"]), group, number)
        else:
            parsed.fail(number, line, "no cidr")
    if parsed.declared_entries is None and parsed.entries:
        raise FormatError("truncated", "the metadata record that ends the file is missing")
    return parsed


def _object(line: str) -> dict[str, object] | None:
    if len(line) > MAX_FEED_LINE_CHARS:
        return None
    try:
        item = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return item if isinstance(item, dict) else None
