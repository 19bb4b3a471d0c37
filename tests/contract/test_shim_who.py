# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Who may do what, over real TLS; and clients that say nothing."""

import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from switch_acl_api.limits import MAX_CONNECTIONS
from tests.support.cl_acltool import behave
from tests.support.shim_world import Shim, acl, make_authority, running, wait_until

TOKENS = "# owner token\nalice alices-secret-token\nbob bobs-secret-token\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authority")
    make_authority(folder)
    return folder


@pytest.fixture(scope="module")
def shim(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shim]:
    token_file = authority / "tokens"
    token_file.write_text(TOKENS)
    token_file.chmod(0o600)
    settings = {
        "auth": ["token", "mtls"],
        "token_file": str(token_file),
        "tls_cert": str(authority / "server.pem"),
        "tls_key": str(authority / "server.key"),
        "client_ca": str(authority / "ca.pem"),
    }
    with running(tmp_path_factory.mktemp("who"), "emulated", **settings) as shim:
        shim.scheme = "https"
        yield shim


class Client:
    """One party: its certificate, its token, or neither."""

    def __init__(self, shim: Shim, authority: Path, certificate: str = "", token: str = "") -> None:
        self._shim = shim
        self._options: dict[str, object] = {"verify": str(authority / "ca.pem")}
        if certificate:
            self._options["cert"] = (str(authority / f"{certificate}.pem"), str(authority / f"{certificate}.key"))
        if token:
            self._options["headers"] = {"Authorization": f"Bearer {token}"}

    def __call__(self, method: str, path: str, **options: object) -> requests.Response:
        return self._shim.call(method, path, **self._options, **options)


@pytest.fixture
def alice(shim: Shim, authority: Path) -> Iterator[Client]:
    alice = Client(shim, authority, token="alices-secret-token")
    yield alice
    alice("DELETE", "/acl/")


@pytest.fixture
def bob(shim: Shim, authority: Path) -> Iterator[Client]:
    bob = Client(shim, authority, certificate="bob")
    yield bob
    bob("DELETE", "/acl/")


def test_token_and_certificate_name_the_owner(alice: Client, bob: Client) -> None:
    assert alice("PUT", "/acl/a", json=acl("10.0.0.1")).json()["owner"] == "alice"
    assert bob("PUT", "/acl/b", json=acl("10.0.0.2")).json()["owner"] == "bob"


def test_a_certificate_and_a_token_of_one_owner_are_that_owner(shim: Shim, authority: Path) -> None:
    both = Client(shim, authority, certificate="alice", token="alices-secret-token")
    assert both("GET", "/acl/?detail=1").json()["owner"] == "alice"


def test_credentials_of_two_owners_are_none(shim: Shim, authority: Path) -> None:
    assert Client(shim, authority, certificate="alice", token="bobs-secret-token")("GET", "/acl/").status_code == 401


@pytest.mark.parametrize("token", ["", "wrong-secret-token", "alices-secret-toke", "alices-secret-token1", "alice"])
@pytest.mark.parametrize("path", ["/acl/", "/acl/one", "/acl/lasterror", "/metrics"])
def test_without_credentials_nothing_is_told(shim: Shim, authority: Path, token: str, path: str) -> None:
    answer = Client(shim, authority, token=token)("GET", path)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "alice" not in answer.text


def test_health_needs_no_credentials(shim: Shim, authority: Path) -> None:
    assert Client(shim, authority)("GET", "/healthz").json()["service"] == "switch-acl-api"


def test_a_certificate_of_another_authority_is_refused(shim: Shim, authority: Path) -> None:
    with pytest.raises((requests.exceptions.SSLError, requests.exceptions.ConnectionError)):
        Client(shim, authority, certificate="mallory")("GET", "/acl/")


def test_plain_http_on_the_tls_port_gets_nothing(shim: Shim) -> None:
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(f"http://127.0.0.1:{shim.port}/healthz", timeout=5)


def test_what_belongs_to_another_owner_is_left_alone(alice: Client, bob: Client) -> None:
    alice("PUT", "/acl/hers", json=acl("10.0.0.1"))
    for method in ("PUT", "DELETE"):
        answer = bob(method, "/acl/hers", json=acl("10.0.0.2"))
        assert (answer.status_code, "alice" in answer.json()["error"]) == (409, True)
    result = bob("PUT", "/acl/", json={"hers": {"lines": acl("10.0.0.2")}, "his": {"lines": acl("10.0.0.3")}}).json()
    assert (result["installed"], list(result["failed"]), result["removed"]) == (["his"], ["hers"], [])
    result = bob("PATCH", "/acl/", json={"hers": None, "his": {"lines": acl("10.0.0.4")}}).json()
    assert (result["installed"], result["failed"]["hers"]["status"], result["removed"]) == (["his"], 409, [])
    assert bob("POST", "/acl/renew").json()["renewed"].keys() == {"his"}
    assert bob("POST", "/acl/renew", json={"names": ["his", "hers"]}).json()["renewed"].keys() == {"his"}
    assert bob("DELETE", "/acl/").status_code == 204
    assert alice("GET", "/acl/").json() == ["hers"]


def test_a_changed_token_file_counts_at_once(shim: Shim, authority: Path) -> None:
    file = authority / "tokens"
    carol = Client(shim, authority, token="carols-secret-token")
    assert carol("GET", "/acl/").status_code == 401
    try:
        file.write_text(TOKENS + "carol carols-secret-token\n")
        assert carol("GET", "/acl/").status_code == 200
        file.chmod(0o644)
        assert carol("GET", "/acl/").status_code == 401, "a token file that others can read is no token file"
        assert any("0600" in problem for problem in carol("GET", "/healthz").json()["problems"])
    finally:
        file.write_text(TOKENS)
        file.chmod(0o600)


def test_tokens_are_in_no_log(shim: Shim) -> None:
    assert "secret-token" not in shim.log()


# --- silence -------------------------------------------------------------------------------------


@contextlib.contextmanager
def silent(shim: Shim, count: int, handshake: ssl.SSLContext | None = None) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", shim.port), 5)
            if handshake is not None:
                sock = handshake.wrap_socket(sock, server_hostname="127.0.0.1")
            sockets.append(stack.enter_context(sock))
        yield sockets


def _has_ended(sock: socket.socket) -> bool:
    sock.settimeout(0.01)
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def promptly(client: Client) -> None:
    """Three requests in a row, none of which waits for anybody's deadline."""
    for _ in range(3):
        begun = time.monotonic()
        assert client("GET", "/acl/").status_code == 200
        assert time.monotonic() - begun < 3


@pytest.mark.parametrize("after_handshake", [False, True])
def test_silent_clients_delay_nobody(shim: Shim, authority: Path, alice: Client, after_handshake: bool) -> None:
    context = ssl.create_default_context(cafile=str(authority / "ca.pem")) if after_handshake else None
    with silent(shim, MAX_CONNECTIONS + 10, context) as sockets:
        promptly(alice)
        # Those beyond the limit are gone, not only forgotten; the first were shed first.
        wait_until(lambda: all(_has_ended(sock) for sock in sockets[:10]), 3)
        assert not _has_ended(sockets[-1])


def test_clients_that_trickle_delay_nobody(shim: Shim, authority: Path, alice: Client) -> None:
    context = ssl.create_default_context(cafile=str(authority / "ca.pem"))
    with silent(shim, MAX_CONNECTIONS, context) as sockets:
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.sendall(b"PUT /acl/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Le")
        promptly(alice)


def test_a_body_that_never_comes_delays_nobody(shim: Shim, authority: Path, alice: Client) -> None:
    context = ssl.create_default_context(cafile=str(authority / "ca.pem"))
    head = (
        b"PUT /acl/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alices-secret-token\r\n"
        b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n[1,"
    )
    with silent(shim, MAX_CONNECTIONS, context) as sockets:
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.sendall(head)
        promptly(alice)


def test_loopback_alone_without_tls_or_authentication(tmp_path: Path) -> None:
    with running(tmp_path, "emulated") as shim:
        shim.stop()
        shim.config.write_text(shim.config.read_text().replace(f"127.0.0.1:{shim.port}", f"0.0.0.0:{shim.port}"))
        shim.start()
        assert _listening_on(shim.port) == {"127.0.0.1"}
        shim.stop()
        shim.config.write_text("insecure = true\n" + shim.config.read_text())
        shim.start()
        assert _listening_on(shim.port) == {"0.0.0.0"}


def _listening_on(port: int) -> set[str]:
    """Local addresses of listening sockets, from the kernel."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = {row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}
    return {socket.inet_ntoa(bytes.fromhex(address)[::-1]) for address in found}


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("alice alices-secret\n", 0o640, "0600"),
        ("alice\n", 0o600, "line 1"),
        ("", 0o600, "no token"),
        (None, 0, "No such"),
    ],
)
def test_a_token_file_that_will_not_do_ends_the_start(
    tmp_path: Path, content: str | None, mode: int, said: str
) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    shim = Shim(tmp_path, "emulated", {"auth": ["token"], "token_file": str(file)})
    done = subprocess.run(shim.command(), capture_output=True, timeout=20, text=True, check=False)
    assert done.returncode == 2
    assert "token_file" in done.stderr
    assert said in done.stderr
    assert "alices-secret" not in done.stderr


def test_more_waiting_requests_than_threads_leave_health_answering(tmp_path: Path) -> None:
    with running(tmp_path, "cumulus") as shim:
        behave(shim.home, sleep=1)
        shim.put("first", acl("10.0.0.1"), headers={"Prefer": "respond-async"})
        wait_until((shim.home / "busy").exists)
        head = b"DELETE /acl/first HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with silent(shim, MAX_CONNECTIONS - 4) as sockets:
            for sock in sockets:
                sock.sendall(head)
            begun = time.monotonic()
            assert shim.call("GET", "/healthz", timeout=5).ok
            assert time.monotonic() - begun < 0.9
        behave(shim.home)
