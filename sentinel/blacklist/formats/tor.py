# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Tor's ``exit-addresses``: blocks of ``ExitNode``, ``Published``, ``LastStatus``, ``ExitAddress <address> <date>``."""

from sentinel.blacklist.formats.parsed import Parsed, split_lines

_OTHER_LINES = ("ExitNode", "Published", "LastStatus")


def parse(text: str, group: str) -> Parsed:
    """Every exit address in ``group``. The bulk exit list is plain."""
    parsed = Parsed()
    for number, line in enumerate(split_lines(text), 1):
        words = line.split(None, 2)
        if not words or words[0] in _OTHER_LINES:
            continue
        if words[0] == "ExitAddress" and len(words) > 1:
            parsed.add(words[1], group, number)
        else:
            parsed.fail(number, line, "expected ExitAddress, ExitNode, Published or LastStatus")
    return parsed
