# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""IPsum: ``address<TAB>number of lists it is on``."""

from sentinel.blacklist.formats.parsed import Groups, Parsed, entry_lines


def parse(text: str, group: str) -> Parsed:
    """Entries grouped by their count, as ``level 5``: IPsum's own word for it."""
    parsed = Parsed()
    groups = Groups(group)
    for number, line in entry_lines(text, parsed, "#"):
        address, _, count = line.partition("\t")
        count = count.strip()
        if not (count.isascii() and count.isdigit() and len(count) <= 3):
            parsed.fail(number, line, "expected an address, a tab and a count")
            continue
        parsed.add(address.strip(), groups.named(f"level {int(count)}"), number)
    return parsed
