# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""JSON documents of unknown make: loaded within bounds, looked into without trust."""

import json
from collections.abc import Iterator
from typing import Any

from sentinel.blacklist.formats.parsed import FormatError
from sentinel.limits import MAX_FEED_JSON_CHARS


def load(text: str) -> Any:
    """The document; FormatError when it is none or too large to be held as objects."""
    if len(text) > MAX_FEED_JSON_CHARS:
        raise FormatError("too-large", f"a JSON document of more than {MAX_FEED_JSON_CHARS} characters")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError("format", f"no JSON document: {error}"[:200]) from None


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """The objects of an array, one after another; FormatError when it is no array of objects."""
    if not isinstance(value, list):
        raise FormatError("format", "expected an array of objects")
    for item in value:
        if not isinstance(item, dict):
            raise FormatError("format", "expected an array of objects only")
        yield item


def text_of(item: dict[str, Any], key: str) -> str:
    """The text under ``key``, empty where there is none."""
    value = item.get(key)
    return value if isinstance(value, str) else ""


def first_text(item: dict[str, Any], key: str) -> str:
    """The first text of a list under ``key``, empty where there is none."""
    value = item.get(key)
    return value[0] if isinstance(value, list) and value and isinstance(value[0], str) else ""
