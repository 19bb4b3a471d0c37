# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""STIX 2.1 bundles and TAXII 2.1 envelopes: Indicator objects whose pattern is about addresses.

A pattern is taken when it says no more than "this address, or that one" (STIX 2.1, section 9). One that also asks for a
port, a sequence or a hash would list far more than its author meant, and is skipped; so is a revoked indicator.
"""

import re
from datetime import UTC, datetime
from typing import Any

from sentinel.blacklist.formats.documents import first_text, load, objects, text_of
from sentinel.blacklist.formats.parsed import FormatError, Groups, Parsed
from sentinel.limits import MAX_FEED_PATTERN_CHARS

_COMPARISON = re.compile(
    r"(?:ipv[46]-addr:value|network-traffic:(?:src|dst)_ref\.value)\s*(?:=|ISSUBSET)\s*'([^'\\]*)'",
)
# What may stand around comparisons in a pattern that is only a list of them.
_ONLY_OR = re.compile(r"(?:[\s\[\]()]|OR\b)*")


def parse(text: str, group: str) -> Parsed:
    """Entries grouped by the first indicator type (or label); ``line`` is the object's number in the bundle, from 1."""
    document = load(text)
    if not isinstance(document, dict) or not isinstance(document.get("objects", []), list):
        raise FormatError("format", "expected a STIX bundle")
    parsed = Parsed()
    groups = Groups(group)
    for number, item in enumerate(objects(document.get("objects", [])), 1):
        if item.get("type") == "indicator":
            _add_indicator(parsed, groups, item, number)
    return parsed


def _add_indicator(parsed: Parsed, groups: Groups, item: dict[str, Any], number: int) -> None:
    pattern = text_of(item, "pattern")
    if len(pattern) > MAX_FEED_PATTERN_CHARS:
        parsed.fail(number, pattern, f"pattern longer than {MAX_FEED_PATTERN_CHARS} characters")
        return
    addresses = _COMPARISON.findall(pattern)
    other = item.get("pattern_type", "stix") != "stix" or not _ONLY_OR.fullmatch(_COMPARISON.sub("", pattern))
    if item.get("revoked") is True or not addresses or other:
        parsed.skipped += 1
        return
    until_text = text_of(item, "valid_until")
    until = _seconds(until_text)
    if until_text and until is None:
        parsed.fail(number, until_text, "valid_until is no timestamp")
        return
    name = groups.named(first_text(item, "indicator_types") or first_text(item, "labels"))
    for address in addresses:
        parsed.add(address, name, number, until=until, confidence=_confidence(item.get("confidence")))


def _confidence(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100 else None


def _seconds(text: str) -> float | None:
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
