# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``/api/v1/agents``."""

from collections.abc import Sequence
from typing import Protocol

from flask import Blueprint, Response

from sentinel.rows import AgentRow
from sentinel.web import views
from sentinel.web.api.routes import PREFIX, listed


class Source(Protocol):
    """May be called from any thread and is quick."""

    def agents(self) -> Sequence[AgentRow]:
        """Return one row per (agent, sub-agent) heard."""


def blueprint(source: Source) -> Blueprint:
    """Return the route."""
    api = Blueprint("agents", __name__, url_prefix=PREFIX)

    @api.get("/agents")
    def list_agents() -> Response:
        return listed("agents", [views.row(each, "last_seen") for each in source.agents()])

    return api
