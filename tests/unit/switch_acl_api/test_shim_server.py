# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""HTTP as octets: what is no request, keep-alive, deadlines. A server in a thread of this process."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from switch_acl_api import server as server_module
from switch_acl_api.counters import Counters
from switch_acl_api.server import Server, bound_socket, common_name
from tests.support.shim_world import wait_until


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answers what it was asked; reads the body only below /read."""
    body = environ["wsgi.input"].read() if environ["PATH_INFO"].startswith("/read") else b""
    if environ["PATH_INFO"] == "/bug":
        raise RuntimeError("a bug")
    answer = {
        key: environ.get(key) for key in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "CONTENT_LENGTH", "HTTP_X")
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({**answer, "body": body.decode("latin-1")}).encode()]


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def port(counters: Counters) -> Iterator[int]:
    server = Server(bound_socket("127.0.0.1", 0), echo, None, counters)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server.address[1]
    server.stop()
    thread.join(10)
    assert not thread.is_alive()


def talk(port: int, octets: bytes, end: bool = True) -> bytes:
    """Everything that is answered until the server closes."""
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(octets)
        if end:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := sock.recv(65_536):
            answer += chunk
        return answer


def test_a_request_and_its_parts(port: int) -> None:
    answer = talk(port, b"PUT /read/a%2fb?x=1&y HTTP/1.1\r\nX: 1\r\nX: 2\r\nContent-Length: 4\r\n\r\nbody")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body) == {
        "REQUEST_METHOD": "PUT",
        "PATH_INFO": "/read/a/b",
        "QUERY_STRING": "x=1&y",
        "CONTENT_LENGTH": "4",
        "HTTP_X": "1,2",
        "body": "body",
    }


def test_one_connection_carries_several_requests(port: int) -> None:
    one = b"PUT /read HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
    assert talk(port, one * 3).count(b"HTTP/1.1 200 OK") == 3


def test_a_body_that_was_not_read_is_not_the_next_request(port: int) -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\n\r\n"
    answer = talk(port, b"PUT /ignored HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(smuggled) + smuggled)
    assert answer.count(b"HTTP/1.1") == 1
    assert b"smuggled" not in answer


@pytest.mark.parametrize(
    "head",
    [
        b"PUT /read HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PUT /read HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"PUT /read HTTP/1.1\r\nContent-Length: -3\r\n\r\n",
        b"PUT /read HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n",
        b"PUT /read HTTP/1.1\r\nContent-Length: 0x10\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9.9\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + (b"X: " + b"y" * 4_000 + b"\r\n") * 5 + b"\r\n",
        b"PUT /read HTTP/1.1\r\nContent-Length: \xb2\r\n\r\nab",
        b"PUT /read HTTP/1.1\r\nContent-Length: +2\r\n\r\nab",
        b"GET / HTTP/1.1\r\nno header line\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX : y\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: y\r\n folded\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n",
        b"GET http://elsewhere/ HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
        b"\r\n\r\n\x00\xff\n",
    ],
)
def test_what_is_no_request_ends_the_connection(port: int, head: bytes) -> None:
    answer = talk(port, head)
    assert answer.count(b"HTTP/1.1") <= 1
    assert b"200 OK" not in answer
    if answer:
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


def test_expect_continue_is_answered(port: int) -> None:
    answer = talk(port, b"PUT /read HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_head_has_no_body(port: int) -> None:
    assert talk(port, b"HEAD / HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\n")


def test_an_early_answer_reaches_a_client_that_is_still_sending(port: int) -> None:
    answer = talk(port, b"PUT /ignored HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000, end=False)
    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_a_bug_ends_one_connection_only(port: int, counters: Counters, caplog: pytest.LogCaptureFixture) -> None:
    assert talk(port, b"GET /bug HTTP/1.1\r\n\r\n") == b""
    assert b"200 OK" in talk(port, b"GET / HTTP/1.1\r\n\r\n")
    assert counters.get("connections", result="error") == 1


def test_silence_and_trickling_end_at_the_deadline(
    port: int, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "REQUEST_DEADLINE_S", 0.5)
    # The default of Connection's first deadline is read when it is made.
    begun = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", port), 5) as silent,
        socket.create_connection(("127.0.0.1", port)) as slow,
    ):
        slow.settimeout(0.05)
        ended = 0.0
        while not ended:
            with contextlib.suppress(OSError):
                slow.send(b"G")
            try:
                if slow.recv(1) == b"":
                    ended = time.monotonic()
            except TimeoutError:
                assert time.monotonic() - begun < 5
            except OSError:
                ended = time.monotonic()
        assert silent.recv(1) == b""
    assert ended - begun < 2
    wait_until(
        lambda: counters.get("connections", result="timeout") + counters.get("connections", result="served") >= 2
    )


def test_a_client_that_reads_nothing_is_cut(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "RESPONSE_DEADLINE_S", 0.3)
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        request = b"PUT /read HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000
        with pytest.raises(OSError):  # noqa: PT011 -- reset or broken pipe, by timing
            sock.sendall(request * 200)


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (None, None),
        ({}, None),
        ({"subject": ((("commonName", "alice"),),)}, "alice"),
        ({"subject": ((("organizationName", "x"),), (("commonName", "alice"),))}, "alice"),
        ({"subject": ((("commonName", "alice"),), (("commonName", "root"),))}, None),
        ({"subject": ()}, None),
    ],
)
def test_the_common_name_is_one_or_none(certificate: Any, name: str | None) -> None:
    assert common_name(certificate) == name
