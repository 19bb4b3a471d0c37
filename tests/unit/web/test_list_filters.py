# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``filter`` on each list: every key finds its rows, and what it leaves out is left out."""

import threading
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from sentinel.limits import MAX_FILTER_CHARS
from sentinel.model import Indicator
from sentinel.web.api import agents, captures, detections, feeds, routes, switches
from sentinel.web.counters import WebCounters
from sentinel.web.guards import Guard
from sentinel.web.longpoll import LongPolls
from tests.support.web import FakeBackend, app_over, capture, detection, observer

OTHER = (Indicator("198.51.100.9/32", "own", "c2"),)


@pytest.fixture
def client() -> FlaskClient:
    backend = FakeBackend()
    backend.found = [
        detection("d1"),
        detection(
            "d2",
            local_ip="10.9.0.5",
            listed_ip="198.51.100.9",
            state="closed",
            evidence="contacted",
            direction="inbound",
            dst_port=53,
            protocol=17,
            indicators=OTHER,
            observers=(observer("10.0.0.9"),),
        ),
    ]
    [mirror] = capture().mirrors
    backend.kept = {
        "c1": capture("c1"),
        "c2": capture(
            "c2",
            local_ip="10.9.0.5",
            listed_ip="198.51.100.9",
            state="ended",
            ending="stopped",
            requested_by="alice",
            indicators=OTHER,
            mirrors=(replace(mirror, switch="border7"),),
        ),
    }
    backend.agent_rows.append(replace(backend.agent_rows[0], agent="10.0.0.9", switch="border7"))
    backend.switch_rows.append(
        replace(backend.switch_rows[0], name="border7", role="border", state="failing", agents=("10.0.0.9",))
    )
    return app_over(backend, Guard("127.0.0.1"), LongPolls(1), WebCounters()).test_client()


# Each term finds the second row of its list and not the first.
TERMS = {
    "detections": [
        *("state:closed", "evidence:contacted", "direction:inbound", "local_ip:10.9.0.0/16", "listed_ip:198.51.100.9"),
        *("ip:198.51.100.0/24", "port:53", "protocol:udp", "feed:own", "group:c?", "prefix:198.51.100.0/24"),
        *("agent:10.0.0.9", "feed~o.n", "-feed:et-*", "-ip:10.1.0.0/16"),
    ],
    "captures": [
        *("state:ended", "local_ip:10.9.0.5", "listed_ip:198.51.100.9", "ip:10.9.0.0/16", "requested_by:al*"),
        *("ending:stopped", "switch:border*", "feed:own", "group:c2", "prefix:198.51.100.9", "-switch:leaf1"),
    ],
    "agents": ["agent:10.0.0.9", "switch:border7", "switch~border[0-9]"],
    "switches": ["name:border*", "role:border", "state:failing", "agent:10.0.0.9/32"],
    "feeds": ["name:et-block", "state:quarantined", "-name~.*compromised", 'licence:BSD-* state:"quarantined"'],
}


@pytest.mark.parametrize(("room", "term"), [(room, term) for room, terms in TERMS.items() for term in terms])
def test_a_term_finds_its_row_alone(client: FlaskClient, room: str, term: str) -> None:
    answer = client.get(f"/api/v1/{room}", query_string={"filter": term})
    assert answer.status_code == 200
    assert answer.json is not None
    rows, everything = answer.json[room], client.get(f"/api/v1/{room}").json
    assert everything is not None
    assert len(everything[room]) == 2
    assert (answer.json["total"], len(rows)) == (1, 1)
    key = {"agents": "agent", "switches": "name", "feeds": "name"}.get(room, "id")
    assert rows[0][key] in {"d2", "c2", "10.0.0.9", "border7", "et-block"}


@pytest.mark.parametrize(
    ("room", "keys"),
    [
        ("detections", detections.KEYS),
        ("captures", captures.KEYS),
        ("agents", agents.KEYS),
        ("switches", switches.KEYS),
        ("feeds", feeds.KEYS),
    ],
)
def test_every_key_is_tried_above(room: str, keys: dict[str, object]) -> None:
    tried = {word.lstrip("-").replace("~", ":").partition(":")[0] for term in TERMS[room] for word in term.split()}
    assert tried == set(keys)


@pytest.mark.parametrize(
    ("room", "term", "words"),
    [
        ("detections", "stat:open", "did you mean state"),
        ("detections", "state:gone", "open, closed, delisted"),
        ("captures", "local_ip:10.9.0.5/16", "did you mean 10.9.0.0/16"),
        ("agents", "switch~(", "RE2"),
        ("feeds", "name", "key:value"),
        ("switches", "x" * (MAX_FILTER_CHARS + 1), "at most"),
    ],
)
def test_a_filter_that_means_nothing_is_refused_with_the_remedy(
    client: FlaskClient, room: str, term: str, words: str
) -> None:
    answer = client.get(f"/api/v1/{room}", query_string={"filter": term})
    assert answer.status_code == 400
    assert answer.json is not None
    assert words in answer.json["detail"]


def test_own_keys_and_the_filter_hold_together(client: FlaskClient) -> None:
    def total(**query: str) -> int:
        answer = client.get("/api/v1/detections", query_string=query).json
        assert answer is not None
        return int(answer["total"])

    assert total(state="closed", filter="evidence:contacted") == 1
    assert total(state="open", filter="evidence:contacted") == 0
    assert total(local_ip="10.9.0.5") == 1


def test_a_dear_filter_ends_and_too_many_at_once_are_refused(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    dear = {"filter": "feed:nothing*"}
    with monkeypatch.context() as short:
        short.setattr(routes, "MAX_FILTER_S", -1.0)
        answer = client.get("/api/v1/detections", query_string=dear)
        assert (answer.status_code, answer.json and answer.json["error"]) == (503, "too_costly")
    with monkeypatch.context() as full:
        full.setattr(routes, "_filtering", threading.BoundedSemaphore(1))
        assert routes._filtering.acquire(blocking=False)
        answer = client.get("/api/v1/captures", query_string=dear)
        assert (answer.status_code, answer.json and answer.json["error"]) == (503, "busy")
        assert client.get("/api/v1/captures").status_code == 200
    assert client.get("/api/v1/detections", query_string=dear).status_code == 200
