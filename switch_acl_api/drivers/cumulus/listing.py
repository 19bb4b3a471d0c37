# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What cl-acltool prints, to values. Pure; any text is survived."""

import re
from typing import Dict, List, NamedTuple, Optional

from switch_acl_api.drivers.base import Count
from switch_acl_api.grammar import RuleKey

_SECTION = re.compile(r"(iptables|ip6tables|ebtables)")
# `pkts bytes target prot opt in out source destination`, then the target's own words. ip6tables leaves `opt` empty, so
# the columns before ERSPAN's words are counted from the right.
_TARGET_WORDS = re.compile(r"ERSPAN\s+src-ip:(\S+)\s+dst-ip:(\S+)")
_COUNT = re.compile(r"([0-9]{1,19})([KMGT]?)\Z")
_SCALE = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_FILE = re.compile(r"(/\S+?\.rules)\b")
_LINE = re.compile(r"\bline[ :#]*([0-9]{1,6})\b|\.rules:([0-9]{1,6})\b", re.IGNORECASE)


class Blame(NamedTuple):
    file: Optional[str]
    line: Optional[int]


def parse_listing(text: str) -> Dict[RuleKey, Count]:
    """The ERSPAN rules in the output of ``cl-acltool -L all``, with or without ``-N`` and ``-x``."""
    rules: Dict[RuleKey, Count] = {}
    family = 4
    for line in text.splitlines():
        if line.startswith("Listing rules of type"):
            found = _SECTION.search(line)
            family = 6 if found and found.group(1) == "ip6tables" else 4
            continue
        words = _TARGET_WORDS.search(line)
        if words is None:
            continue
        columns = line[: words.start()].split()
        if len(columns) < 8 or columns[2] != "ERSPAN":
            continue
        packets, size = _count(columns[0]), _count(columns[1])
        if packets is None or size is None:
            continue
        source, destination = (_without_length(column) for column in columns[-2:])
        key = (family, columns[-4], source, destination, words.group(1), words.group(2))
        # The first of two equal rules takes all packets.
        rules.setdefault(key, Count(packets, size))
    return rules


def find_blame(lines: List[str]) -> Blame:
    """The file and line that a failing installation names, those of its last "error" line first."""
    for line in [text for text in lines if "error" in text.lower()][::-1] + lines[::-1]:
        file, number = _FILE.search(line), _LINE.search(line)
        if file and ("error" in line.lower() or number):
            return Blame(file.group(1), int(number.group(1) or number.group(2)) if number else None)
    return Blame(None, None)


def error_text(lines: List[str]) -> str:
    """The line that says what went wrong."""
    for line in lines[::-1]:
        if line.lower().startswith("error"):
            return line
    return lines[-1] if lines else "no output"


def _count(text: str) -> Optional[int]:
    found = _COUNT.match(text)
    return int(found.group(1)) * _SCALE[found.group(2)] if found else None


def _without_length(text: str) -> str:
    address, _, length = text.partition("/")
    return address if length in {"32", "128"} else text
