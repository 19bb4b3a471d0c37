# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what a request says: query, body, ids. Pure; raises ``HttpError`` with status 400."""

import ipaddress
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from sentinel import filters
from sentinel.filters import FilterError
from sentinel.limits import MAX_WEB_ID_CHARS
from sentinel.web.answer import HttpError

_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.:-]{{0,{MAX_WEB_ID_CHARS - 1}}}")
_INTEGER = re.compile(r"[0-9]{1,18}")
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


def bad(code: str, detail: str) -> HttpError:
    """Make the answer to a request that makes no sense."""
    return HttpError(400, code, detail)


def checked_id(value: str) -> str:
    """Return an id or a name from a path."""
    if not _ID.fullmatch(value):
        raise bad("id", f"an id is 1 to {MAX_WEB_ID_CHARS} letters, digits, '_', '.', ':' or '-'")
    return value


def checked_query(pairs: Sequence[tuple[str, str]], known: Collection[str]) -> dict[str, str]:
    """Return a query as a mapping; unknown and repeated keys are errors, all unknown ones named at once."""
    unknown = sorted({key for key, _ in pairs if key not in known})
    if unknown:
        raise bad("query", "; ".join(unknown_key(key, known) for key in unknown[:10]))
    query: dict[str, str] = {}
    for key, value in pairs:
        if key in query:
            raise bad("query", f"{key} is given twice")
        query[key] = value
    return query


def unknown_key(key: str, known: Collection[str]) -> str:
    """Say that a key is unknown, and which was meant."""
    return f"unknown key {key[:64]!r}: {filters.nearest(key, known)}"


def filter_of(query: Mapping[str, str], keys: filters.Keys) -> filters.Filter:
    """Return the ``filter`` of a query; one that holds for every row if there is none."""
    try:
        return filters.parse(query.get("filter", ""), keys)
    except FilterError as error:
        raise bad("query", f"filter: {error}") from error


def filter_of_terms(terms: Iterable[filters.Term], keys: filters.Keys) -> filters.Filter:
    """Return the filter that a query's own keys make."""
    try:
        return filters.of_terms(terms, keys)
    except FilterError as error:
        raise bad("query", str(error)) from error


def choice(query: Mapping[str, str], key: str, values: Sequence[str]) -> str | None:
    """Return one of ``values``, if given."""
    value = query.get(key)
    if value is not None and value not in values:
        raise bad("query", f"{key} must be one of {', '.join(values)}")
    return value


def integer(query: Mapping[str, str], key: str, default: int, low: int, high: int) -> int:
    """Return a whole number within bounds."""
    text = query.get(key)
    if text is None:
        return default
    if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
        raise bad("query", f"{key} must be a whole number from {low} to {high}")
    return int(text)


def seconds(query: Mapping[str, str], key: str, default: float, high: float) -> float:
    """Return a number of seconds from 0 to ``high``."""
    text = query.get(key)
    if text is None:
        return default
    if not _SECONDS.fullmatch(text) or float(text) > high:
        raise bad("query", f"{key} must be seconds from 0 to {high:g}")
    return float(text)


def address(value: object, key: str) -> str:
    """Return one host's address in its usual form."""
    try:
        found = ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or (isinstance(found, ipaddress.IPv6Address) and found.scope_id is not None):
        raise bad(key, f"{key} must be an IPv4 or IPv6 address")
    return str(found)


def json_object(body: bytes, known: Collection[str]) -> dict[str, object]:
    """Return the JSON object in a body; an empty body is an empty object."""
    if not body.strip():
        return {}
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_no_repeats, parse_constant=_no_constants)
    except RecursionError as error:
        raise bad("body", "the body is nested too deeply") from error
    except ValueError as error:
        raise bad("body", f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise bad("body", "the body must be a JSON object")
    unknown = sorted(key for key in value if key not in known)
    if unknown:
        raise bad("body", "; ".join(unknown_key(key, known) for key in unknown[:10]))
    return value


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is given twice")
    return value


def _no_constants(name: str) -> object:
    raise ValueError(f"{name} is not a number")


def body_seconds(body: Mapping[str, object], high: int) -> int | None:
    """Return the whole number of seconds of a body, if given."""
    value = body.get("seconds")
    if value is None and "seconds" not in body:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
        raise bad("seconds", f"seconds must be a whole number from 1 to {high}")
    return value


def address_pair(body: Mapping[str, object]) -> tuple[str, str]:
    """Return the two hosts of a conversation."""
    missing = [key for key in ("local_ip", "listed_ip") if key not in body]
    if missing:
        raise bad("body", f"missing {' and '.join(missing)}")
    local_ip, listed_ip = address(body["local_ip"], "local_ip"), address(body["listed_ip"], "listed_ip")
    if ipaddress.ip_address(local_ip).version != ipaddress.ip_address(listed_ip).version:
        raise bad("listed_ip", "local_ip and listed_ip must be of one address family")
    if local_ip == listed_ip:
        raise bad("listed_ip", "local_ip and listed_ip must be two hosts")
    return local_ip, listed_ip
