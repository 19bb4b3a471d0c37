# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""DShield ``block.txt``: tab-separated start, end, prefix length, targets, name, country, e-mail.

The row of column titles is sometimes not a comment.
"""

from sentinel.blacklist.formats.parsed import Parsed, entry_lines
from sentinel.blacklist.formats.prefixes import bounds, canonical_prefix, pack


def parse(text: str, group: str) -> Parsed:
    """Each row's ``start/length`` in ``group``; a row whose end is not that prefix's is an error."""
    parsed = Parsed()
    for number, line in entry_lines(text, parsed, "#"):
        if line.startswith("Start"):
            continue
        fields = line.split("\t", 3)
        if len(fields) < 3:
            parsed.fail(number, line, "expected start, end and prefix length with tabs between")
            continue
        start, end, length = (field.strip() for field in fields[:3])
        if _ends_elsewhere(f"{start}/{length}", end):
            parsed.fail(number, line, "the end is not that of start/length")
        else:
            parsed.add(f"{start}/{length}", group, number)
    return parsed


def _ends_elsewhere(prefix: str, end: str) -> bool:
    """Whether both are readable and contradict each other; what is unreadable is reported as such by others."""
    try:
        return bounds(canonical_prefix(prefix)[0])[2] != int.from_bytes(pack(end), "big")
    except ValueError:
        return False
