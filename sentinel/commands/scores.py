# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Feeds as tables and lines; rows are the API's (``Feed`` in ``openapi.json``). What feeds write is no markup."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from sentinel.blacklist.catalogue import Feed

Row = dict[str, Any]


def catalogue(feeds: Iterable[Feed]) -> Table:
    """All feeds that can be enabled by name; ``*`` those of the default set."""
    table = _table("NAME", "TITLE", "LICENCE")
    for feed in feeds:
        table.add_row(feed.name + (" *" if feed.in_default_set else ""), Text(feed.title), Text(feed.licence))
    return table


def state_table(rows: Iterable[Row], now: float) -> Table:
    """One line per feed: how it does."""
    table = _table("FEED", "STATE", "V4", "V6", "REFUSED", "AGE", "DETAIL", right={"V4", "V6", "REFUSED", "AGE"})
    for row in rows:
        due = _at(row.get("next_at"))
        wait = "now" if due is None or due <= now else "in " + _span(due - now)
        waiting = f"next {wait}" if str(row.get("url", "")).startswith("http") else ""
        state = f"{row.get('state')}{', allows' if row.get('allows') else ''}"
        table.add_row(
            Text(str(row.get("name"))),
            state,
            str(row.get("entries_v4", "")),
            str(row.get("entries_v6", "")),
            str(row.get("rejected", "")),
            _age(row.get("fetched_at"), now),
            Text(str(row.get("detail") or waiting)),
        )
    return table


def score_table(rows: Iterable[Row]) -> Table:
    """One line per feed: what it is worth."""
    right = {"ENTRIES", "ONLY HERE", "DETECTIONS", "CAPTURES"}
    table = _table("FEED", "ENTRIES", "ONLY HERE", "SHARED WITH", "DETECTIONS", "CAPTURES", "LICENCE", right=right)
    for row in rows:
        table.add_row(
            Text(str(row.get("name"))),
            str(row.get("entries", "")),
            _percent(row.get("unique_share")),
            Text(", ".join(_shared(row)[:3]) or "–"),
            _count(row.get("detections_total")),
            _count(row.get("captures_total")),
            Text(str(row.get("licence", ""))),
        )
    return table


def details(row: Row) -> Iterator[str]:
    """Everything about one feed, a line each."""
    dropped = ", ".join(f"{count} {reason}" for reason, count in (row.get("rejected_by_reason") or {}).items())
    unreadable = "; ".join(f"line {each['line']}: {each['reason']}" for each in row.get("first_errors") or ())
    ever = row.get("detections_total")
    caused = (
        f"{row.get('detections')} open, {ever} since the daemon's start, {_count(row.get('captures_total'))} captured"
    )
    for name, value in (
        ("feed", f"{row.get('name')}: {row.get('title')}"),
        ("source", row.get("url")),
        ("homepage", row.get("homepage")),
        ("licence", row.get("licence")),
        ("attribution", row.get("attribution")),
        ("state", row.get("state")),
        ("what is wrong", row.get("detail")),
        ("allows", "what it lists never matches" if row.get("allows") else ""),
        ("in force", f"{row.get('entries_v4')} IPv4, {row.get('entries_v6')} IPv6, {row.get('duplicates')} twice"),
        ("dropped", dropped),
        ("unreadable", unreadable),
        ("downloaded", row.get("fetched_at") or "never"),
        ("changed", row.get("changed_at") or "never"),
        ("asked", row.get("checked_at") or "never"),
        ("next", row.get("next_at")),
        ("only here", _percent(row.get("unique_share"))),
        ("shared with", ", ".join(_shared(row))),
        ("detections", caused if ever is not None else "no daemon is running"),
    ):
        if value:
            yield f"{name + ':':<15}{value}"


def _shared(row: Row) -> list[str]:
    return [f"{each['feed']} {_percent(each['share'])}" for each in row.get("overlap") or ()]


def _table(*headings: str, right: Iterable[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    return table


def _percent(share: object) -> str:
    return f"{100 * share:.1f} %" if isinstance(share, int | float) else "–"


def _count(value: object) -> str:
    return "–" if value is None else str(value)


def _at(text: object) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
    except ValueError:
        return None


def _age(text: object, now: float) -> str:
    at = _at(text)
    return "never" if at is None else _span(max(now - at, 0.0))


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"
