# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Real processes on loopback: the daemon, shims with the emulated driver, and agents that send sFlow."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dpkt
import requests

from sentinel.sflow import encode
from tests.support.ports import free_port

DESTINATION = "127.0.1.70"
HOST = "10.0.0.10"
LISTED = "198.51.100.7"


def until(condition: Callable[[], Any], seconds: float = 15.0, what: str = "") -> Any:
    """Wait for a true answer and return it."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"it never came to that: {what}"
        time.sleep(0.05)


class Process:
    """One program of ours, ended by its own pid; its output is in ``log``."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self.arguments = [sys.executable, "-m", *arguments]
        self.log = log
        self.environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(20)
        self._process = None
        return status


class Shim:
    """A switch: an agent address, a real shim process, an emulated data plane."""

    def __init__(self, name: str, agent: str, directory: Path, erspan_port: int = 0, **settings: str) -> None:
        self.name, self.agent = name, agent
        self.directory = directory / name
        self.directory.mkdir()
        self.boot_id = self.directory / "boot_id"
        self.boot_id.write_text("00000000-0000-0000-0000-000000000001\n")
        self.url = f"http://{agent}:{free_port(agent)}"
        self.frames = (agent, free_port(agent, socket.SOCK_DGRAM))
        self.erspan_port = erspan_port or free_port(DESTINATION, socket.SOCK_DGRAM)
        values = {
            "listen": f'"{self.url.removeprefix("http://")}"',
            "driver": '"emulated"',
            "auth": "[]",
            "erspan_destinations": f'["{DESTINATION}"]',
            "state_dir": f'"{self.directory / "state"}"',
            "boot_id_file": f'"{self.boot_id}"',
            "commit_interval": '"50ms"',
            **settings,
        }
        self.config = self.directory / "shim.toml"
        text = "".join(f"{key} = {value}\n" for key, value in values.items())
        emulated = f'[emulated]\nframes = "{agent}:{self.frames[1]}"\nerspan_port = {self.erspan_port}\n'
        self.config.write_text(text + emulated)
        self.process = Process(["switch_acl_api", "-c", str(self.config)], self.directory / "log")
        self._out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def start(self) -> None:
        self.process.start()
        until(lambda: self.answers() or not self.process.running, what=f"{self.name} answers")
        assert self.process.running, self.process.log.read_text()

    def close(self) -> None:
        self.process.kill()
        self._out.close()

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/healthz", timeout=2).ok
        except requests.RequestException:
            return False

    def rules(self) -> dict[str, Any]:
        answer = requests.get(f"{self.url}/acl/?detail=1", timeout=5).json()
        return {name: row for name, row in answer["acls"].items() if row["installed"]}

    def installs(self) -> int:
        """How many changes the audit log and the metrics know of: every commit is a write."""
        text = requests.get(f"{self.url}/metrics", timeout=5).text
        found = [line for line in text.splitlines() if line.startswith("switch_acl_api_commits_total")]
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in found)

    def forward(self, frame: bytes, port: str = "swp1") -> None:
        """Let a frame enter the switch."""
        name = port.encode()
        self._out.sendto(bytes([len(name)]) + name + frame, self.frames)


class Agent:
    """Sends sFlow from its own address."""

    def __init__(self, address: str, collector: tuple[str, int], agent: str | None = None) -> None:
        self.agent = agent or address
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self._collector = collector
        self._sequence = 0

    def send(self, *frames: bytes, rate: int = 100) -> None:
        self.send_made(self.made(*frames, rate=rate))

    def made(self, *frames: bytes, rate: int = 100) -> bytes:
        """The next datagram, for ``send_made``."""
        self._sequence += 1
        samples = [
            encode.flow_sample(
                sequence=self._sequence * 10 + n,
                source_index=1,
                sampling_rate=rate,
                sample_pool=1000,
                input=1,
                output=2,
                header=frame[:128],
                frame_length=len(frame) + 4,
            )
            for n, frame in enumerate(frames)
        ]
        return encode.datagram(self.agent, 0, self._sequence, self._sequence * 1000, samples)

    def send_made(self, datagram: bytes) -> None:
        self._socket.sendto(datagram, self._collector)

    def close(self) -> None:
        self._socket.close()


def tcp_frame(src: str = HOST, dst: str = LISTED, *, flags: int = 0x02, sport: int = 40_000, dport: int = 443) -> bytes:
    tcp = dpkt.tcp.TCP(sport=sport, dport=dport, flags=flags)
    ip = dpkt.ip.IP(src=socket.inet_aton(src), dst=socket.inet_aton(dst), p=6, ttl=64, data=tcp)
    return bytes(dpkt.ethernet.Ethernet(src=b"\x02\0\0\0\0\1", dst=b"\x02\0\0\0\0\2", data=ip))


def vxlan_frame(inner: bytes, vni: int = 10, src: str = "10.255.0.1", dst: str = "10.255.0.2") -> bytes:
    udp = dpkt.udp.UDP(sport=50_000, dport=4789, data=b"\x08\0\0\0" + (vni << 8).to_bytes(4, "big") + inner)
    udp.ulen = len(udp)
    ip = dpkt.ip.IP(src=socket.inet_aton(src), dst=socket.inet_aton(dst), p=17, ttl=64, data=udp)
    return bytes(dpkt.ethernet.Ethernet(src=b"\x02\0\0\0\0\3", dst=b"\x02\0\0\0\0\4", data=ip))


class Sentinel:
    """The daemon as its operator starts it."""

    def __init__(self, directory: Path, shims: Sequence[Shim], sections: str = "", **capture: str) -> None:
        self.directory = directory
        self.collector = ("127.0.0.1", free_port("127.0.0.1", socket.SOCK_DGRAM))
        self.web = f"127.0.0.1:{free_port('127.0.0.1')}"
        self.list = directory / "bad.txt"
        self.list.write_text(f"{LISTED}\n203.0.113.0/24\n")
        self.config = directory / "sentinel.toml"
        values = {"mode": '"automatic"', "erspan_destination": f'"{DESTINATION}"', **capture}
        inventory = "".join(
            f'[[switch]]\nname = "{s.name}"\nagents = ["{s.agent}"]\nurl = "{s.url}"\nrole = "{_role(s.name)}"\n'
            f'erspan_source = "{getattr(s, "erspan_source", s.agent)}"\n'
            for s in shims
        )
        self.config.write_text(
            f'state_dir = "{directory / "state"}"\n'
            '[network]\nlocal = ["10.0.0.0/8"]\n'
            "[capture]\n"
            + "".join(f"{key} = {value}\n" for key, value in values.items())
            + "[switches]\ninsecure = true\n"
            f'[sflow]\nlisten = ["{self.collector[0]}:{self.collector[1]}"]\n'
            f'[feeds]\nfiles = ["{self.list}:plain:c2"]\n'
            f'[web]\nlisten = "{self.web}"\n' + sections + inventory
        )
        self.process = Process(["sentinel", "run", "-c", str(self.config)], directory / "sentinel.log")

    def start(self) -> None:
        self.process.start()
        until(lambda: self.answers() or not self.process.running, what="the daemon answers")
        assert self.process.running, self.log()

    def answers(self) -> bool:
        try:
            return requests.get(f"http://{self.web}/healthz", timeout=2).status_code in {200, 503}
        except requests.RequestException:
            return False

    def get(self, path: str) -> Any:
        return requests.get(f"http://{self.web}/api/v1/{path}", timeout=5).json()

    def captures(self, *states: str) -> list[dict[str, Any]]:
        answer = self.get("captures")
        rows = answer["captures"] if isinstance(answer, dict) else answer
        return [row for row in rows if not states or row["state"] in states]

    def detections(self) -> list[dict[str, Any]]:
        answer = self.get("detections")
        rows: list[dict[str, Any]] = answer["detections"] if isinstance(answer, dict) else answer
        return rows

    def metric(self, name: str) -> float:
        text = requests.get(f"http://{self.web}/metrics", timeout=5).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def log(self) -> str:
        return self.process.log.read_text()

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "state" / "eve.json").read_text().splitlines()]


def _role(name: str) -> str:
    return "spine" if name.startswith("spine") else "leaf"
