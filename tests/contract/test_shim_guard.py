# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Pages that call a switch by another name, guessed tokens, two kinds of credentials, keys that others can read."""

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from switch_acl_api.auth import Authenticator, check_secret
from switch_acl_api.errors import Refused
from switch_acl_api.guard import Hosts
from tests.support.shim_world import REPO, Shim, acl, make_authority, running

TOKEN = "alices-secret-token"


@pytest.fixture(scope="module")
def open_shim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shim]:
    with running(tmp_path_factory.mktemp("host"), "emulated", hosts=["leaf1.example"]) as shim:
        yield shim


@pytest.mark.parametrize(
    "host", ["attacker.example", "attacker.example:80", "203.0.113.9", "127.0.0.1.evil.example", ""]
)
def test_without_authentication_another_name_is_refused(open_shim: Shim, host: str) -> None:
    answers = [
        open_shim.call("PUT", "/acl/a", json=acl("10.0.0.1"), headers={"Host": host}),
        open_shim.call("GET", "/acl/", headers={"Host": host}),
        open_shim.call("GET", "/healthz", headers={"Host": host}),
    ]
    assert [answer.status_code for answer in answers] == [403] * 3
    assert open_shim.names() == []


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "leaf1.example:8080"])
def test_its_own_names_are_answered(open_shim: Shim, host: str) -> None:
    assert open_shim.call("GET", "/acl/", headers={"Host": host}).status_code == 200


def test_the_address_that_was_reached_is_a_name_of_this_switch() -> None:
    hosts = Hosts([], lambda: frozenset({"192.0.2.5"}))
    assert hosts.allows("192.0.2.1:8080", "192.0.2.1")
    assert hosts.allows("192.0.2.5", "192.0.2.1")
    assert not hosts.allows("192.0.2.6", "192.0.2.1")
    assert hosts.allows(None, "192.0.2.1")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Shim]:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice {TOKEN}\n")
    tokens.chmod(0o600)
    with running(tmp_path, "emulated", auth=["token"], token_file=str(tokens)) as shim:
        yield shim


def guess(shim: Shim, token: str) -> int:
    return shim.call("GET", "/acl/", headers={"Authorization": f"Bearer {token}"}).status_code


def test_guessed_tokens_are_counted_logged_and_slowed(guarded: Shim) -> None:
    begun = time.monotonic()
    assert [guess(guarded, f"guess-number-{number}") for number in range(13)] == [401] * 13
    assert time.monotonic() - begun > 2, "the last ones wait"
    begun = time.monotonic()
    assert guess(guarded, TOKEN) == 200
    assert time.monotonic() - begun < 0.8, "the right one never waits, not even from the same address"
    metrics = guarded.call("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    assert "switch_acl_api_auth_failures_total 13" in metrics
    logged = [line for line in guarded.log().splitlines() if "credentials refused" in line]
    assert 1 <= len(logged) <= 11
    assert "127.0.0.1" in logged[0]
    assert "guess-number" not in guarded.log()


def test_many_guesses_at_once_keep_no_client_out(guarded: Shim) -> None:
    stop = threading.Event()

    def guessing() -> None:
        while not stop.is_set():
            try:
                guess(guarded, "guess-number-x")
            except requests.RequestException:
                stop.wait(0.05)

    threads = [threading.Thread(target=guessing) for _ in range(100)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        for _ in range(3):
            begun = time.monotonic()
            assert guess(guarded, TOKEN) == 200
            assert time.monotonic() - begun < 3
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)


@pytest.mark.parametrize(
    ("match", "token", "name", "owner"),
    [
        ("either", TOKEN, None, "alice"),
        ("either", None, "alice", "alice"),
        ("both", TOKEN, "alice", "alice"),
        ("both", TOKEN, None, ""),
        ("both", None, "alice", ""),
        ("both", TOKEN, "bob", ""),
        ("both", None, None, ""),
    ],
)
def test_either_or_both(tmp_path: Path, match: str, token: str | None, name: str | None, owner: str) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice {TOKEN}\n")
    tokens.chmod(0o600)
    authenticator = Authenticator(["token", "mtls"], str(tokens), match)
    authorization = None if token is None else f"Bearer {token}"
    if owner:
        assert authenticator.owner(authorization, name) == owner
    else:
        with pytest.raises(Refused):
            authenticator.owner(authorization, name)


@pytest.mark.parametrize(
    ("mode", "good"), [(0o600, True), (0o400, True), (0o644, False), (0o604, False), (0o620, False)]
)
def test_a_key_that_others_can_read_is_none(tmp_path: Path, mode: int, good: bool) -> None:
    key = tmp_path / "key.pem"
    key.write_text("key")
    key.chmod(mode)
    if good:
        check_secret(str(key))
    else:
        with pytest.raises(ValueError, match="0600"):
            check_secret(str(key))


def test_a_shim_with_such_a_key_does_not_start(tmp_path: Path) -> None:
    make_authority(tmp_path)
    (tmp_path / "server.key").chmod(0o644)
    settings = {"tls_cert": str(tmp_path / "server.pem"), "tls_key": str(tmp_path / "server.key")}
    command = Shim(tmp_path, "emulated", settings).command()
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "0644" in done.stderr) == (2, True)
