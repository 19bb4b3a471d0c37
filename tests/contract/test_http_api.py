# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``openapi.json`` and the routes say the same, and every answer is what it promises."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from sentinel.limits import (
    FLOWS_KEPT_S,
    MAX_EVENTS_PER_POLL,
    MAX_FLOW_QUERIES,
    MAX_FLOW_SERIES,
    MAX_FLOWS_NAMED_PER_S,
    MAX_LIST_ROWS,
    MAX_LONG_POLL_S,
    MAX_OBSERVERS_SHOWN,
)
from sentinel.model import Capture, Detection, Ending
from sentinel.web import flowquery
from sentinel.web.api import captures, detections
from sentinel.web.api.routes import PREFIX
from sentinel.web.counters import WebCounters
from sentinel.web.guards import OPEN_PATHS, Guard
from sentinel.web.longpoll import LongPolls
from tests.support.flows import flow_count, flow_second
from tests.support.schemas import faults, resolve
from tests.support.web import FakeBackend, app_over, capture, detection, observer, tokens

DOCUMENT: dict[str, Any] = json.loads(resources.files("sentinel.web").joinpath("openapi.json").read_text("utf-8"))
METHODS = {"get", "post", "put", "delete", "patch"}
JSON = {"Content-Type": "application/json"}


def build(backend: FakeBackend, *, guarded: bool = False) -> Flask:
    return app_over(backend, Guard("127.0.0.1", (), tokens() if guarded else None), LongPolls(), WebCounters())


@pytest.fixture
def backend(tmp_path: Path) -> FakeBackend:
    made = FakeBackend()
    file = tmp_path / "c2.pcapng"
    file.write_bytes(b"\x0a\x0d\x0d\x0a")
    made.kept["c2"] = capture("c2", state="pending", mirrors=())
    made.kept["c3"] = capture("c3", state="ended", ended_at=2_000_000_000.0, local_ip="10.1.0.6")
    made.pcaps["c2"] = file
    made.found.append(detection("d2", local_ip="10.1.0.9", observers=(observer(capturable=False, vni=7),)))
    made.flow_seconds = [flow_second(flow_count()), flow_second(flow_count(src_port=None, dst_port=None, protocol=1))]
    made.ring.append({"event_type": "alert", "timestamp": "2026-01-01T00:00:00.000000+0000"})
    return made


@pytest.fixture
def client(backend: FakeBackend) -> FlaskClient:
    return build(backend).test_client()


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def test_every_route_is_described_and_every_described_route_exists(backend: FakeBackend) -> None:
    app = build(backend)
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method.lower() in METHODS
    }
    assert routes == {(path, method) for path, method, _ in operations()}


def test_query_keys_are_those_the_routes_know(backend: FakeBackend) -> None:
    app = build(backend)
    endpoints = {
        re.sub(r"<(\w+)>", r"{\1}", rule.rule): rule.endpoint
        for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or ())
    }
    for path, method, operation in operations():
        told = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
        route = app.view_functions[endpoints[path]] if method == "get" else None
        known: frozenset[str] = getattr(route, "query_keys", frozenset())
        assert told == known, path


def test_bounds_and_words_in_the_text_are_those_of_the_code() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert tuple(schemas["Capture"]["properties"]["state"]["enum"]) == captures.STATES
    assert tuple(schemas["Detection"]["properties"]["state"]["enum"]) == detections.STATES
    assert tuple(schemas["Detection"]["properties"]["evidence"]["enum"]) == detections.EVIDENCES
    assert f"at most {MAX_OBSERVERS_SHOWN}" in schemas["Detection"]["properties"]["observers"]["description"]
    query = {
        (path, each["name"]): each["schema"]
        for path, _, operation in operations()
        for each in operation.get("parameters", ())
    }
    assert query[f"{PREFIX}/detections", "limit"]["maximum"] == MAX_LIST_ROWS
    assert query[f"{PREFIX}/events", "limit"]["maximum"] == MAX_EVENTS_PER_POLL
    assert query[f"{PREFIX}/events", "timeout"]["maximum"] == MAX_LONG_POLL_S
    assert query[f"{PREFIX}/flows", "limit"]["maximum"] == MAX_LIST_ROWS
    assert (
        query[f"{PREFIX}/flows", "seconds"]["maximum"] == query[f"{PREFIX}/flows", "seconds"]["default"] == FLOWS_KEPT_S
    )
    assert query[f"{PREFIX}/flows", "series"]["maximum"] == MAX_FLOW_SERIES
    assert tuple(query[f"{PREFIX}/flows", "metric"]["enum"]) == flowquery.METRICS
    told = DOCUMENT["paths"][f"{PREFIX}/flows"]["get"]
    assert f"the {MAX_FLOWS_NAMED_PER_S:,} largest" in told["description"]
    assert MAX_FLOW_QUERIES == 2, "the text says two"
    assert f"one of {', '.join(flowquery.PROTOCOLS)}." in next(
        each["description"] for each in told["parameters"] if each["name"] == "protocol"
    )
    assert tuple(schemas["FlowKey"]["properties"]) == flowquery.KEYS


def test_no_field_of_a_detection_or_capture_is_kept_back() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert {each.name for each in fields(Detection)} <= schemas["Detection"]["properties"].keys()
    assert {each.name for each in fields(Capture)} <= schemas["Capture"]["properties"].keys()
    assert schemas["Capture"]["properties"]["ending"]["enum"] == ["", *get_args(Ending)]


def test_operations_that_need_no_token_are_those_the_guard_lets_through() -> None:
    free = {path for path, _, operation in operations() if operation.get("security") == []}
    assert free == OPEN_PATHS | {"/static/{name}"}


def check(answer: TestResponse, path: str, method: str) -> None:
    """The answer is one that the operation describes, to the last key."""
    described = DOCUMENT["paths"][path][method]["responses"]
    assert str(answer.status_code) in described, f"{method} {path}: {answer.status_code} {answer.text[:200]}"
    response = described[str(answer.status_code)]
    if "$ref" in response:
        response = resolve(response["$ref"], DOCUMENT)
    assert answer.mimetype in response["content"], f"{method} {path}: {answer.mimetype}"
    if answer.mimetype == "application/json":
        schema = response["content"]["application/json"]["schema"]
        assert faults(answer.json, schema, DOCUMENT) == []


GOOD: list[tuple[str, str, str, dict[str, object] | None]] = [
    ("get", "/api/v1/detections", "/api/v1/detections?state=open&evidence=initiated&local_ip=10.1.0.5&limit=5", None),
    ("get", "/api/v1/detections/{detection_id}", "/api/v1/detections/d2", None),
    ("get", "/api/v1/captures", "/api/v1/captures", None),
    ("post", "/api/v1/captures", "/api/v1/captures", {"local_ip": "10.1.0.5", "listed_ip": "203.0.113.7"}),
    ("get", "/api/v1/captures/{capture_id}", "/api/v1/captures/c3", None),
    ("delete", "/api/v1/captures/{capture_id}", "/api/v1/captures/c1", {}),
    ("post", "/api/v1/captures/{capture_id}/approve", "/api/v1/captures/c2/approve", {}),
    ("post", "/api/v1/captures/{capture_id}/extend", "/api/v1/captures/c1/extend", {"seconds": 60}),
    ("get", "/api/v1/captures/{capture_id}/pcap", "/api/v1/captures/c2/pcap", None),
    ("get", "/api/v1/agents", "/api/v1/agents", None),
    ("get", "/api/v1/feeds", "/api/v1/feeds", None),
    ("post", "/api/v1/feeds/{name}/refresh", "/api/v1/feeds/et-compromised/refresh", {}),
    ("post", "/api/v1/feeds/{name}/accept", "/api/v1/feeds/et-block/accept", {}),
    ("get", "/api/v1/switches", "/api/v1/switches", None),
    ("get", "/api/v1/flows", "/api/v1/flows?limit=1", None),
    ("get", "/api/v1/flows", "/api/v1/flows?group=src_ip,dst_port&metric=packets&series=1&ip=10.0.0.0/8", None),
    ("get", "/api/v1/events", "/api/v1/events?after=0&timeout=1.5", None),
    ("get", "/healthz", "/healthz", None),
    ("get", "/livez", "/livez", None),
    ("get", "/metrics", "/metrics", None),
    ("get", "/openapi.json", "/openapi.json", None),
    ("get", "/", "/", None),
    ("get", "/static/{name}", "/static/app.js", None),
]


def test_each_operation_has_an_example_here() -> None:
    assert {(method, path) for method, path, _, _ in GOOD} == {(method, path) for path, method, _ in operations()}


@pytest.mark.parametrize(("method", "path", "url", "body"), GOOD, ids=lambda each: str(each)[:40])
def test_good_answers_fit_their_schema(
    client: FlaskClient, method: str, path: str, url: str, body: dict[str, object] | None
) -> None:
    answer = client.open(url, method=method.upper(), json=body)
    assert answer.status_code < 300
    check(answer, path, method)
    answer.close()


BAD: list[tuple[int, str, str, str, dict[str, object] | None]] = [
    (400, "get", "/api/v1/detections", "/api/v1/detections?stat=open", None),
    (400, "get", "/api/v1/detections/{detection_id}", "/api/v1/detections/d%20d", None),
    (404, "get", "/api/v1/detections/{detection_id}", "/api/v1/detections/none", None),
    (400, "post", "/api/v1/captures", "/api/v1/captures", {"local_ip": "10.1.0.5"}),
    (409, "post", "/api/v1/captures", "/api/v1/captures", {"local_ip": "10.1.0.5", "listed_ip": "192.0.2.1"}),
    (413, "post", "/api/v1/captures", "/api/v1/captures", {"local_ip": "1" * 5000}),
    (415, "delete", "/api/v1/captures/{capture_id}", "/api/v1/captures/c1", None),
    (404, "delete", "/api/v1/captures/{capture_id}", "/api/v1/captures/none", {}),
    (409, "post", "/api/v1/captures/{capture_id}/approve", "/api/v1/captures/c1/approve", {}),
    (404, "post", "/api/v1/captures/{capture_id}/extend", "/api/v1/captures/none/extend", {"seconds": 1}),
    (409, "get", "/api/v1/captures/{capture_id}/pcap", "/api/v1/captures/c1/pcap", None),
    (404, "get", "/api/v1/captures/{capture_id}/pcap", "/api/v1/captures/none/pcap", None),
    (404, "post", "/api/v1/feeds/{name}/refresh", "/api/v1/feeds/none/refresh", {}),
    (404, "post", "/api/v1/feeds/{name}/accept", "/api/v1/feeds/none/accept", {}),
    (409, "post", "/api/v1/feeds/{name}/accept", "/api/v1/feeds/et-compromised/accept", {}),
    (415, "post", "/api/v1/feeds/{name}/accept", "/api/v1/feeds/et-block/accept", None),
    (400, "get", "/api/v1/events", "/api/v1/events?timeout=1e9", None),
    (400, "get", "/api/v1/flows", "/api/v1/flows?src_ip=10.1.0.5/8", None),
    (404, "get", "/static/{name}", "/static/openapi.json", None),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: f"{case[0]} {case[1]} {case[3]}"[:60])
def test_bad_answers_fit_theirs(client: FlaskClient, case: tuple[int, str, str, str, dict[str, object] | None]) -> None:
    status, method, path, url, body = case
    answer = client.open(url, method=method.upper(), json=body)
    assert answer.status_code == status
    check(answer, path, method)


@pytest.mark.parametrize(("path", "method"), [(path, method) for path, method, _ in operations()])
def test_without_a_token_each_operation_answers_as_described(backend: FakeBackend, path: str, method: str) -> None:
    client = build(backend, guarded=True).test_client()
    url = re.sub(r"\{(\w+)\}", lambda name: "app.js" if path.startswith("/static") else "c1", path)
    answer = client.open(url, method=method.upper(), headers=JSON if method != "get" else {})
    assert answer.status_code == (200 if "security" in DOCUMENT["paths"][path][method] else 401)
    check(answer, path, method)
    answer.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda each: each.update(extra=1),
        lambda each: each.pop("layer"),
        lambda each: each.update(first_seen=1.5),
        lambda each: each.update(state="gone"),
        lambda each: each["indicators"][0].pop("feed"),
    ],
)
def test_the_check_itself_sees_faults(client: FlaskClient, spoil: Callable[[dict[str, Any]], object]) -> None:
    answer = client.get("/api/v1/detections").json
    assert answer is not None
    spoil(answer["detections"][0])
    assert faults(answer, DOCUMENT["components"]["schemas"]["Detections"], DOCUMENT)
