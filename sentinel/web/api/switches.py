# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``/api/v1/switches``."""

from collections.abc import Sequence
from typing import Protocol

from flask import Blueprint, Response

from sentinel.rows import SwitchRow
from sentinel.web import views
from sentinel.web.api.routes import PREFIX, listed


class Source(Protocol):
    """May be called from any thread and is quick."""

    def switches(self) -> Sequence[SwitchRow]:
        """Return one row per switch."""


def blueprint(source: Source) -> Blueprint:
    """Return the route."""
    api = Blueprint("switches", __name__, url_prefix=PREFIX)

    @api.get("/switches")
    def list_switches() -> Response:
        return listed("switches", [views.row(each, "answered_at") for each in source.switches()])

    return api
