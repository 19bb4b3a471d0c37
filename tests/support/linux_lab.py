# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A Linux router as the switch: two hosts behind it, the real shim in it, a monitor that hears ERSPAN.

``h1`` 10.1.1.2 — swp1 router swp2 — 10.1.2.2 ``h2``; router emon 10.9.0.1 — 10.9.0.2 ``mon``.
"""

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests

from sentinel.erspan.decapsulate import Mirrored, decapsulate
from tests.support import running
from tests.support.netns import Namespace, Namespaces
from tests.support.traffic import ip

REPO = Path(__file__).resolve().parents[2]
H1, H2 = "10.1.1.2", "10.1.2.2"
H1_6, H2_6 = "fd00:1::2", "fd00:2::2"
ROUTER, MONITOR = "10.9.0.1", "10.9.0.2"
URL = "http://127.0.0.1:8080"
# How much slower than a real machine this one is; an emulated one says so (tests/lab/qemu).
PACE = float(os.environ.get("LAB_PACE", "1"))
# The shim as it is shipped can be put to the test: LAB_SHIM="python3.7 dist/switch-acl-api.pyz".
SHIM = os.environ.get("LAB_SHIM", f"{sys.executable} -m switch_acl_api").split()
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPO)}
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32
_BUFFER = 64 << 20


def until(condition: Callable[[], Any], seconds: float = 15.0, what: str = "") -> Any:
    """Wait for a true answer and return it, at this machine's pace."""
    return running.until(condition, seconds * PACE, what)


class Switch:
    """The namespaces, and the shim while it runs."""

    def __init__(self, nets: Namespaces, home: Path, realisation: str = "auto") -> None:
        self.nets, self.home = nets, home
        self.h1, self.h2 = nets.add("h1"), nets.add("h2")
        self.router, self.mon = nets.add("sw"), nets.add("mon")
        nets.link(self.router, "swp1", self.h1, "eth0")
        nets.link(self.router, "swp2", self.h2, "eth0")
        nets.link(self.router, "emon", self.mon, "eth0")
        for host, address, address6, gateway in ((self.h1, H1, H1_6, 1), (self.h2, H2, H2_6, 2)):
            host.address("eth0", f"{address}/24", f"{address6}/64")
            host.ip("route", "add", "default", "via", f"10.1.{gateway}.1")
        self.router.address("swp1", "10.1.1.1/24", "fd00:1::1/64")
        self.router.address("swp2", "10.1.2.1/24", "fd00:2::1/64")
        self.router.address("emon", f"{ROUTER}/24")
        self.mon.address("eth0", f"{MONITOR}/24")
        self.router.sysctl("net.ipv4.ip_forward", "1")
        self.config = home / "shim.toml"
        self.config.write_text(
            'listen = "127.0.0.1:8080"\ndriver = "linux"\nauth = []\ncommit_interval = "50ms"\n'
            f'erspan_destinations = ["{MONITOR}"]\nports = ["swp+", "swp1"]\nstate_dir = "{home / "state"}"\n'
            f'[linux]\nrealisation = "{realisation}"\n'
        )
        self.log = home / "log"
        self.process: subprocess.Popen[bytes] | None = None

    # --- the shim ----------------------------------------------------------------------------------

    def command(self, *arguments: str) -> list[str]:
        return [*SHIM, "-c", str(self.config), *arguments]

    def start(self) -> None:
        self.process = self.nets.start(self.router, self.command(), output=self.log, env=ENVIRONMENT, cwd=self.home)
        until(
            lambda: self.process is None or self.process.poll() is not None or self._answers(), what="the shim answers"
        )
        assert self.process.poll() is None, self.log.read_text()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def expire(self) -> None:
        self.router.run(*self.command("expire"), env=ENVIRONMENT)

    def _answers(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return self.call("GET", "/healthz").ok
        return False

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        with self.router.entered():
            return requests.request(method, URL + path, timeout=20 * PACE, **options)

    def put(self, name: str, lines: list[str], ttl: float = 60) -> requests.Response:
        answer = self.call("PUT", f"/acl/{name}?ttl={ttl:g}", json=lines)
        assert answer.status_code in {200, 201}, answer.text
        return answer

    def detail(self) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", "/acl/?detail=1").json()
        return found

    def counts(self, name: str = "m") -> tuple[int, int]:
        """Packets and bytes, once counters are fresh."""
        time.sleep(1.1)
        row = self.detail()["acls"][name]
        return row["packets"], row["bytes"]

    # --- the kernel --------------------------------------------------------------------------------

    def table(self) -> str:
        """Our table as text; empty where there is none."""
        done = subprocess.run(
            self.router.argv("nft", "list", "table", "netdev", "switch_acl_api"),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    def devices(self) -> list[str]:
        """Mirror devices of ours."""
        rows = json.loads(self.router.ip("-json", "link", "show"))
        return sorted(row["ifname"] for row in rows if row["ifname"].startswith(("saa-", "sab-")))

    def mac(self, port: str) -> bytes:
        rows = json.loads(self.router.ip("-json", "link", "show", port))
        return bytes.fromhex(rows[0]["address"].replace(":", ""))

    def encapsulators(self) -> list[int]:
        """Pids of the encapsulators in the router's namespace."""
        found = []
        for pid in self.router_pids():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if b"encapsulator" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
        return found

    def router_pids(self) -> list[str]:
        done = subprocess.run(["ip", "netns", "pids", self.router.name], capture_output=True, text=True, check=False)
        return done.stdout.split()


class Ear:
    """What arrives at the monitor in IP protocol 47, put together by the kernel where it came in fragments."""

    def __init__(self, monitor: Namespace) -> None:
        self._socket = monitor.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)

    def hear(self, seconds: float = 0.5, count: int = 1 << 30) -> list[Mirrored]:
        """Until ``count`` have come, or none for ``seconds``."""
        self._socket.settimeout(seconds * PACE)
        found: list[Mirrored] = []
        with contextlib.suppress(TimeoutError):
            while len(found) < count:
                found.append(decapsulate(self._socket.recv(65_536)))
        return found

    def close(self) -> None:
        self._socket.close()


class Sender:
    """Puts frames onto a host's link, made by hand."""

    def __init__(self, host: Namespace, mac: bytes, device: str = "eth0") -> None:
        self._socket = host.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
        self._socket.bind((device, 0))
        self._mac = mac

    def frame(self, source: str, destination: str, payload: bytes = b"x" * 40, tags: bytes = b"") -> bytes:
        """UDP from port 4000 to 4001 in IP, behind ``tags``; its checksum is wrong, so that nobody answers."""
        udp = struct.pack("!HHHH", 4000, 4001, 8 + len(payload), 0xDEAD) + payload
        packet = ip(source, destination, 17, udp)
        kind = b"\x86\xdd" if ":" in source else b"\x08\x00"
        return self._mac + bytes.fromhex("020000000001") + tags + kind + packet

    def send(self, frame: bytes) -> bytes:
        self._socket.send(frame)
        return frame

    def close(self) -> None:
        self._socket.close()


def mirror_rules(
    one: str = H1, other: str = H2, source: str = ROUTER, port: str = "swp+", section: str = "[iptables]", ttl: str = ""
) -> list[str]:
    """Both directions of a pair."""
    target = f"-j ERSPAN --src-ip {source} --dst-ip {MONITOR}{ttl and ' --ttl ' + ttl}"
    return [section, *(f"-A FORWARD -i {port} -s {s} -d {d} {target}" for s, d in ((one, other), (other, one)))]


@contextlib.contextmanager
def linux_switch(home: Path, realisation: str = "auto") -> Iterator[Switch]:
    nets = Namespaces()
    try:
        switch = Switch(nets, home, realisation)
        switch.start()
        try:
            yield switch
        finally:
            # The shim first: it would make anew what goes behind its back.
            if switch.process is not None:
                nets.end(switch.process)
            for device in switch.devices():
                if device.startswith("saa-"):
                    # Its encapsulator ends with it.
                    switch.router.ip("link", "del", device)
            until(lambda: not switch.encapsulators(), what="encapsulators end without their devices")
    finally:
        nets.close()
    assert nets.left() == []
