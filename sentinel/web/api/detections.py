# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``/api/v1/detections``."""

from collections.abc import Mapping, Sequence
from typing import Protocol, get_args

from flask import Blueprint, Response, jsonify

from sentinel import filters
from sentinel.model import Capture, Detection, Direction, Evidence
from sentinel.web import inputs, views
from sentinel.web.api.routes import PREFIX, field_of, filtered, list_limit, listed, not_found, understands
from sentinel.web.flowquery import PROTOCOLS

STATES = ("open", "closed", "delisted")
EVIDENCES: tuple[str, ...] = get_args(Evidence)
KEYS: filters.Keys = {
    "state": filters.Choice(STATES),
    "evidence": filters.Choice(EVIDENCES),
    "direction": filters.Choice(get_args(Direction)),
    "local_ip": filters.Address(),
    "listed_ip": filters.Address(),
    "ip": filters.Address(("local_ip", "listed_ip")),
    "port": filters.Number(65_535, fields=("src_port", "dst_port")),
    "protocol": filters.Number(255, PROTOCOLS),
    "feed": filters.Text(),
    "group": filters.Text(),
    "prefix": filters.Address(),
    "agent": filters.Address(),
}


class Source(Protocol):
    """Every method may be called from any thread and is quick."""

    def detections(self) -> Sequence[Detection]:
        """Return the detections held, in any order."""

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
    @understands("filter", "state", "evidence", "local_ip", "listed_ip", "limit")
    def list_detections() -> Response:
        limit = list_limit()
        found = filtered(source.detections(), _field, KEYS, "state", "evidence", "local_ip", "listed_ip")
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


def _field(detection: Detection, name: str) -> filters.Value:
    if name == "agent":
        return [observer.agent for observer in detection.observers]
    return field_of(detection, name)
