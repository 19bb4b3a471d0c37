# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``/api/v1/agents``."""

from collections.abc import Sequence
from typing import Protocol

from flask import Blueprint, Response

from sentinel import filters
from sentinel.rows import AgentRow
from sentinel.web import views
from sentinel.web.api.routes import PREFIX, filtered, listed, understands

KEYS: filters.Keys = {
    "agent": filters.Address(),
    "switch": filters.Text(),
}


class Source(Protocol):
    """May be called from any thread and is quick."""

    def agents(self) -> Sequence[AgentRow]:
        """Return one row per (agent, sub-agent) heard."""


def blueprint(source: Source) -> Blueprint:
    """Return the route."""
    api = Blueprint("agents", __name__, url_prefix=PREFIX)

    @api.get("/agents")
    @understands("filter")
    def list_agents() -> Response:
        found = filtered(source.agents(), getattr, KEYS)
        return listed("agents", [views.row(each, "last_seen") for each in found])

    return api
