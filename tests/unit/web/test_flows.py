# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``/api/v1/flows``: what a query means, what is refused and how, and how many are answered at once."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentinel.flowmodel import FlowAnswer, FlowQuery, FlowSums, FlowTest
from sentinel.limits import MAX_FLOW_FILTER_VALUES, MAX_FLOW_QUERIES
from sentinel.web.counters import WebCounters
from sentinel.web.flowquery import KEYS, QUERY, parse
from sentinel.web.guards import Guard
from sentinel.web.longpoll import LongPolls
from tests.support.flows import flow_count, flow_second
from tests.support.web import T0, FakeBackend, app_over

V6 = b"\x20\x01\x0d\xb8"


@pytest.fixture
def backend() -> FakeBackend:
    made = FakeBackend()
    big = flow_count(bytes=1_000_000, packets=1_000, samples=4, first_seen=T0, last_seen=T0 + 0.5)
    again = replace(big, agent="10.0.0.2", bytes=900_000, samples=3)
    made.flow_seconds = [
        flow_second(big, flow_count(dst_port=53, bytes=100)),
        flow_second(
            big,
            again,
            unnamed=FlowSums(5, 500, 5),
            evicted_samples=3,
        ),
    ]
    return made


@pytest.fixture
def client(backend: FakeBackend) -> FlaskClient:
    return app_over(backend, Guard("127.0.0.1"), LongPolls(1), WebCounters()).test_client()


def got(client: FlaskClient, query: str, status: int = 200) -> Any:
    answer = client.get(f"/api/v1/flows?{query}")
    assert answer.status_code == status, answer.text
    return answer.json


def test_top_talkers_with_what_they_are_part_of(client: FlaskClient) -> None:
    answer = got(client, "group=src_ip,dst_port&limit=1&series=1")
    assert answer == {
        "flows": [
            {
                "src_ip": "10.0.0.5",
                "dst_port": 443,
                "packets": 2_000,
                "bytes": 2_000_000,
                "samples": 8,
                "packets_error_pct": 69.3,
                "bps": 8_000_000,
                "agents": 2,
                "first_seen": "2025-11-20T12:00:00.000Z",
                "last_seen": "2025-11-20T12:00:00.500Z",
            }
        ],
        "total": 2,
        "limit": 1,
        "group": ["src_ip", "dst_port"],
        "metric": "bytes",
        "counted_once": True,
        "window": {"from": "2025-11-20T12:00:00.000Z", "until": "2025-11-20T12:00:02.000Z", "seconds": 2},
        "amounts": {
            "passed": {"packets": 3_000, "bytes": 2_000_100, "samples": 9},
            "elsewhere": {"packets": 1_000, "bytes": 900_000, "samples": 3},
            "unnamed": {"packets": 5, "bytes": 500, "samples": 5},
            "all": {"packets": 4_005, "bytes": 2_900_600, "samples": 17},
            "evicted_samples": 3,
        },
        "series": {
            "step_s": 1,
            "groups": [{"key": {"src_ip": "10.0.0.5", "dst_port": 443}, "values": [1_000_000, 1_000_000]}],
            "other": [100, 0],
            "elsewhere": [0, 900_000],
            "unnamed": [0, 500],
            "all": [1_000_100, 1_900_500],
        },
    }


def test_a_group_of_which_nothing_counts_has_no_error(client: FlaskClient, backend: FakeBackend) -> None:
    beside = flow_count(agent="10.0.0.2", dst_port=22, packets=1)
    backend.flow_seconds.append(flow_second(beside))
    row = next(each for each in got(client, "group=dst_port")["flows"] if each["dst_port"] == 22)
    assert (row["samples"], row["bps"], row["packets_error_pct"], row["agents"]) == (0, 0, None, 1)


def test_without_a_query_each_flow_is_a_row_of_the_last_minute(client: FlaskClient, backend: FakeBackend) -> None:
    answer = got(client, "")
    assert tuple(answer["flows"][0])[: len(KEYS)] == KEYS
    assert answer["series"] is None
    assert backend.flow_queries == [FlowQuery(KEYS, "bytes", 200, 60, 0, ())]


def test_a_filter_in_words_is_ranges() -> None:
    query = parse(
        {
            "ip": "10.0.0.0/8,2001:db8::/32",
            "agent": "!10.9.0.1",
            "protocol": "tcp,17,50-51",
            "dst_port": "!53,1024-65535",
            "metric": "packets",
            "seconds": "5",
        }
    )
    assert (query.metric, query.seconds) == ("packets", 5)
    assert set(query.tests) == {
        FlowTest(
            ("src_ip", "dst_ip"),
            (
                (b"\x0a\0\0\0", b"\x0a\xff\xff\xff"),
                (b"\x20\x01\x0d\xb8" + bytes(12), b"\x20\x01\x0d\xb8" + b"\xff" * 12),
            ),
        ),
        FlowTest(("agent",), ((b"\x0a\x09\0\x01",) * 2,), negated=True),
        FlowTest(("protocol",), ((6, 6), (17, 17), (50, 51))),
        FlowTest(("dst_port",), ((53, 53), (1024, 65_535)), negated=True),
    }


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("src=10.0.0.1", "unknown key 'src': did you mean src_"),
        ("group=src_ip,dst", "group: unknown key 'dst': did you mean dst_ip?"),
        ("group=", "group: unknown key ''"),
        ("group=src_ip,src_ip", "group names a key twice"),
        ("metric=bits", "metric must be one of bytes, packets, samples"),
        ("seconds=61", "seconds must be a whole number from 1 to 60"),
        ("seconds=0", "from 1 to 60"),
        ("series=21", "series must be a whole number from 0 to 20"),
        ("limit=1001", "from 1 to 1000"),
        ("src_ip=10.0.0", "src_ip: got '10.0.0', expected an address or a prefix"),
        ("src_ip=", "src_ip: got '', expected"),
        ("src_ip=!", "src_ip: got '', expected"),
        ("src_ip=!!10.0.0.1", "src_ip: got '!10.0.0.1', expected"),
        ("src_ip=10.1.0.5/16", "did you mean 10.1.0.0/16?"),
        ("ip=2001:db8::1/32", "did you mean 2001:db8::/32?"),
        ("ip=fe80::1%25eth0", "ip: got 'fe80::1%eth0', expected"),
        ("ip=10.0.0.1/33", "ip: got '10.0.0.1/33', expected"),
        ("dst_port=65536", "dst_port: got '65536', expected a number from 0 to 65535"),
        ("dst_port=53-52", "got '53-52', expected"),
        ("dst_port=53-", "got '53-', expected"),
        ("dst_port=-1", "got '-1', expected"),
        ("dst_port=https", "dst_port: got 'https', expected a number"),
        ("dst_port=٣", "expected a number"),
        ("port=1,,2", "port: got '', expected"),
        (
            "protocol=tpc",
            "protocol: got 'tpc', expected a number from 0 to 255, a range such as 1-6 or one of icmp",
        ),
        ("protocol=256", "from 0 to 255"),
        ("vni=4294967296", "from 0 to 4294967295"),
        ("dst_port=" + "9" * 5_000, "expected a number"),
        ("dst_port=" + ",".join(["1"] * (MAX_FLOW_FILTER_VALUES + 1)), "has 33 values, expected at most 32"),
        ("dst_port=53&dst_port=54", "dst_port is given twice"),
    ],
)
def test_what_makes_no_sense_is_named(client: FlaskClient, backend: FakeBackend, query: str, words: str) -> None:
    answer = got(client, query, 400)
    assert answer["error"] == "query"
    assert words in answer["detail"]
    assert len(answer["detail"]) < 300
    assert backend.flow_queries == []


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.dictionaries(st.sampled_from(sorted(QUERY)), st.text("0123456789abcdef:./-!,_% \0é٣", max_size=24)))
def test_any_query_is_answered_or_refused_with_a_reason(client: FlaskClient, query: dict[str, str]) -> None:
    """No query makes the route fail."""
    assert client.get("/api/v1/flows", query_string=query).status_code in {200, 400}


def test_only_so_many_questions_wait_and_one_is_answered_at_a_time(client: FlaskClient, backend: FakeBackend) -> None:
    refused, go, running = threading.Event(), threading.Event(), [0, 0]
    told, answers = backend.flows, []

    def slow(query: FlowQuery) -> FlowAnswer:
        running[0] += 1
        running[1] = max(running)
        assert go.wait(30)
        running[0] -= 1
        return told(query)

    def ask() -> None:
        answer = client.application.test_client().get("/api/v1/flows")
        answers.append((answer.status_code, answer.headers.get("Retry-After")))
        refused.set()

    backend.flows = slow  # type: ignore[method-assign]  # a slow one in its place
    asking = [threading.Thread(target=ask) for _ in range(MAX_FLOW_QUERIES + 1)]
    for thread in asking:
        thread.start()
    assert refused.wait(30)
    go.set()
    for thread in asking:
        thread.join()
    assert answers == [(503, "1"), *[(200, None)] * MAX_FLOW_QUERIES]
    assert running == [0, 1]


def test_a_question_that_fails_gives_its_place_back(client: FlaskClient, backend: FakeBackend) -> None:
    told = backend.flows

    def failing(_: FlowQuery) -> FlowAnswer:
        raise RuntimeError

    backend.flows = failing  # type: ignore[method-assign,assignment]  # a failing one in its place
    for _ in range(MAX_FLOW_QUERIES + 1):
        got(client, "", 500)
    backend.flows = told  # type: ignore[method-assign]
    got(client, "")
