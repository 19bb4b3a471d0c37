# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Feed descriptors: what a feed is, where it comes from, what its owner asks of us.

A descriptor is one TOML file named after its feed. The shipped ones are the top-level ``feeds/`` folder, installed as
the resource package ``sentinel.feeds``; a user's own folder adds to them or replaces one by the same name.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sentinel.blacklist.formats.registry import FORMATS
from sentinel.blacklist.keys import FEED_NAME, KEYS, unknown
from sentinel.errors import ConfigError
from sentinel.limits import MAX_FEED_DESCRIPTOR_BYTES, MAX_FEED_GROUP_CHARS

# What goes over verified TLS only.
_SECRETS = ("token_file", "header_files", "client_cert")
# How often a changed file of one's own is noticed.
_FILE_INTERVAL_S = 60.0
# What `enabled` may say instead of a feed's name.
DEFAULT_SET = "default"
_CHECKOUT_FEEDS = Path(__file__).parents[2] / "feeds"


@dataclass(frozen=True, slots=True)
class Feed:
    """One feed. Exactly one of ``url`` and ``path`` is set; ``min_interval_s`` is the owner's wish or our courtesy.

    ``headers`` are sent to the feed's own host only, as are the contents of ``header_files``, which are secret.
    ``member`` is the file wanted of a zip archive with several. ``reserved_is_legal`` takes private and documentation
    addresses seriously: for own lists and demonstrations. ``expected_entries`` is the usual size: what growth is
    compared with when the last copy was smaller. ``confidence``: how far it is believed, 0 to 100; ``None``
    where nobody said. ``allows``: what it lists never matches.
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
    headers: tuple[tuple[str, str], ...] = ()
    header_files: tuple[tuple[str, Path], ...] = ()
    client_cert: Path | None = None
    client_key: Path | None = None
    ca_file: Path | None = None
    member: str = ""
    expected_entries: int | None = None
    confidence: int | None = None
    empty_is_legal: bool = False
    reserved_is_legal: bool = False
    allows: bool = False
    in_default_set: bool = False

    @classmethod
    def for_file(cls, path: Path, format: str = "plain", group: str = "") -> "Feed":  # noqa: A002 - the field's name
        """A list of one's own; its feed is named after the file. ConfigError for an unknown format."""
        if format not in FORMATS:
            raise ConfigError(str(path), [unknown("format", format, FORMATS)])
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


def parse_allow_argument(text: str) -> Feed:
    """The same for a list of what never matches; without a format a JSON document is a MISP warning list."""
    try:
        feed = parse_feed_argument(text)
    except ConfigError as error:
        raise ConfigError("allow lists", error.findings) from None
    given = feed.path is not None and text != str(feed.path) and not text.startswith(f"{feed.path}::")
    if feed.path is not None and not given and _begins_as_json(feed.path):
        feed = replace(feed, format="misp-warninglist")
    return replace(feed, allows=True)


def _begins_as_json(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from error


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
    findings = [unknown("key", key, KEYS) for key in table if key not in KEYS]
    values: dict[str, Any] = {}
    for key, (field, read) in KEYS.items():
        if key not in table:
            continue
        try:
            values[field] = read(table[key])
        except ValueError as error:
            shown = "" if key.startswith("header") else f" = {table[key]!r}"
            findings.append(f"{key}{shown}: {error}")
    findings += _missing(name, table)
    if findings:
        raise ConfigError(str(path), findings)
    values["group"] = values.get("group") or name
    for field in ("path", "token_file", "ca_file", "client_cert", "client_key"):
        if field in values:
            values[field] = path.parent / values[field]
    if "header_files" in values:
        values["header_files"] = tuple((header, path.parent / file) for header, file in values["header_files"])
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
    """The feeds a configuration names, ``default`` being those whose terms let everybody use them.

    ConfigError lists every unknown name with the nearest known one.
    """
    known = {**feeds, DEFAULT_SET: None}
    findings = [unknown("feed", name, known) for name in names if name not in known]
    if findings:
        raise ConfigError("feeds", findings)
    in_default_set = [name for name, feed in feeds.items() if feed.in_default_set]
    chosen = [each for name in names for each in (in_default_set if name == DEFAULT_SET else [name])]
    return [feeds[name] for name in dict.fromkeys(chosen)]


def _missing(name: str, table: Mapping[str, Any]) -> list[str]:
    findings = []
    if not FEED_NAME.fullmatch(name) or name == DEFAULT_SET:
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
    if not str(table.get("url", "")).startswith("https://"):
        findings += [f"{key}: only with an https url" for key in _SECRETS if key in table]
    if "headers" in table and "url" not in table:
        findings.append("headers: only with url")
    if "client_key" in table and "client_cert" not in table:
        findings.append("client_key: only with client_cert")
    if "token_file" in table and "authorization" in _header_names(table):
        findings.append("token_file: is the Authorization header, which stands among the headers already")
    return findings


def _header_names(table: Mapping[str, Any]) -> set[str]:
    tables = (table.get("headers"), table.get("header_files"))
    return {str(name).lower() for each in tables if isinstance(each, dict) for name in each}
