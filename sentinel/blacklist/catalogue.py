# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Feed descriptors: what a feed is, where it comes from, what its owner asks of us.

A descriptor is one TOML file named after its feed. The shipped ones are the top-level ``feeds/`` folder, installed as
the resource package ``sentinel.feeds``; a user's own folder adds to them or replaces one by the same name.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from sentinel.blacklist.formats.registry import FORMATS
from sentinel.errors import ConfigError
from sentinel.limits import MAX_FEED_DESCRIPTOR_BYTES, MAX_FEED_GROUP_CHARS

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_DURATION = re.compile(r"(\d{1,6})(s|m|h|d)")
# How often a changed file of one's own is noticed.
_FILE_INTERVAL_S = 60.0
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_CHECKOUT_FEEDS = Path(__file__).parents[2] / "feeds"


@dataclass(frozen=True, slots=True)
class Feed:
    """One feed. Exactly one of ``url`` and ``path`` is set; ``min_interval_s`` is the owner's wish or our courtesy.

    ``reserved_is_legal`` takes private and documentation addresses seriously: for own lists and demonstrations.
    ``expected_entries`` is the usual size, for people to compare.
    """

    name: str
    format: str
    group: str
    column: str = ""
    url: str = ""
    path: Path | None = None
    title: str = ""
    homepage: str = ""
    licence: str = ""
    attribution: str = ""
    min_interval_s: float = 43_200.0
    revision_url: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None
    expected_entries: int | None = None
    empty_is_legal: bool = False
    reserved_is_legal: bool = False

    @classmethod
    def for_file(cls, path: Path, format: str = "plain", group: str = "") -> "Feed":  # noqa: A002 - the field's name
        """A list of one's own; its feed is named after the file. ConfigError for an unknown format."""
        if format not in FORMATS:
            raise ConfigError(str(path), [_unknown("format", format, FORMATS)])
        name = re.sub(r"[^a-z0-9_.-]+", "-", path.name.rsplit(".", 1)[0].lower()).strip("-._")[:63] or "file"
        return cls(
            name=name,
            format=format,
            group=group[:MAX_FEED_GROUP_CHARS] or name,
            path=path,
            title=path.name,
            min_interval_s=_FILE_INTERVAL_S,
            empty_is_legal=True,
            reserved_is_legal=True,
        )


def parse_feed_argument(text: str) -> Feed:
    """``FILE[:FORMAT[:GROUP]]`` of the command line; ConfigError says what is wrong.

    A path may hold colons itself: the longest beginning of ``text`` that is a file is the path.
    """
    cuts = [len(text), *(match.start() for match in reversed(list(re.finditer(":", text))))]
    for cut in cuts:
        path = Path(text[:cut])
        if text[:cut] and path.is_file():
            format_name, _, group = text[cut + 1 :].partition(":")
            return Feed.for_file(path, format_name or "plain", group)
    raise ConfigError("--feed", [f"{text!r}: no such file (expected FILE[:FORMAT[:GROUP]])"])


def shipped_descriptors() -> Mapping[str, Feed]:
    """The feeds that come with Sentinel, by name; ConfigError would be our mistake."""
    return read_descriptors(shipped_folder())


def shipped_folder() -> Path:
    """Where the shipped descriptors are: the installed resource package, else this checkout's ``feeds/``."""
    try:
        found = resources.files("sentinel.feeds")
    except ModuleNotFoundError:
        return _CHECKOUT_FEEDS
    # A namespace package is a MultiplexedPath, whose own text is no path; its parts are.
    return Path(str(found.joinpath("README.md"))).parent


def read_descriptors(folder: Path) -> Mapping[str, Feed]:
    """Every ``*.toml`` of a folder, by name. ConfigError carries the findings of all files at once."""
    feeds: dict[str, Feed] = {}
    findings: list[str] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            feed = read_descriptor(path)
        except ConfigError as error:
            findings += [f"{path.name}: {line}" for line in error.findings]
        else:
            feeds[feed.name] = feed
    if findings:
        raise ConfigError(str(folder), findings)
    return MappingProxyType(feeds)


def read_descriptor(path: Path) -> Feed:
    """One descriptor file. ConfigError names every key that is wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FEED_DESCRIPTOR_BYTES + 1)
        if len(data) > MAX_FEED_DESCRIPTOR_BYTES:
            raise ConfigError(str(path), [f"longer than {MAX_FEED_DESCRIPTOR_BYTES} bytes"])
        table = tomllib.loads(data.decode())
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from error
    return descriptor(path.stem, table, path)


def descriptor(name: str, table: Mapping[str, Any], path: Path) -> Feed:
    """A descriptor's table to a Feed. ``path`` is its file: relative paths in it start from the file's folder."""
    findings = [_unknown("key", key, KEYS) for key in table if key not in KEYS]
    values: dict[str, Any] = {}
    for key, (field, read) in KEYS.items():
        if key not in table:
            continue
        try:
            values[field] = read(table[key])
        except ValueError as error:
            findings.append(f"{key} = {table[key]!r}: {error}")
    findings += _missing(name, table)
    if findings:
        raise ConfigError(str(path), findings)
    values["group"] = values.get("group") or name
    for field in ("path", "token_file", "ca_file"):
        if field in values:
            values[field] = path.parent / values[field]
    return Feed(**{**values, "name": name})


def with_distinct_names(feeds: Iterable[Feed]) -> list[Feed]:
    """The feeds, later ones of a name already taken numbered: two files of one's own may be called the same."""
    named: dict[str, Feed] = {}
    for feed in feeds:
        name, number = feed.name, 2
        while name in named:
            name, number = f"{feed.name}-{number}", number + 1
        named[name] = replace(feed, name=name)
    return list(named.values())


def select(names: Sequence[str], feeds: Mapping[str, Feed]) -> list[Feed]:
    """The feeds a configuration names; ConfigError lists every unknown name with the nearest known one."""
    findings = [_unknown("feed", name, feeds) for name in names if name not in feeds]
    if findings:
        raise ConfigError("feeds", findings)
    return [feeds[name] for name in dict.fromkeys(names)]


def _missing(name: str, table: Mapping[str, Any]) -> list[str]:
    findings = []
    if not _NAME.fullmatch(name):
        findings.append(f"the file's name {name!r} is not of a-z, 0-9, '.', '_' and '-'")
    if table.get("name", name) != name:
        findings.append(f"name = {table['name']!r}: expected {name!r}, as the file is called")
    findings += [f"{key}: missing" for key in ("title", "format", "licence") if key not in table]
    if ("url" in table) == ("file" in table):
        findings.append("url, file: expected exactly one of them")
    if "column" in table and table.get("format") != "csv":
        findings.append('column: only with format = "csv"')
    if "revision_url" in table and "url" not in table:
        findings.append("revision_url: only with url")
    if "token_file" in table and not str(table.get("url", "")).startswith("https://"):
        findings.append("token_file: only with an https url")
    return findings


def _unknown(what: str, got: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(got, known, 1)
    return f"unknown {what} {got!r}" + (
        f", nearest is {near[0]!r}" if near else f", expected one of {', '.join(known)}"
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected text")
    return value.strip()


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
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
        raise ValueError(_unknown("format", str(value), FORMATS))
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


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")  # noqa: TRY004 - every finding is a ValueError here
    return value


def _path(value: object) -> Path:
    return Path(_text(value))


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
        "ca_file": ("ca_file", _path),
        "expected_entries": ("expected_entries", _count),
        "empty_is_legal": ("empty_is_legal", _flag),
        "reserved_is_legal": ("reserved_is_legal", _flag),
    }
)
