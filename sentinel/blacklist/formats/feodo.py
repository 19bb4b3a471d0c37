# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""abuse.ch Feodo Tracker in its text and JSON forms (the CSV form is in ``columns``). No entries at all is valid."""

import re

from sentinel.blacklist.formats import plain
from sentinel.blacklist.formats.documents import load, objects, text_of
from sentinel.blacklist.formats.parsed import Groups, Parsed

_END = re.compile(r"# END (\d{1,9}) entries")


def parse_text(text: str, group: str) -> Parsed:
    """``ipblocklist.txt``: plain, with a trailer that counts the entries."""
    parsed = plain.parse(text, group)
    trailer = _END.search(text)
    parsed.declared_entries = int(trailer[1]) if trailer else None
    return parsed


def parse_json(text: str, group: str) -> Parsed:
    """``ipblocklist.json``: an array of objects with ``ip_address`` and ``malware``; lines are objects, from 1."""
    parsed = Parsed()
    groups = Groups(group)
    for number, item in enumerate(objects(load(text)), 1):
        parsed.add(text_of(item, "ip_address"), groups.named(text_of(item, "malware")), number)
    return parsed
