# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Suricata's IP reputation lists: ``address-or-cidr,category,score`` (Suricata user guide, IP Reputation Format)."""

from sentinel.blacklist.formats.parsed import Groups, Parsed, entry_lines

_HIGHEST_SCORE = 127


def parse(text: str, group: str) -> Parsed:
    """Entries grouped by category number (its name is in another file); the score, 0 to 127, is the confidence."""
    parsed = Parsed()
    groups = Groups(group)
    for number, line in entry_lines(text, parsed, "#"):
        fields = [field.strip() for field in line.split(",", 3)]
        if len(fields) != 3 or not _number(fields[1]) or not _number(fields[2]):
            parsed.fail(number, line, "expected address,category,score")
            continue
        confidence = min(int(fields[2]), _HIGHEST_SCORE) * 100 // _HIGHEST_SCORE
        parsed.add(fields[0], groups.named(f"category {fields[1]}"), number, confidence=confidence)
    return parsed


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3
