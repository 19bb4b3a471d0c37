# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Sixty-four clients with the largest heads and bodies they can: the shim lives, in half of what its unit gives it."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from switch_acl_api.limits import MAX_CONNECTIONS, MAX_HEAD_BYTES, MIB
from switch_acl_api.room import Room
from tests.support.shim_world import REPO, Shim, running, wait_until

TOKEN = "alices-secret-token"
MOST_RESIDENT_BYTES = 128 * MIB
# Address space: a thread's stack is reserved there, not used.
MOST_ADDRESSES_KIB = 3 * 1024 * 1024


def largest_head(first: bytes) -> bytes:
    """As many header lines as fit, each name another one."""
    lines = b"".join(b"x%d: %s\r\n" % (number, b"y" * 140) for number in range(98))
    return (first + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n" + lines)[: MAX_HEAD_BYTES - 4].rsplit(b"\r\n", 1)[0]


def authorized(method: bytes, path: bytes, body: bytes) -> bytes:
    head = b"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n" % (method, path, TOKEN.encode())
    return head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


ATTACKS: dict[str, Callable[[], bytes]] = {
    "98 long headers, never ended": lambda: b"GET / HTTP/1.1\r\n" + (b"X: " + b"y" * 65_000 + b"\r\n") * 98,
    "the largest head": lambda: largest_head(b"GET /acl/") + b"\r\n\r\n",
    "the largest head, never ended": lambda: largest_head(b"GET /acl/"),
    "a body without a token": lambda: b"PUT /acl/ HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n" + b"x" * 4_000_000,
    "a bulk of lists": lambda: authorized(b"PUT", b"/acl/", b"[" + b"[]," * 80_000 + b"[]]"),
    "a bulk of objects": lambda: authorized(b"PATCH", b"/acl/", b"[" + b"{}," * 80_000 + b"{}]"),
    "a bulk too large": lambda: authorized(b"PATCH", b"/acl/", b"[" + b"{}," * 1_300_000 + b"{}]"),
    "short texts": lambda: authorized(b"PUT", b"/acl/a", b"[" + b'"ab",' * 26_000 + b'""]'),
}


def highest_resident_bytes(shim: Shim) -> int:
    assert shim.process is not None
    status = Path(f"/proc/{shim.process.pid}/status").read_text()
    [high] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(high) * 1024


def attack(shim: Shim, octets: bytes) -> None:
    def one() -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", shim.port), 10) as sock:
            sock.sendall(octets)
            while sock.recv(65_536):
                pass

    threads = [threading.Thread(target=one, daemon=True) for _ in range(MAX_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2)


def test_the_largest_requests_fit_into_half_the_memory(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice {TOKEN}\n")
    tokens.chmod(0o600)
    settings = {"auth": ["token"], "token_file": str(tokens), "max_requests_per_second": 1000}
    shim = Shim(tmp_path, "emulated", settings)
    with (shim.home / "log").open("ab") as log, contextlib.ExitStack() as stack:
        limit = f'ulimit -v {MOST_ADDRESSES_KIB}; MALLOC_ARENA_MAX=2 exec "$@"'
        shim.process = subprocess.Popen(["sh", "-c", limit, "sh", *shim.command()], stderr=log, cwd=REPO)
        stack.callback(shim.stop)
        wait_until(shim._listens, 20)
        for name, octets in ATTACKS.items():
            attack(shim, octets())
            wait_until(lambda: shim.call("GET", "/healthz", timeout=5).ok, 20)
            assert highest_resident_bytes(shim) <= MOST_RESIDENT_BYTES, name
        print(f"highest resident memory: {highest_resident_bytes(shim) / MIB:.1f} MiB")
        assert "Traceback" not in shim.log()


def test_a_length_that_only_looks_like_a_number_is_refused(tmp_path: Path) -> None:
    with running(tmp_path, "emulated") as shim:
        for length in ("\u00b2", "\u0663", "1_0", " ", "1 1", "-0", "0x1"):
            with socket.create_connection(("127.0.0.1", shim.port), 5) as sock:
                sock.sendall(f"PUT /acl/a HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
                assert sock.recv(100).startswith(b"HTTP/1.1 400 ")
        assert "Traceback" not in shim.log()


def test_room_is_taken_in_turns_and_by_shares() -> None:
    room = Room(10, 6)
    assert room.take("a", 6, 0)
    assert not room.take("a", 1, 0.01), "the share of one"
    assert not room.take("b", 5, 0.01), "all there is"
    threading.Timer(0.1, room.give, ("a", 6)).start()
    assert room.take("b", 5, 5)
    assert room.take("a", 5, 0)
    room.give("a", 5)
    room.give("b", 5)
    assert room.take("c", 6, 0)
