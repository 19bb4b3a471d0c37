# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""MISP: events (the ``<uuid>.json`` of a feed) and warning lists, which are lists of what to leave alone."""

from collections.abc import Iterator
from typing import Any

from sentinel.blacklist.formats.documents import load, objects, text_of
from sentinel.blacklist.formats.parsed import FormatError, Groups, Parsed

# Attribute types (MISP core format, types) that hold an address: where it stands in a value of several parts.
_ADDRESS_AT = {"ip-src": 0, "ip-dst": 0, "ip-src|port": 0, "ip-dst|port": 0, "domain|ip": 1}


def parse_event(text: str, group: str) -> Parsed:
    """Address attributes that are meant for detection (``to_ids``), grouped by category; ``line`` counts attributes.

    Deleted ones and those that are only context are skipped.
    """
    document = load(text)
    event = document.get("Event", document) if isinstance(document, dict) else None
    if not isinstance(event, dict) or not ("Attribute" in event or "Object" in event or "info" in event):
        raise FormatError("format", "expected a MISP event")
    parsed = Parsed()
    groups = Groups(group)
    for number, attribute in enumerate(_attributes(event), 1):
        part = _ADDRESS_AT.get(text_of(attribute, "type"))
        if part is None or attribute.get("to_ids") is not True or attribute.get("deleted") is True:
            parsed.skipped += 1
            continue
        parts = text_of(attribute, "value").split("|")
        name = groups.named(text_of(attribute, "category"))
        parsed.add(parts[min(part, len(parts) - 1)].strip(), name, number)
    return parsed


def parse_warninglist(text: str, group: str) -> Parsed:
    """The ``list`` of a warning list; what is no address in it (names, patterns) is skipped."""
    document = load(text)
    items = document.get("list") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise FormatError("format", "expected a MISP warning list")
    trial, parsed = Parsed(), Parsed()
    for number, item in enumerate(items, 1):
        errors = trial.error_count
        trial.entries.clear()
        trial.add(item if isinstance(item, str) else "", group, number)
        if trial.error_count > errors:
            parsed.skipped += 1
        else:
            parsed.add(item, group, number)
    return parsed


def _attributes(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The event's own attributes, then those of its objects."""
    yield from objects(event.get("Attribute") or [])
    for item in objects(event.get("Object") or []):
        yield from objects(item.get("Attribute") or [])
