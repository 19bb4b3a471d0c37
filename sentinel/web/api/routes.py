# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The shared parts of the route files: which query keys a route understands, and its common answers."""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from flask import Flask, Response, g, jsonify, request

from sentinel import filters
from sentinel.limits import DEFAULT_LIST_ROWS, MAX_FILTER_S, MAX_FILTERED_LISTS, MAX_LIST_ROWS
from sentinel.model import Capture, Detection
from sentinel.web import inputs
from sentinel.web.answer import HttpError
from sentinel.web.views import Json

PREFIX = "/api/v1"

_filtering = threading.BoundedSemaphore(MAX_FILTERED_LISTS)
_Row = TypeVar("_Row")
_Route = TypeVar("_Route", bound=Callable[..., Response])


def understands(*keys: str) -> Callable[[_Route], _Route]:
    """Declare the query keys of a route; one that declares none understands none."""

    def declare(route: _Route) -> _Route:
        route.query_keys = frozenset(keys)  # type: ignore[attr-defined]  # read by `check_queries` alone
        return route

    return declare


def check_queries(app: Flask) -> None:
    """Refuse unknown and repeated query keys of every API route before it runs; what is left is ``query()``."""

    @app.before_request
    def check() -> None:
        if request.path.startswith(PREFIX) and request.endpoint is not None:
            known: frozenset[str] = getattr(app.view_functions[request.endpoint], "query_keys", frozenset())
            g.query = inputs.checked_query(list(request.args.items(multi=True)), known)


def query() -> Mapping[str, str]:
    """Return the query of this request; every key is one the route understands."""
    found: Mapping[str, str] = g.query
    return found


def filtered(
    rows: Iterable[_Row], field: Callable[[_Row, str], filters.Value], keys: filters.Keys, *own: str
) -> list[_Row]:
    """Return the rows that pass the ``filter`` of this request and those of the list's ``own`` query keys it gives.

    A filter may be dear by intent, so only so many run at once, each for so long; beyond that the answer is 503.
    """
    given = query()
    terms = [filters.exactly(key, _own_value(keys, key, given[key])) for key in own if key in given]
    chosen = (inputs.filter_of_terms(terms, keys), inputs.filter_of(given, keys))
    if not any(each.tests for each in chosen):
        return list(rows)
    if not _filtering.acquire(blocking=False):
        raise HttpError(503, "busy", "too many filters at once; try again in a second", {"Retry-After": "1"})
    try:
        return list(_passing(rows, field, chosen))
    finally:
        _filtering.release()


def _passing(
    rows: Iterable[_Row], field: Callable[[_Row, str], filters.Value], chosen: Sequence[filters.Filter]
) -> Iterator[_Row]:
    until = time.monotonic() + MAX_FILTER_S
    for row in rows:
        if time.monotonic() > until:
            raise HttpError(503, "too_costly", f"the filter took more than {MAX_FILTER_S:g} s; name fewer patterns")
        get = partial(field, row)
        if all(each.matches(get) for each in chosen):
            yield row


def _own_value(keys: filters.Keys, key: str, text: str) -> str:
    """Return the value of a query key of a list's own, which names one host if it is an address."""
    return inputs.address(text, key) if isinstance(keys[key], filters.Address) else text


def field_of(row: Detection | Capture, name: str) -> filters.Value:
    """Return the value of a filter's key; those of indicators are as many as list the address."""
    if name in {"feed", "group", "prefix"}:
        return [getattr(indicator, name) for indicator in row.indicators]
    value: filters.Value = getattr(row, name)
    return value


def body(known: Collection[str] = frozenset()) -> dict[str, object]:
    """Return the JSON object in the body of this request."""
    return inputs.json_object(request.get_data(), known)


def requester() -> str:
    """Return the name of who sent this request."""
    return str(g.who)


def list_limit() -> int:
    """Return how many rows this request wants at most."""
    return inputs.integer(query(), "limit", DEFAULT_LIST_ROWS, 1, MAX_LIST_ROWS)


def listed(name: str, rows: Sequence[Json], total: int | None = None, limit: int = MAX_LIST_ROWS) -> Response:
    """Return a list under its name, with how many rows there are in all."""
    return jsonify({name: list(rows[:limit]), "total": len(rows) if total is None else total, "limit": limit})


def not_found(what: str) -> HttpError:
    """Return the answer for an id that names nothing."""
    return HttpError(404, "not_found", f"no such {what}")


def client_gone() -> Callable[[], bool]:
    """Return what tells whether the client of this request has hung up."""
    gone: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
    return gone
