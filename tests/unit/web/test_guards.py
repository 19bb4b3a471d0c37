# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Who is let in, from which page, under which name."""

import pytest
from flask.testing import FlaskClient

from sentinel.errors import ConfigError
from sentinel.web.counters import WebCounters
from sentinel.web.guards import Authority, Guard, is_loopback, must_be_loopback, parse_host, same_origin
from sentinel.web.longpoll import LongPolls
from tests.support.web import TOKEN, FakeBackend, app_over, tokens

PAIR = {"local_ip": "10.1.0.5", "listed_ip": "203.0.113.7"}


def client(
    bound: str = "127.0.0.1", names: tuple[str, ...] = (), *, guarded: bool = False, counters: WebCounters | None = None
) -> FlaskClient:
    guard = Guard(bound, names, tokens() if guarded else None)
    return app_over(FakeBackend(), guard, LongPolls(), counters or WebCounters()).test_client()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost", Authority("localhost", None)),
        ("LocalHost.:8008", Authority("localhost", 8008)),
        ("127.0.0.1:8008", Authority("127.0.0.1", 8008)),
        ("[::1]:8008", Authority("::1", 8008)),
        ("[0:0::1]", Authority("::1", None)),
        ("", None),
        ("a b", None),
        ("localhost:", None),
        ("localhost:8008, evil.example", None),
        ("user@localhost", None),
        ("[::1", None),
        ("[zz]", None),
        ("localhost/", None),
        ("localhost:123456", None),
    ],
)
def test_host_header(text: str, expected: Authority | None) -> None:
    assert parse_host(text) == expected


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:8008", "[::1]:9", "LOCALHOST:80", "sentinel.example", "SENTINEL.example.:443"]
)
def test_known_hosts_are_answered(host: str) -> None:
    assert client(names=("Sentinel.example",)).get("/api/v1/agents", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.example", "10.0.0.1", "x, localhost", ""]
)
@pytest.mark.parametrize("path", ["/api/v1/agents", "/healthz", "/", "/static/app.js", "/metrics", "/nowhere"])
def test_other_hosts_are_not(host: str, path: str) -> None:
    answer = client().get(path, headers={"Host": host})
    assert answer.status_code == 421
    assert answer.json is not None
    assert answer.json["error"] == "host"


def test_bound_to_every_address_any_address_is_a_host_but_no_name_is() -> None:
    everywhere = client("0.0.0.0", guarded=True)
    auth = {"Authorization": f"Bearer {TOKEN}"}
    assert everywhere.get("/api/v1/agents", headers={"Host": "192.0.2.9:8008", **auth}).status_code == 200
    assert everywhere.get("/api/v1/agents", headers={"Host": "evil.example", **auth}).status_code == 421


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://localhost:8008", "localhost:8008", True),
        ("https://sentinel.example", "sentinel.example", True),
        ("https://sentinel.example", "sentinel.example:443", True),
        ("http://[::1]:8008", "[::1]:8008", True),
        ("http://localhost:3000", "localhost:8008", False),
        ("http://127.0.0.1:8008", "localhost:8008", False),
        ("http://localhost", "localhost:8008", False),
        ("null", "localhost:8008", False),
        ("", "localhost", False),
        ("file://localhost", "localhost", False),
        ("http://localhost:8008@evil.example", "localhost:8008", False),
        ("http://localhost:8008/", "localhost:8008", False),
        ("http://evil.example", "localhost:8008", False),
    ],
)
def test_same_origin(origin: str, host: str, same: bool) -> None:
    found = parse_host(host)
    assert found is not None
    assert same_origin(origin, found) is same


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Origin": "http://localhost"}, 201),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "rubbish"}, 403),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_a_write_comes_from_our_own_page_or_from_no_page(headers: dict[str, str], status: int) -> None:
    assert client().post("/api/v1/captures", json=PAIR, headers=headers).status_code == status


@pytest.mark.parametrize(
    "kind",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/captures"),
        ("DELETE", "/api/v1/captures/c1"),
        ("POST", "/api/v1/feeds/et-compromised/refresh"),
        ("POST", "/api/v1/feeds/et-block/accept"),
    ],
)
def test_a_write_is_json_as_only_a_preflight_could_allow(kind: str | None, method: str, path: str) -> None:
    answer = client().open(path, method=method, data=b'{"local_ip":"10.1.0.5"}', content_type=kind)
    assert answer.status_code == 415


def test_json_with_a_charset_is_json() -> None:
    answer = client().delete("/api/v1/captures/c1", content_type="application/json; charset=utf-8")
    assert answer.status_code == 200


def test_a_preflight_grants_nothing() -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "DELETE"}
    answer = client().options("/api/v1/captures/c1", headers=headers)
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


def test_scripts_of_other_sites_cannot_even_read_but_a_link_may_lead_here() -> None:
    script = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client().get("/api/v1/events", headers=script).status_code == 403
    assert client().get("/", headers=link).status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/detections", "/api/v1/captures/c1/pcap", "/metrics", "/api/v1/nowhere"])
@pytest.mark.parametrize(
    "auth",
    [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, "Bearer \xff"],
)
def test_with_tokens_nothing_is_told_without_one(path: str, auth: str | None) -> None:
    answer = client(guarded=True).get(path, headers={} if auth is None else {"Authorization": auth})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_opens_and_names_who_asked() -> None:
    auth = {"Authorization": f"bearer {TOKEN}"}
    with client(guarded=True) as opened:
        assert opened.get("/metrics", headers=auth).status_code == 200
        answer = opened.post("/api/v1/captures", json=PAIR, headers=auth)
        assert answer.json is not None
        assert answer.json["requested_by"] == "alice"


def test_health_without_a_token_says_only_whether() -> None:
    guarded = client(guarded=True)
    assert guarded.get("/healthz").json == {"status": "ok"}
    told = guarded.get("/healthz", headers={"Authorization": f"Bearer {TOKEN}"}).json
    assert told is not None
    assert told["mode"] == "automatic"
    open_to_all = client().get("/healthz").json
    assert open_to_all is not None
    assert open_to_all.keys() == told.keys()


@pytest.mark.parametrize(
    "path", ["/", "/static/app.js", "/api/v1/agents", "/metrics", "/nowhere", "/api/v1/captures/c1/pcap"]
)
def test_every_answer_carries_what_a_browser_needs_to_be_told(path: str) -> None:
    headers = client().get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    page = path in {"/", "/static/app.js"}
    assert headers["Cache-Control"] == ("no-cache" if page else "no-store")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_may_be_bound_without_tokens(host: str) -> None:
    assert is_loopback(host)
    must_be_loopback(host, has_tokens=False)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "10.0.0.1", "sentinel.example", "localhost.example", "::ffff:10.0.0.1"]
)
def test_anything_else_needs_tokens(host: str) -> None:
    must_be_loopback(host, has_tokens=True)
    with pytest.raises(ConfigError, match="without tokens"):
        must_be_loopback(host, has_tokens=False)
    with pytest.raises(ConfigError, match="without tokens"):
        Guard(host)


def test_refusals_are_counted_by_reason() -> None:
    counters = WebCounters()
    opened = client(counters=counters)
    opened.get("/", headers={"Host": "evil.example"})
    opened.post("/api/v1/captures", json=PAIR, headers={"Origin": "http://evil.example"})
    opened.get("/api/v1/agents?x=1")
    assert counters.requests == 3
    assert counters.refused == {"host": 1, "origin": 1, "query": 1}
