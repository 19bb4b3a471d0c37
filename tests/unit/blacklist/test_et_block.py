# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Emerging Threats' block list: its sections are the groups."""

import pytest

from sentinel.blacklist.formats.et_block import parse
from sentinel.limits import MAX_FEED_GROUP_CHARS, MAX_FEED_GROUPS

HEADER = """#
# Emerging Threats fwip rules.
#
# Spam nets identified by Spamhaus (www.spamhaus.org)
#*************************************************************
#
# Rev 4452
"""
SECTIONS = """
# Abuse.ch C&C List

# Feodo


203.0.113.1
203.0.113.2

# Zeus



#Spamhaus DROP Nets

198.51.100.0/24 # SBL1

#Dshield Top Attackers
192.0.2.0/24
"""
GROUPS = [
    ("203.0.113.1/32", "Feodo"),
    ("203.0.113.2/32", "Feodo"),
    ("198.51.100.0/24", "Spamhaus DROP Nets"),
    ("192.0.2.0/24", "Dshield Top Attackers"),
]


def groups(text: str) -> list[tuple[str, str]]:
    parsed = parse(text, "block")
    assert parsed.errors == []
    return [(entry.prefix, entry.group) for entry in parsed.entries]


def test_sections_are_groups_and_the_header_is_none() -> None:
    parsed = parse(HEADER + SECTIONS, "block")
    assert [(entry.prefix, entry.group) for entry in parsed.entries] == GROUPS
    assert parsed.entries[0].line == 14
    assert parsed.revision == "4452"
    assert "# Emerging Threats fwip rules." in parsed.comments


@pytest.mark.parametrize(
    "header",
    [
        "",
        "\n\n",
        "# Emerging Threats\n# All rights reserved\n",
        HEADER.replace("# Rev 4452\n", ""),
        HEADER.replace("# Rev 4452\n", "#\n\n# Rev 4452\n\n"),
    ],
)
def test_other_headers(header: str) -> None:
    assert groups(header + SECTIONS) == GROUPS


def test_entries_before_the_first_section_are_in_the_default_group() -> None:
    assert groups(HEADER + "\n203.0.113.9\n# Feodo\n203.0.113.1\n") == [
        ("203.0.113.9/32", "block"),
        ("203.0.113.1/32", "Feodo"),
    ]


def test_windows_line_ends() -> None:
    assert groups((HEADER + SECTIONS).replace("\n", "\r\n")) == GROUPS


def test_group_names_are_bounded_and_printable() -> None:
    ((_, name),) = groups("# " + "x\x1b" * 500 + "\n203.0.113.1\n")
    assert len(name) == MAX_FEED_GROUP_CHARS
    assert name.isprintable()
    many = "".join(f"# group {n}\n203.0.113.1\n" for n in range(MAX_FEED_GROUPS + 50))
    names = {group for _, group in groups(many)}
    assert len(names) == MAX_FEED_GROUPS + 1
    assert "block" in names


def test_a_rule_file_for_iptables_is_no_list() -> None:
    parsed = parse(HEADER + "\n$IPTABLES -N ETBLOCKLIST\n$IPTABLES -A X -s 192.0.2.0/24 -j DROP\n", "block")
    assert parsed.entries == []
    assert parsed.error_count == 2
