# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A real server on a real socket: slow and rude clients, long polls, and a clean end."""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sentinel.errors import OutsideError
from sentinel.limits import MAX_REQUEST_HEADER_BYTES, MAX_REQUEST_RECEIVED_BYTES
from sentinel.web import server as server_module
from sentinel.web.counters import WebCounters
from sentinel.web.guards import Guard
from sentinel.web.longpoll import LongPolls
from sentinel.web.server import WebServer
from tests.support.web import TOKEN, FakeBackend, app_over, capture, serving, tokens


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test leaves a thread or a descriptor behind."""
    threads, files = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    yield
    deadline = time.monotonic() + 3
    while set(threading.enumerate()) - threads and time.monotonic() < deadline:
        time.sleep(0.02)
    assert set(threading.enumerate()) - threads == set()
    assert len(os.listdir("/proc/self/fd")) <= files


@contextlib.contextmanager
def connected(server: WebServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        yield client


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    if "Host" not in headers:
        lines.append("Host: localhost")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def all_of(client: socket.socket) -> bytes:
    received = []
    with contextlib.suppress(ConnectionResetError):
        while more := client.recv(65536):
            received.append(more)
    return b"".join(received)


def ask(server: WebServer, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    with connected(server) as client:
        client.sendall(request(method, path, body, **headers))
        answer = all_of(client)
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), content


def said(answer: tuple[int, bytes]) -> tuple[int, Any]:
    return answer[0], json.loads(answer[1])


def test_it_answers_and_ends() -> None:
    with serving(FakeBackend()) as server:
        assert ask(server, "GET", "/healthz")[0] == 200
        port = server.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_server_that_was_never_started_can_be_stopped() -> None:
    polls, counters = LongPolls(), WebCounters()
    server = WebServer(app_over(FakeBackend(), Guard("127.0.0.1"), polls, counters), "127.0.0.1", 0, polls, counters)
    server.stop()
    server.stop()


@pytest.mark.parametrize(
    ("host", "word"), [("127.0.0.1", "in use"), ("192.0.2.1", "cannot listen"), ("name.invalid", "cannot listen")]
)
def test_an_address_that_cannot_be_had_is_told(host: str, word: str) -> None:
    with serving(FakeBackend()) as first:
        polls, counters = LongPolls(), WebCounters()
        app = app_over(FakeBackend(), Guard("127.0.0.1"), polls, counters)
        second = WebServer(app, host, first.port, polls, counters)
        with pytest.raises(OutsideError, match=word):
            second.start()
        second.stop()


def test_it_serves_ipv6_loopback() -> None:
    polls, counters = LongPolls(), WebCounters()
    server = WebServer(app_over(FakeBackend(), Guard("::1"), polls, counters), "::1", 0, polls, counters)
    try:
        server.start()
    except OutsideError:
        pytest.skip("no IPv6 here")
    try:
        with socket.create_connection(("::1", server.port), timeout=5) as client:
            client.sendall(request("GET", "/healthz", Host=f"[::1]:{server.port}"))
            assert b"200 OK" in all_of(client)
    finally:
        server.stop()


def test_guards_hold_on_the_wire() -> None:
    pair = b'{"local_ip":"10.1.0.5","listed_ip":"203.0.113.7"}'
    kind = {"Content_Type": "application/json"}
    with serving(FakeBackend(), tokens()) as server:
        auth = {"Authorization": f"Bearer {TOKEN}"}
        assert said(ask(server, "GET", "/api/v1/agents", b"", Host="evil.example", **auth))[0] == 421
        assert said(ask(server, "GET", "/api/v1/agents"))[0] == 401
        assert said(ask(server, "GET", "/api/v1/agents", Authorization="Bearer wrong"))[0] == 401
        assert (
            said(ask(server, "POST", "/api/v1/captures", pair, Origin="http://evil.example", **kind, **auth))[0] == 403
        )
        assert said(ask(server, "POST", "/api/v1/captures", pair, **auth))[0] == 415
        origin = f"http://localhost:{server.port}"
        own = ask(
            server, "POST", "/api/v1/captures", pair, Host=f"localhost:{server.port}", Origin=origin, **kind, **auth
        )
        assert said(own)[0] == 201


@pytest.mark.parametrize(
    "host",
    ["Host: localhost\r\nHost: evil.example", "X: y", "Host:", "Host: localhost\r\nX-Forwarded-Host: evil.example"],
)
def test_hosts_said_twice_or_not_at_all(host: str) -> None:
    with serving(FakeBackend()) as server, connected(server) as client:
        client.sendall(f"GET /healthz HTTP/1.1\r\n{host}\r\nConnection: close\r\n\r\n".encode())
        status = all_of(client).split()[1]
        assert status == (b"200" if "Forwarded" in host else b"421")


def test_bodies_and_headers_too_large_are_refused_without_being_read() -> None:
    kind = {"Content_Type": "application/json"}
    with serving(FakeBackend()) as server:
        assert said(ask(server, "POST", "/api/v1/captures", b" " * 5000, **kind))[0] == 413
        assert ask(server, "POST", "/api/v1/captures", b" " * (MAX_REQUEST_RECEIVED_BYTES + 1), **kind)[0] == 413
        assert ask(server, "GET", "/healthz", X="y" * MAX_REQUEST_HEADER_BYTES)[0] == 431
        with connected(server) as client:
            client.sendall(b"POST /api/v1/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
            assert b" 413 " in all_of(client)
        with connected(server) as client:
            client.sendall(b"POST /api/v1/captures HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
            client.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
            with contextlib.suppress(OSError):
                for _ in range(100):
                    client.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
            answer = all_of(client)
            assert not answer or b" 413 " in answer
        assert ask(server, "GET", "/healthz")[0] == 200


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\0" * 100 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nA B: c\r\n\r\n",
    ],
)
def test_rubbish_is_answered_or_closed(rubbish: bytes) -> None:
    with serving(FakeBackend()) as server:
        with connected(server) as client:
            client.sendall(rubbish)
            client.shutdown(socket.SHUT_WR)
            assert b" 200 " not in all_of(client)
        assert ask(server, "GET", "/healthz")[0] == 200


def test_clients_that_dawdle_delay_nobody() -> None:
    with serving(FakeBackend()) as server, contextlib.ExitStack() as stack:
        for _ in range(60):
            client = stack.enter_context(connected(server))
            client.sendall(b"POST /api/v1/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx")
        began = time.monotonic()
        assert ask(server, "GET", "/healthz")[0] == 200
        assert time.monotonic() - began < 2


def test_a_request_that_drips_in_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_ARRIVAL_S", 0.3)
    monkeypatch.setattr(server_module, "LOOP_TICK_S", 0.05)
    polls, counters = LongPolls(), WebCounters()
    server = WebServer(app_over(FakeBackend(), Guard("127.0.0.1"), polls, counters), "127.0.0.1", 0, polls, counters)
    server.start()
    try:
        with connected(server) as client:
            began = time.monotonic()
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                while time.monotonic() - began < 5:
                    client.sendall(b"y")
                    time.sleep(0.05)
            assert time.monotonic() - began < 3
        assert counters.slow_requests == 1
        with connected(server) as client:
            for _ in range(4):
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = client.recv(65536)
                while not answer.endswith(b"}\n"):
                    answer += client.recv(65536)
                assert b" 200 OK" in answer
                time.sleep(0.15)
        assert counters.slow_requests == 1
    finally:
        server.stop()


def test_a_large_pcap_reaches_a_slow_reader_while_others_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "WEB_STOP_GRACE_S", 0.3)
    backend = FakeBackend()
    content = os.urandom(1 << 20) * 24
    (tmp_path / "big.pcapng").write_bytes(content)
    backend.kept["big"] = capture("big")
    backend.pcaps["big"] = tmp_path / "big.pcapng"
    with serving(backend) as server, contextlib.ExitStack() as stack:
        readers = [stack.enter_context(connected(server)) for _ in range(30)]
        for each in readers:
            each.sendall(request("GET", "/api/v1/captures/big/pcap"))
        time.sleep(0.2)
        assert ask(server, "GET", "/healthz")[0] == 200
        received = all_of(readers[0]).partition(b"\r\n\r\n")[2]
        assert received == content


def test_a_long_poll_wakes_with_the_event() -> None:
    backend = FakeBackend()
    with serving(backend) as server, connected(server) as client:
        client.sendall(request("GET", "/api/v1/events?after=0&timeout=30"))
        time.sleep(0.2)
        began = time.monotonic()
        backend.ring.append({"event_type": "alert"})
        assert b'"event_type":"alert"' in all_of(client)
        assert time.monotonic() - began < 1


def test_long_polls_are_bounded_and_leave_room_for_others() -> None:
    backend = FakeBackend()
    with serving(backend, waiters=2) as server, contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(connected(server)) for _ in range(2)]
        for each in waiting:
            each.sendall(request("GET", "/api/v1/events?timeout=30"))
        time.sleep(0.2)
        status, answer = said(ask(server, "GET", "/api/v1/events?timeout=30"))
        assert (status, answer["error"]) == (503, "busy")
        assert ask(server, "GET", "/api/v1/events")[0] == 200
        backend.ring.append({"x": 1})
        for each in waiting:
            assert b" 200 OK" in all_of(each)
        assert ask(server, "GET", "/api/v1/events?timeout=1")[0] == 200


def test_a_waiter_that_went_away_makes_room() -> None:
    with serving(FakeBackend(), waiters=1) as server:
        with connected(server) as client:
            client.sendall(request("GET", "/api/v1/events?timeout=45"))
            time.sleep(0.2)
            assert ask(server, "GET", "/api/v1/events?timeout=0.1")[0] == 503
        deadline = time.monotonic() + 5
        while (status := ask(server, "GET", "/api/v1/events?timeout=0.1")[0]) != 200:
            assert time.monotonic() < deadline, status
            time.sleep(0.05)


def test_all_waiters_waiting_the_rest_is_served() -> None:
    with serving(FakeBackend()) as server, contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connected(server)).sendall(request("GET", "/api/v1/events?timeout=45"))
        time.sleep(0.2)
        began = time.monotonic()
        for _ in range(5):
            assert ask(server, "GET", "/api/v1/detections")[0] == 200
        assert time.monotonic() - began < 2


def test_stop_ends_while_long_polls_wait_and_they_are_answered() -> None:
    with serving(FakeBackend()) as server, connected(server) as client, connected(server):
        client.sendall(request("GET", "/api/v1/events?timeout=45"))
        time.sleep(0.2)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 2
        assert b'"events":[]' in all_of(client)


def test_stop_where_the_serving_thread_is_through_before_it_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(FakeBackend()) as server:
        stopping, thread = server._stopping, server._thread
        assert thread is not None
        said = stopping.set

        def say_and_wait() -> None:
            said()
            thread.join()

        monkeypatch.setattr(stopping, "set", say_and_wait)


def test_stop_ends_while_a_backend_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "WEB_STOP_GRACE_S", 0.3)
    backend, go = FakeBackend(), threading.Event()

    def hang() -> dict[str, object]:
        go.wait(20)
        return {"status": "ok"}

    monkeypatch.setattr(backend, "health", hang)
    with serving(backend) as server, connected(server) as client:
        client.sendall(request("GET", "/healthz"))
        time.sleep(0.2)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 2
        go.set()
        assert all_of(client) == b""
