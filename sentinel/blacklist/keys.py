# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The keys of a feed's descriptor: what each may hold, and how a wrong one is explained."""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from sentinel.blacklist.formats.registry import FORMATS
from sentinel.limits import MAX_FEED_GROUP_CHARS, MAX_FEED_HEADER_CHARS, MAX_FEED_HEADERS

FEED_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_DURATION = re.compile(r"(\d{1,6})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# RFC 9110, section 5.6.2.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
HEADER_VALUE = re.compile(rf"[\x20-\x7e]{{1,{MAX_FEED_HEADER_CHARS}}}")
# What the download itself says, or what would change how its answer is framed.
_OUR_HEADERS = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "host", "if-modified-since", "if-none-match", "range"),
        *("te", "trailer", "transfer-encoding", "upgrade", "proxy-authorization", "proxy-connection"),
    }
)


def unknown(what: str, got: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(got, known, 1)
    return f"unknown {what} {got!r}" + (
        f", nearest is {near[0]!r}" if near else f", expected one of {', '.join(known)}"
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected text")
    return value.strip()


def _name(value: object) -> str:
    if not isinstance(value, str) or not FEED_NAME.fullmatch(value):
        raise ValueError("expected a name of a-z, 0-9, '.', '_' and '-'")
    return value


def _group(value: object) -> str:
    text = _text(value)
    if len(text) > MAX_FEED_GROUP_CHARS or not text.isprintable():
        raise ValueError(f"expected at most {MAX_FEED_GROUP_CHARS} printable characters")
    return text


def _url(value: object) -> str:
    text = _text(value)
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("expected http:// or https:// and a host")
    return text


def _format(value: object) -> str:
    if not isinstance(value, str) or value not in FORMATS:
        raise ValueError(unknown("format", str(value), FORMATS))
    return value


def _duration(value: object) -> float:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('expected a duration with its unit, like "12h" (s, m, h, d)')
    return float(int(match[1]) * _SECONDS[match[2]])


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("expected a number, 0 or more")
    return value


def _percent(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 100:
        raise ValueError("expected a number from 0 to 100")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")  # noqa: TRY004 - every finding is a ValueError here
    return value


def _path(value: object) -> Path:
    return Path(_text(value))


def _headers(value: object) -> tuple[tuple[str, str], ...]:
    return tuple((name, text.strip()) for name, text in _header_table(value))


def _header_files(value: object) -> tuple[tuple[str, Path], ...]:
    return tuple((name, Path(text)) for name, text in _header_table(value))


def _header_table(value: object) -> list[tuple[str, str]]:
    """Names and values; ValueError never repeats a value, which may be a secret in the wrong place."""
    if not isinstance(value, dict) or len(value) > MAX_FEED_HEADERS:
        raise ValueError(f"expected a table of at most {MAX_FEED_HEADERS} headers")
    pairs = []
    for name, text in value.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name[:64]!r} is no name of a header")
        if name.lower() in _OUR_HEADERS:
            raise ValueError(f"{name} is ours to send")
        if not isinstance(text, str) or not HEADER_VALUE.fullmatch(text.strip()):
            raise ValueError(f"{name}: expected printable ASCII")
        pairs.append((name, text))
    return pairs


# Every key a descriptor may have: the Feed's field and its reader. feeds/README.md documents exactly these.
KEYS: Mapping[str, tuple[str, Callable[[object], object]]] = MappingProxyType(
    {
        "name": ("name", _name),
        "title": ("title", _text),
        "homepage": ("homepage", _url),
        "url": ("url", _url),
        "file": ("path", _path),
        "format": ("format", _format),
        "group": ("group", _group),
        "column": ("column", _group),
        "licence": ("licence", _text),
        "attribution": ("attribution", _text),
        "min_interval": ("min_interval_s", _duration),
        "revision_url": ("revision_url", _url),
        "token_file": ("token_file", _path),
        "headers": ("headers", _headers),
        "header_files": ("header_files", _header_files),
        "client_cert": ("client_cert", _path),
        "client_key": ("client_key", _path),
        "ca_file": ("ca_file", _path),
        "member": ("member", _text),
        "expected_entries": ("expected_entries", _count),
        "confidence": ("confidence", _percent),
        "empty_is_legal": ("empty_is_legal", _flag),
        "reserved_is_legal": ("reserved_is_legal", _flag),
        "allows": ("allows", _flag),
        "default": ("in_default_set", _flag),
    }
)
