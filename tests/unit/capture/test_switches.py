# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The switch client against a server on a real socket that behaves and misbehaves."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sentinel import limits
from sentinel.capture import actions, events, switches
from sentinel.capture.rules import rule_lines
from sentinel.capture.switches import Access, SwitchClient, SwitchPool
from sentinel.errors import SwitchError
from sentinel.model import Switch
from switch_acl_api.limits import MAX_BULK_BODY_BYTES, MAX_BULK_NAMES


class Shim:
    """Answers as ``reply`` says: (status, body, seconds before it)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes, dict[str, str]]] = []
        self.reply: Callable[[str, str], tuple[int, bytes, float]] = lambda *_: (200, b"{}", 0.0)
        shim = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                shim.asked.append((self.command, self.path, body, dict(self.headers)))
                status, answer, wait = shim.reply(self.command, self.path)
                time.sleep(wait)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815  # the base class's names

            def log_message(self, *args: Any) -> None:
                pass

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def shim() -> Iterator[Shim]:
    running = Shim()
    yield running
    running.stop()


@pytest.fixture
def client(shim: Shim) -> Iterator[SwitchClient]:
    made = SwitchClient("leaf1", shim.url, Access("10.0.0.70", token="secret"))
    yield made
    made.close()


def refusal(action: Callable[[], object]) -> SwitchError:
    with pytest.raises(SwitchError) as raised:
        action()
    return raised.value


def test_requests_are_those_of_the_contract(shim: Shim, client: SwitchClient) -> None:
    shim.reply = lambda method, _: (201, b'{"changed": true}', 0.0) if method == "PUT" else (204, b"", 0.0)
    assert client.install("sentinel_c1", ("[iptables]", "-A x"), 120) is True
    client.remove("sentinel_c1")
    shim.reply = lambda *_: (200, b'{"renewed": {"sentinel_c1": {"packets": 3, "bytes": 300}}}', 0.0)
    assert client.renew(120)["sentinel_c1"].packets == 3
    assert [(m, p, json.loads(b or b"null")) for m, p, b, _ in shim.asked] == [
        ("PUT", "/acl/sentinel_c1?ttl=120", ["[iptables]", "-A x"]),
        ("DELETE", "/acl/sentinel_c1", None),
        ("POST", "/acl/renew?ttl=120", {}),
    ]


AMENDMENT = (
    actions.Install("leaf1", "sentinel_c1", ("[iptables]", "-A x"), 120),
    actions.Install("leaf1", "sentinel_c2", ("[iptables]", "-A y"), 120),
    actions.Install("leaf1", "sentinel_c3", ("[iptables]", "-A z"), 120),
    actions.Install("leaf1", "sentinel_c4", ("[iptables]", "-A z"), 120),
    actions.Install("leaf1", "sentinel_c5", ("[iptables]", "-A z"), 120),
    actions.Remove("leaf1", "sentinel_c6"),
    actions.Remove("leaf1", "sentinel_c7"),
)


def test_an_amendment_is_one_request_and_each_change_has_its_outcome(shim: Shim, client: SwitchClient) -> None:
    answer = {
        "installed": ["sentinel_c1"],
        "unchanged": ["sentinel_c2"],
        "removed": ["sentinel_c6"],
        "failed": {
            "sentinel_c3": {"status": 507, "error": "100 of 100"},
            "sentinel_c4": {"status": 400, "error": "line 2"},
            "sentinel_c7": {"status": 503, "error": "foreign policy error"},
        },
    }
    shim.reply = lambda *_: (200, json.dumps(answer).encode(), 0.0)
    assert client.amend(AMENDMENT) == (
        events.Installed("leaf1", "sentinel_c1", True),
        events.Installed("leaf1", "sentinel_c2", False),
        events.InstallFailed("leaf1", "sentinel_c3", "full", "507: 100 of 100", permanent=True),
        events.InstallFailed("leaf1", "sentinel_c4", "http_400", "400: line 2", permanent=True),
        events.InstallFailed("leaf1", "sentinel_c5", "http_502", "502: the answer does not name it", permanent=False),
        events.Removed("leaf1", "sentinel_c6"),
        events.RemoveFailed("leaf1", "sentinel_c7", "http_503", "503: foreign policy error"),
    )
    [(method, path, body, _)] = shim.asked
    sent = json.loads(body)
    assert (method, path, list(sent)) == ("PATCH", "/acl/", [change.rule for change in AMENDMENT])
    assert sent["sentinel_c1"] == {"lines": ["[iptables]", "-A x"], "ttl": 120}
    assert sent["sentinel_c6"] is None


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"installed": "all", "unchanged": [], "removed": [], "failed": {}},
        {"installed": [], "unchanged": [], "removed": [], "failed": []},
        {"installed": [], "unchanged": [], "removed": [], "failed": {"sentinel_c1": "no"}},
    ],
)
def test_an_amendment_answered_in_another_shape_is_nonsense(shim: Shim, client: SwitchClient, answer: object) -> None:
    shim.reply = lambda *_: (200, json.dumps(answer).encode(), 0.0)
    assert refusal(lambda: client.amend(AMENDMENT)).reason == "nonsense"


def test_the_longest_bulk_request_fits_what_a_shim_takes() -> None:
    far = "fd00:1111:2222:3333:4444:5555:6666:777"
    change = {
        f"sentinel_c{0:012x}": {
            "lines": rule_lines(
                (f"{far}8", f"{far}9"), in_interface="swp+", erspan_source=f"{far}a", erspan_destination=far, ttl=255
            ),
            "ttl": 3600,
        }
    }
    assert len(json.dumps(change)) * limits.MAX_BULK_CHANGES < MAX_BULK_BODY_BYTES
    assert limits.MAX_BULK_CHANGES <= MAX_BULK_NAMES


def test_a_token_never_goes_over_plain_http(shim: Shim, client: SwitchClient) -> None:
    client.install("x", (), 1)
    assert not [h for *_, headers in shim.asked for h in headers if h.lower() == "authorization"]


def test_listing_tells_ours_from_theirs_and_unreachability(shim: Shim, client: SwitchClient) -> None:
    answer = {
        "owner": "sentinel",
        "ipv6": True,
        "max_rules": 50,
        "erspan": [{"destination": "10.0.0.70", "reachable": False, "detail": "no route"}],
        "acls": {
            "sentinel_c1": {"owner": "sentinel", "lines": ["a"], "packets": 1, "bytes": 2},
            "x": {"owner": "other", "lines": ["b"], "packets": None, "bytes": None},
        },
    }
    shim.reply = lambda *_: (200, json.dumps(answer).encode(), 0.0)
    listed = client.list()
    assert (listed.ipv6, listed.max_rules, listed.unreachable) == (True, 50, "no route")
    assert {name: rule.ours for name, rule in listed.rules.items()} == {"sentinel_c1": True, "x": False}
    assert listed.rules["sentinel_c1"].lines == ("a",)


def test_only_our_own_erspan_destination_counts(shim: Shim, client: SwitchClient) -> None:
    other = {"destination": "10.0.0.71", "reachable": False, "detail": "no route"}
    ours = {"destination": "10.0.0.70", "reachable": True, "detail": ""}
    shim.reply = lambda *_: (200, json.dumps({"acls": {}, "erspan": [other, ours]}).encode(), 0.0)
    assert client.list().unreachable is None
    shim.reply = lambda *_: (200, json.dumps({"acls": {}, "erspan": [other]}).encode(), 0.0)
    assert client.list().unreachable == "10.0.0.70 is not among its erspan_destinations"


@pytest.mark.parametrize(
    ("status", "body", "reason", "permanent"),
    [
        (400, b'{"error": "no such target", "token": "-j DROP"}', "http_400", True),
        (401, b'{"error": "who are you"}', "http_401", False),
        (409, b'{"error": "other owner"}', "http_409", True),
        (502, b'{"error": "cl-acltool"}', "http_502", False),
        (503, b"<html>", "http_503", False),
        (507, b'{"error": "100 of 100"}', "full", True),
        (302, b"", "http_302", False),
        (200, b"[]", "nonsense", False),
        (200, b"{" * 100_000, "nonsense", False),
        (200, b"\xff\xfe", "nonsense", False),
    ],
)
def test_refusals_and_nonsense(
    shim: Shim, client: SwitchClient, status: int, body: bytes, reason: str, permanent: bool
) -> None:
    shim.reply = lambda *_: (status, body, 0.0)
    error = refusal(lambda: client.install("x", (), 1))
    assert (error.reason, error.permanent) == (reason, permanent)
    assert len(shim.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [{}, {"acls": []}, {"acls": {"a": 1}}, {"acls": {"a": {"packets": -1}}}, {"acls": {"a": {"lines": {}}}}],
)
def test_a_listing_of_another_shape_is_an_error_or_empty_never_a_crash(
    shim: Shim, client: SwitchClient, answer: object
) -> None:
    shim.reply = lambda *_: (200, json.dumps(answer).encode(), 0.0)
    try:
        listed = client.list()
    except SwitchError as error:
        assert error.reason == "nonsense"
    else:
        assert all(rule.packets is None for rule in listed.rules.values())


def test_a_slow_and_an_endless_answer_end(shim: Shim, client: SwitchClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SWITCH_ANSWER_TIMEOUT_S", 0.2)
    monkeypatch.setattr(limits, "MAX_SWITCH_ANSWER_BYTES", 100_000)
    shim.reply = lambda *_: (200, b"{}", 0.5)
    assert refusal(client.list).reason == "timeout"
    shim.reply = lambda *_: (200, b" " * 300_000, 0.0)
    assert refusal(client.list).reason == "too_large"


def test_something_else_on_that_port_is_no_shim(shim: Shim, client: SwitchClient) -> None:
    shim.reply = lambda *_: (200, b'{"service": "nginx"}', 0.0)
    assert refusal(client.health).reason == "not_a_shim"


class Heard:
    def __init__(self) -> None:
        self.events: list[events.Event] = []
        self._more = threading.Condition()

    def __call__(self, event: events.Event) -> None:
        with self._more:
            self.events.append(event)
            self._more.notify()

    def wait(self, count: int) -> list[events.Event]:
        with self._more:
            assert self._more.wait_for(lambda: len(self.events) >= count, 5), self.events
            return self.events


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def pool(shim: Shim, heard: Heard) -> Iterator[SwitchPool]:
    made = SwitchPool(Access(), lambda agent: shim.url if agent == "10.0.0.1" else None, heard)
    made.add(Switch("leaf1", ("10.0.0.1",), shim.url, "10.0.0.1"))
    yield made
    made.stop()


def test_commands_to_one_switch_keep_their_order_and_give_one_event_each(
    shim: Shim, pool: SwitchPool, heard: Heard
) -> None:
    shim.reply = lambda *_: (200, b'{"renewed": {}, "acls": {}}', 0.01)
    for number in range(10):
        pool.send(actions.Install("leaf1", f"r{number}", (), 1))
        pool.send(actions.Remove("leaf1", f"r{number}"))
    answers = heard.wait(20)
    expected: list[events.Event] = []
    for number in range(10):
        expected += [events.Installed("leaf1", f"r{number}", True), events.Removed("leaf1", f"r{number}")]
    assert answers == expected


@pytest.mark.parametrize("status", [400, 405, 413, 503, 507])
def test_a_bulk_request_that_fails_as_a_whole_says_nothing_final_of_any_rule(
    shim: Shim, pool: SwitchPool, heard: Heard, status: int
) -> None:
    shim.reply = lambda *_: (status, b'{"error": "no"}', 0.0)
    pool.send(actions.Bulk("leaf1", AMENDMENT))
    [event] = heard.wait(1)
    assert isinstance(event, events.BulkAnswered)
    assert [getattr(o, "rule", "") for o in event.outcomes] == [change.rule for change in AMENDMENT]
    assert {type(o) for o in event.outcomes} == {events.InstallFailed, events.RemoveFailed}
    assert not any(getattr(o, "permanent", False) for o in event.outcomes)


def test_a_slow_switch_does_not_delay_another(shim: Shim, pool: SwitchPool, heard: Heard) -> None:
    other = Shim()
    try:
        pool.add(Switch("leaf2", ("10.0.0.2",), other.url, "10.0.0.2"))
        shim.reply = lambda *_: (200, b"{}", 1.0)
        pool.send(actions.Install("leaf1", "slow", (), 1))
        pool.send(actions.Install("leaf2", "fast", (), 1))
        assert heard.wait(1)[0] == events.Installed("leaf2", "fast", True)
    finally:
        other.stop()


def test_after_failures_the_circuit_opens_and_closes_again(
    shim: Shim, pool: SwitchPool, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switches, "CIRCUIT_OPEN_S", 0.3)
    shim.reply = lambda *_: (500, b"{}", 0.0)
    for number in range(6):
        pool.send(actions.Install("leaf1", f"r{number}", (), 1))
    answers = heard.wait(6)
    assert [getattr(e, "reason", "") for e in answers] == ["http_500"] * 3 + ["circuit_open"] * 3
    assert len(shim.asked) == 3
    time.sleep(0.35)
    shim.reply = lambda *_: (200, b"{}", 0.0)
    pool.send(actions.Remove("leaf1", "r0"))
    assert heard.wait(7)[-1] == events.Removed("leaf1", "r0")


def test_a_probe_finds_a_shim_or_says_why_not(shim: Shim, pool: SwitchPool, heard: Heard) -> None:
    shim.reply = lambda *_: (200, b'{"service": "switch-acl-api", "ipv6": true}', 0.0)
    pool.send(actions.Probe("10.0.0.1"))
    [found] = heard.wait(1)
    assert isinstance(found, events.SwitchFound)
    assert (found.switch.name, found.switch.ipv6) == ("10.0.0.1", True)
    pool.send(actions.Probe("10.9.9.9"))
    assert isinstance(heard.wait(2)[1], events.ProbeFailed)


def test_a_bug_in_here_still_gives_its_one_event(
    pool: SwitchPool, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(SwitchClient, "install", explode)
    pool.send(actions.Install("leaf1", "r", (), 1))
    [event] = heard.wait(1)
    assert isinstance(event, events.InstallFailed)
    assert event.reason == "internal"
