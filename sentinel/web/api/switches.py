# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``/api/v1/switches``."""

from collections.abc import Sequence
from typing import Protocol, get_args

from flask import Blueprint, Response

from sentinel import filters
from sentinel.model import Role
from sentinel.rows import SwitchRow
from sentinel.web import views
from sentinel.web.api.routes import PREFIX, filtered, listed, understands

STATES = ("ok", "degraded", "failing")
KEYS: filters.Keys = {
    "name": filters.Text(),
    "role": filters.Choice(get_args(Role)),
    "state": filters.Choice(STATES),
    "agent": filters.Address(("agents",)),
}


class Source(Protocol):
    """May be called from any thread and is quick."""

    def switches(self) -> Sequence[SwitchRow]:
        """Return one row per switch."""


def blueprint(source: Source) -> Blueprint:
    """Return the route."""
    api = Blueprint("switches", __name__, url_prefix=PREFIX)

    @api.get("/switches")
    @understands("filter")
    def list_switches() -> Response:
        found = filtered(source.switches(), getattr, KEYS)
        return listed("switches", [views.row(each, "answered_at") for each in found])

    return api
