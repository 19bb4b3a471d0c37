# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The routes: what they pick, what they pass on, what they refuse."""

import json
import logging
import time
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentinel.errors import StoreError
from sentinel.limits import MAX_LIST_ROWS, MAX_OBSERVERS_SHOWN, MAX_REQUEST_BODY_BYTES
from sentinel.problems import Problem
from sentinel.rows import AgentRow
from sentinel.web.app import ASSET_TYPES
from sentinel.web.counters import WebCounters
from sentinel.web.guards import Guard
from sentinel.web.longpoll import LongPolls
from tests.support.web import T0, FakeBackend, app_over, capture, detection, observer


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def counters() -> WebCounters:
    return WebCounters()


@pytest.fixture
def client(backend: FakeBackend, counters: WebCounters) -> FlaskClient:
    return app_over(backend, Guard("127.0.0.1"), LongPolls(1), counters).test_client()


def got(client: FlaskClient, path: str, status: int = 200) -> Any:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json


def posted(client: FlaskClient, path: str, body: object, status: int) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(path, data=raw, content_type="application/json")
    assert answer.status_code == status, answer.text
    return answer.json


def ids(answer: dict[str, Any], name: str = "detections") -> list[str]:
    return [each["id"] for each in answer[name]]


def test_detections_are_filtered_and_the_latest_come_first(client: FlaskClient, backend: FakeBackend) -> None:
    backend.found = [
        detection("old", last_seen=T0),
        detection("new", last_seen=T0 + 9, evidence="answered", local_ip="10.1.0.6"),
        detection("shut", last_seen=T0 + 5, state="closed", listed_ip="2001:db8::1"),
    ]
    assert ids(got(client, "/api/v1/detections")) == ["new", "shut", "old"]
    assert ids(got(client, "/api/v1/detections?state=closed")) == ["shut"]
    assert ids(got(client, "/api/v1/detections?evidence=answered&local_ip=10.1.0.6")) == ["new"]
    assert ids(got(client, "/api/v1/detections?listed_ip=2001:DB8:0::1")) == ["shut"]
    limited = got(client, "/api/v1/detections?limit=1")
    assert (ids(limited), limited["total"]) == (["new"], 3)


def test_a_detection_says_what_its_capture_is_or_why_there_is_none(client: FlaskClient, backend: FakeBackend) -> None:
    backend.found = [
        detection("live"),
        detection("over", local_ip="10.1.0.6"),
        detection("told", local_ip="10.1.0.7"),
        detection(
            "inside",
            local_ip="10.1.0.8",
            observers=(observer(capturable=False, vni=9), observer(capturable=False, vni=7)),
        ),
        detection("unseen", local_ip="10.1.0.9", observers=()),
    ]
    backend.kept["c0"] = capture("c0", state="ended", created_at=T0 - 9)
    backend.kept["c9"] = capture("c9", state="ended", local_ip="10.1.0.6")
    backend.notes = {"told": "evidence is only contacted", "over": "held for 9 min", "live": "unused"}
    found = {
        each["id"]: (each["capture"] and each["capture"]["id"], each["why_not"])
        for each in got(client, "/api/v1/detections")["detections"]
    }
    assert found == {
        "live": ("c1", None),
        "over": ("c9", "held for 9 min"),
        "told": (None, "evidence is only contacted"),
        "inside": (None, "not capturable: only inside vni 7, 9"),
        "unseen": (None, "not capturable: no switch sees the pair as outermost addresses"),
    }


def test_observers_shown_are_bounded_and_those_with_most_packets(client: FlaskClient, backend: FakeBackend) -> None:
    backend.found = [detection(observers=tuple(observer(packets=n) for n in range(MAX_OBSERVERS_SHOWN + 6)))]
    shown = got(client, "/api/v1/detections/d1")
    assert len(shown["observers"]) == MAX_OBSERVERS_SHOWN
    assert shown["observers_total"] == MAX_OBSERVERS_SHOWN + 6
    assert shown["observers"][0]["packets"] == MAX_OBSERVERS_SHOWN + 5


def test_a_limit_hides_no_live_capture_behind_ended_ones(client: FlaskClient, backend: FakeBackend) -> None:
    backend.kept = {f"e{n}": capture(f"e{n}", state="ended", created_at=T0 + n) for n in range(5)}
    backend.kept["live"] = capture("live", created_at=T0)
    assert ids(got(client, "/api/v1/captures?limit=2"), "captures") == ["live", "e4"]
    assert ids(got(client, "/api/v1/captures?state=ended&limit=1"), "captures") == ["e4"]


def test_rows_are_bounded_and_their_times_are_text(client: FlaskClient, backend: FakeBackend) -> None:
    [row] = backend.agent_rows
    backend.agent_rows = [replace(row, agent=str(n), last_seen=T0, switch=None) for n in range(MAX_LIST_ROWS + 5)]
    backend.switch_rows = [replace(row, answered_at=None) for row in backend.switch_rows]
    answer = got(client, "/api/v1/agents")
    assert (len(answer["agents"]), answer["total"]) == (MAX_LIST_ROWS, MAX_LIST_ROWS + 5)
    first = answer["agents"][0]
    assert (first["agent"], first["last_seen"], first["switch"]) == ("0", "2025-11-20T12:00:00.000Z", None)
    assert got(client, "/api/v1/switches")["switches"][0]["answered_at"] is None


@pytest.mark.parametrize("at", [-1e300, 1e300, 0.0])
def test_absurd_times_are_clamped(client: FlaskClient, backend: FakeBackend, at: float) -> None:
    backend.found = [detection(first_seen=at, last_seen=at)]
    assert got(client, "/api/v1/detections/d1")["first_seen"][:4] in {"1970", "9999"}


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("stat=open", "did you mean state"),
        ("x=1&y=2", "'y'"),
        ("state=gone", "open, closed, delisted"),
        ("evidence=", "contacted"),
        ("local_ip=10.0.0.0/8", "local_ip must be"),
        ("local_ip=fe80::1%25eth0", "local_ip must be"),
        ("limit=0", "from 1 to"),
        ("limit=1001", "from 1 to"),
        ("limit=-1", "whole number"),
        ("limit=٣", "whole number"),
        ("limit=" + "9" * 5000, "whole number"),
        ("state=open&state=open", "twice"),
    ],
)
def test_queries_that_make_no_sense(client: FlaskClient, query: str, word: str) -> None:
    answer = got(client, f"/api/v1/detections?{query}", 400)
    assert answer["error"] == "query" or word.startswith("local_ip")
    assert word in answer["detail"]


@pytest.mark.parametrize("path", ["captures/c1", "agents", "feeds", "switches", "captures/c1/pcap", "detections/d1"])
def test_routes_without_a_query_take_none(client: FlaskClient, path: str) -> None:
    assert "'x'" in got(client, f"/api/v1/{path}?x=1", 400)["detail"]


@pytest.mark.parametrize("key", ["..", ".hidden", "a%00b", "a%20b", "%C3%BC", "x" * 129, "-a", "a%0ab"])
def test_ids_that_cannot_be(client: FlaskClient, key: str) -> None:
    assert got(client, f"/api/v1/captures/{key}/pcap", 400)["error"] == "id"


def test_a_capture_is_started_with_canonical_addresses(client: FlaskClient, backend: FakeBackend) -> None:
    backend.found = [detection(local_ip="2001:db8::5", listed_ip="2001:db8:1::7")]
    body = {"local_ip": "2001:DB8:0::5", "listed_ip": "2001:db8:1:0::7", "seconds": 60}
    answer = posted(client, "/api/v1/captures", body, 201)
    assert (answer["local_ip"], answer["requested_by"]) == ("2001:db8::5", "loopback")
    assert answer["ends_at"] > answer["created_at"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "missing local_ip and listed_ip"),
        (b"nonsense", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 4000, "nested too deeply"),
        (b'{"local_ip":"10.1.0.5","local_ip":"10.1.0.6"}', "twice"),
        ({"local_ip": "10.1.0.5"}, "missing listed_ip"),
        ({"local_ip": "10.1.0.5", "listed_ip": "203.0.113.7", "second": 5}, "did you mean seconds"),
        ({"local_ip": 167772165, "listed_ip": "203.0.113.7"}, "local_ip must be"),
        ({"local_ip": ["10.1.0.5"], "listed_ip": "203.0.113.7"}, "local_ip must be"),
        ({"local_ip": "10.1.0.5/32", "listed_ip": "203.0.113.7"}, "local_ip must be"),
        ({"local_ip": "010.1.0.5", "listed_ip": "203.0.113.7"}, "local_ip must be"),
        ({"local_ip": "10.1.0.5", "listed_ip": "fe80::1%eth0"}, "listed_ip must be"),
        ({"local_ip": "10.1.0.5", "listed_ip": "2001:db8::1"}, "one address family"),
        ({"local_ip": "10.1.0.5", "listed_ip": "10.1.0.5"}, "two hosts"),
        ({"local_ip": "10.1.0.5", "listed_ip": "203.0.113.7", "seconds": 0}, "from 1 to 604800"),
        ({"local_ip": "10.1.0.5", "listed_ip": "203.0.113.7", "seconds": 604801}, "from 1 to"),
        ({"local_ip": "10.1.0.5", "listed_ip": "203.0.113.7", "seconds": True}, "from 1 to"),
        ({"local_ip": "10.1.0.5", "listed_ip": "203.0.113.7", "seconds": None}, "from 1 to"),
        ({"local_ip": "10.1.0.5", "listed_ip": "203.0.113.7", "seconds": 1.5}, "from 1 to"),
        (b'{"local_ip":"10.1.0.5","listed_ip":"203.0.113.7","seconds":NaN}', "not a number"),
    ],
)
def test_bodies_that_make_no_sense(client: FlaskClient, backend: FakeBackend, body: object, word: str) -> None:
    assert word in posted(client, "/api/v1/captures", body, 400)["detail"]
    assert list(backend.kept) == ["c1"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=200))
def test_any_body_is_answered_with_a_reason(client: FlaskClient, raw: bytes) -> None:
    """No bytes make the API fail: it answers 400 with an error and a detail."""
    assert set(posted(client, "/api/v1/captures", raw, 400)) == {"error", "detail"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.text(max_size=20), value=st.text(max_size=20))
def test_any_query_is_answered_with_a_list_or_a_reason(client: FlaskClient, key: str, value: str) -> None:
    """No query makes the API fail."""
    assert client.get("/api/v1/detections", query_string={key: value}).status_code in {200, 400}


def test_a_body_too_large_is_refused_before_it_is_parsed(client: FlaskClient) -> None:
    answer = posted(client, "/api/v1/captures", b" " * (MAX_REQUEST_BODY_BYTES + 1), 413)
    assert answer["error"] == "request_entity_too_large"


def test_changes_reach_the_backend_with_who_asked(client: FlaskClient, backend: FakeBackend) -> None:
    backend.kept["c2"] = capture("c2", state="pending")
    assert posted(client, "/api/v1/captures/c2/approve", {}, 200)["note"] == "approved by loopback"
    assert posted(client, "/api/v1/captures/c2/extend", {"seconds": 60}, 200)["note"] == "extended by loopback"
    assert posted(client, "/api/v1/captures/c2/extend", {}, 400)["error"] == "seconds"
    answer = client.delete("/api/v1/captures/c2", json={})
    assert answer.json is not None
    assert answer.json["state"] == "removing"
    assert client.delete("/api/v1/captures/c2", json={"x": 1}).status_code == 400
    assert posted(client, "/api/v1/feeds/et-compromised/refresh", b"", 202)["requested"] is True
    assert backend.refreshed == ["et-compromised"]


def test_a_quarantined_feed_is_accepted_by_hand(client: FlaskClient, backend: FakeBackend) -> None:
    assert posted(client, "/api/v1/feeds/et-block/accept", b"{}", 200) == {"feed": "et-block", "accepted": True}
    assert "quarantine" in str(posted(client, "/api/v1/feeds/et-compromised/accept", b"{}", 409))
    assert backend.accepted == [("et-block", "loopback")]


def test_a_pcap_comes_whole_and_under_a_harmless_name(
    client: FlaskClient, backend: FakeBackend, tmp_path: Path
) -> None:
    backend.kept["a:1"] = capture("a:1")
    file = tmp_path / "x.pcapng"
    file.write_bytes(bytes(range(256)) * 1000)
    backend.pcaps["a:1"] = file
    answer = client.get("/api/v1/captures/a:1/pcap")
    assert answer.data == file.read_bytes()
    assert answer.headers["Content-Disposition"] == "attachment; filename=a_1.pcapng"
    answer.close()
    file.unlink()
    assert got(client, "/api/v1/captures/a:1/pcap", 404)["error"] == "not_found"


def test_events_go_on_from_where_the_last_answer_ended(client: FlaskClient, backend: FakeBackend) -> None:
    assert got(client, "/api/v1/events") == {"events": [], "next": 0, "gap": False}
    for n in range(150):
        backend.ring.append({"n": n})
    first = got(client, "/api/v1/events?limit=60")
    assert (first["events"][0]["id"], first["next"], first["gap"]) == (51, 110, False)
    second = got(client, f"/api/v1/events?after={first['next']}")
    assert (second["events"][0]["id"], second["next"], second["gap"]) == (111, 150, False)
    assert got(client, "/api/v1/events?after=3")["gap"] is True
    assert got(client, "/api/v1/events?after=150")["events"] == []
    assert got(client, "/api/v1/events?after=9999")["next"] == 150


@pytest.mark.parametrize(
    "query", ["timeout=51", "timeout=-1", "timeout=nan", "timeout=1e1", "after=-1", "after=x", "limit=501"]
)
def test_event_queries_are_bounded(client: FlaskClient, query: str) -> None:
    assert got(client, f"/api/v1/events?{query}", 400)["error"] == "query"


def test_a_poll_times_out_with_nothing(client: FlaskClient) -> None:
    began = time.monotonic()
    assert got(client, "/api/v1/events?timeout=0.2")["events"] == []
    assert 0.15 < time.monotonic() - began < 2


def test_errors_are_json_whatever_happens(
    client: FlaskClient,
    backend: FakeBackend,
    counters: WebCounters,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert got(client, "/api/v1/nowhere", 404)["error"] == "not_found"
    wrong = client.put("/api/v1/captures", json={})
    assert (wrong.status_code, wrong.json and wrong.json["error"]) == (405, "method_not_allowed")
    assert "POST" in wrong.headers["Allow"]

    def locked() -> list[AgentRow]:
        raise StoreError("the database is locked")

    def broken() -> list[AgentRow]:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(backend, "agents", locked)
    assert got(client, "/api/v1/agents", 503) == {"error": "unavailable", "detail": "the database is locked"}
    monkeypatch.setattr(backend, "agents", broken)
    with caplog.at_level(logging.ERROR, "sentinel.web.app"):
        for _ in range(5):
            assert "secret" not in got(client, "/api/v1/agents", 500)["detail"]
    assert counters.errors == 5
    assert len(caplog.records) == 1


def test_health_is_a_status_code_too(client: FlaskClient, backend: FakeBackend) -> None:
    assert got(client, "/healthz")["started_at"].endswith("Z")
    problem = Problem("store", "failing", "sentinel.db", "disk is full", "make room", since=T0)
    backend.state = replace(backend.state, status="degraded", problems=(problem,))
    assert got(client, "/healthz")["problems"] == [
        {
            "code": "store",
            "severity": "failing",
            "subject": "sentinel.db",
            "text": "disk is full",
            "remedy": "make room",
            "since": "2025-11-20T12:00:00.000Z",
        }
    ]
    backend.state = replace(backend.state, status="failing")
    got(client, "/healthz", 503)


def test_liveness_is_about_threads_alone(client: FlaskClient, backend: FakeBackend) -> None:
    backend.state = replace(backend.state, status="failing")
    assert got(client, "/livez") == {"alive": True, "stalled": []}
    backend.silent = {"loop": 61.04}
    assert got(client, "/livez", 503) == {"alive": False, "stalled": [{"thread": "loop", "silent_s": 61.0}]}


def test_the_console_is_served_from_a_closed_list_with_etags(client: FlaskClient) -> None:
    names = [file.name for file in resources.files("sentinel.web").joinpath("static").iterdir()]
    assert "index.html" in names
    for name in names:
        kind = ASSET_TYPES[Path(name).suffix]
        answer = client.get(f"/static/{name}")
        assert answer.content_type == kind
        assert client.get(f"/static/{name}", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    for name in ("openapi.json", "..%2fapi.py", "app.py", ""):
        assert client.get(f"/static/{name}").status_code == 404
