# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Emerging Threats ``emerging-Block-IPs.txt``: a header, ``# Rev N``, then sections opened by a comment line.

The section's name is the group (``Feodo``, ``Spamhaus DROP Nets``). A section may be empty, and some are written
without a space after the ``#``. The header is the comment lines up to ``# Rev N``; where that line is missing, the
first unbroken block of two or more comment lines.
"""

import re

from sentinel.blacklist.formats.parsed import Groups, Parsed, split_lines
from sentinel.blacklist.formats.plain import add_line

_REVISION = re.compile(r"#\s*Rev\s+(\d{1,18})\s*", re.IGNORECASE)


def parse(text: str, group: str) -> Parsed:
    """Every entry of ``text`` in the group its section names, before the first section in ``group``."""
    parsed = Parsed()
    lines = split_lines(text)
    groups = Groups(group)
    current = group
    header_end = _header_end(lines)
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if not stripped:
            continue
        if stripped[0] != "#":
            add_line(parsed, stripped, current, number)
            continue
        parsed.comment(stripped)
        revision = _REVISION.fullmatch(stripped)
        if revision is not None:
            parsed.revision = revision[1]
        elif number > header_end and stripped.strip("#* \t"):
            current = groups.named(stripped.lstrip("# \t"))
    return parsed


def _header_end(lines: list[str]) -> int:
    """The number of the header's last line, 0 without a header."""
    start = next((index for index, line in enumerate(lines) if line.strip()), len(lines))
    end = start
    while end < len(lines) and lines[end].lstrip().startswith("#"):
        end += 1
        if _REVISION.fullmatch(lines[end - 1].strip()):
            return end
    return end if end - start >= 2 else 0
