# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``/api/v1/detections``."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, get_args

from flask import Blueprint, Response, jsonify

from sentinel.model import Capture, Detection, Evidence
from sentinel.web import inputs, views
from sentinel.web.api.routes import PREFIX, list_limit, listed, not_found, query, understands

STATES = ("open", "closed", "delisted")
EVIDENCES: tuple[str, ...] = get_args(Evidence)


class Source(Protocol):
    """Every method may be called from any thread and is quick."""

    def detections(self) -> Sequence[Detection]:
        """Return all detections held, open and lately closed, in any order."""

    def uncaptured(self) -> Mapping[str, str]:
        """Return why a detection has no live capture, by detection id, as far as the planner decided it."""

    def captures(self) -> Sequence[Capture]:
        """Return the live captures and those that ended last, in any order."""


def blueprint(source: Source) -> Blueprint:
    """Return the routes."""
    api = Blueprint("detections", __name__, url_prefix=PREFIX)

    def shown(found: Sequence[Detection]) -> list[views.Json]:
        captures = views.latest_by_pair(source.captures())
        notes = source.uncaptured()
        return [
            views.detection(each, captures.get((each.local_ip, each.listed_ip)), notes.get(each.id)) for each in found
        ]

    @api.get("/detections")
    @understands("state", "evidence", "local_ip", "listed_ip", "limit")
    def list_detections() -> Response:
        limit, wanted = list_limit(), _filter(query())
        found = [each for each in source.detections() if wanted(each)]
        found.sort(key=lambda each: each.last_seen, reverse=True)
        return listed("detections", shown(found[:limit]), len(found), limit)

    @api.get("/detections/<detection_id>")
    def one_detection(detection_id: str) -> Response:
        key = inputs.checked_id(detection_id)
        found = [each for each in source.detections() if each.id == key]
        if not found:
            raise not_found("detection")
        return jsonify(shown(found)[0])

    return api


def _filter(given: Mapping[str, str]) -> Callable[[Detection], bool]:
    wanted: dict[str, str | None] = {
        "state": inputs.choice(given, "state", STATES),
        "evidence": inputs.choice(given, "evidence", EVIDENCES),
    }
    for key in ("local_ip", "listed_ip"):
        wanted[key] = inputs.address(given[key], key) if key in given else None
    tests = {key: value for key, value in wanted.items() if value is not None}
    return lambda each: all(getattr(each, key) == value for key, value in tests.items())
