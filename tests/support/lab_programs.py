# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The real programs in namespaces: `sentinel run`, shims, hosts that talk, and what records them."""

import contextlib
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dpkt
import requests

from tests.support.netns import Namespace, Namespaces, run
from tests.support.running import Process, until

REPO = Path(__file__).resolve().parents[2]
SHIM_PORT = 8080


def toml(values: Mapping[str, object]) -> str:
    """Keys and values as TOML; texts are quoted."""
    return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, (str, Path)) else str(value)


class LabProgram:
    """A program of ours inside a namespace; it has an HTTP interface at ``url``, as seen from there."""

    def __init__(self, namespace: Namespace, directory: Path, module: Sequence[str], url: str) -> None:
        self.namespace = namespace
        self.directory = directory
        self.url = url
        self.process = Process(module, directory / "log")
        self.process.arguments = namespace.argv(*self.process.arguments)

    def start(self) -> None:
        self.process.start()
        until(lambda: self.answers() or not self.process.running, 30, f"{self.url} answers")
        assert self.process.running, self.log()

    def log(self) -> str:
        return self.process.log.read_text(errors="replace")

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        with self.namespace.entered():
            return requests.request(method, self.url + path, timeout=20, **options)

    def answers(self) -> bool:
        try:
            return self.call("GET", "/healthz").status_code in {200, 503}
        except requests.RequestException:
            return False

    def get(self, path: str) -> Any:
        return self.call("GET", path).json()

    def metric(self, name: str) -> float:
        lines = self.call("GET", "/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


class LabShim(LabProgram):
    """The shim of the switch in ``namespace``, at ``address``; ``section`` are the settings of its driver."""

    def __init__(
        self,
        namespace: Namespace,
        directory: Path,
        address: str,
        driver: str,
        destinations: Sequence[str],
        section: Mapping[str, object],
        **settings: object,
    ) -> None:
        directory.mkdir()
        self.config = directory / "shim.toml"
        values: dict[str, object] = {
            "listen": f"{address}:{SHIM_PORT}",
            "driver": driver,
            "auth": [],
            "insecure": True,
            "erspan_destinations": destinations,
            "state_dir": directory / "state",
            "commit_interval": "50ms",
            **settings,
        }
        self.config.write_text(toml(values) + f"[{driver}]\n" + toml(section))
        super().__init__(
            namespace, directory, ["switch_acl_api", "-c", str(self.config)], f"http://{address}:{SHIM_PORT}"
        )

    def put(self, name: str, lines: Sequence[str], ttl: float | None = None) -> requests.Response:
        return self.call("PUT", f"/acl/{name}" + (f"?ttl={ttl:g}" if ttl else ""), json=list(lines))

    def rules(self) -> dict[str, Any]:
        """By name, those that are installed."""
        acls = self.get("/acl/?detail=1")["acls"]
        return {name: row for name, row in acls.items() if row["installed"]}

    def expire(self) -> int:
        argv = self.namespace.argv(sys.executable, "-m", "switch_acl_api", "-c", str(self.config), "expire")
        return subprocess.run(argv, cwd=REPO, capture_output=True, timeout=30, check=False).returncode


class LabSentinel(LabProgram):
    """`sentinel run` on the monitoring host, which is the ERSPAN destination and receives it too."""

    def __init__(
        self,
        namespace: Namespace,
        directory: Path,
        address: str,
        listed: Sequence[str],
        local: Sequence[str],
        switches: Mapping[str, str],
        **capture: object,
    ) -> None:
        directory.mkdir()
        self.state = directory / "state"
        self.list = directory / "bad.txt"
        self.list.write_text("".join(f"{line}\n" for line in listed))
        config = directory / "sentinel.toml"
        config.write_text(
            toml({"state_dir": self.state})
            + "[network]\n" + toml({"local": local})
            + "[capture]\n" + toml({"mode": "automatic", "erspan_destination": address, **capture})
            + "[switches]\ninsecure = true\n"
            + "[sflow]\n" + toml({"listen": [f"{address}:6343"]})
            + "[feeds]\n" + toml({"files": [f"{self.list}:plain:c2"]})
            + "[erspan]\nreceive = true\n"
            + "[web]\n" + toml({"listen": "127.0.0.1:8008"})
            + "".join(
                "[[switch]]\n"
                + toml({"name": name, "agents": [agent], "url": f"http://{agent}:{SHIM_PORT}",
                        "role": "spine" if name.startswith("spine") else "leaf"})
                for name, agent in switches.items()
            )
        )  # fmt: skip
        super().__init__(namespace, directory, ["sentinel", "run", "-c", str(config)], "http://127.0.0.1:8008")

    def captures(self, *states: str) -> list[dict[str, Any]]:
        rows = self.get("/api/v1/captures")
        rows = rows["captures"] if isinstance(rows, dict) else rows
        return [row for row in rows if not states or row["state"] in states]

    def detections(self) -> list[dict[str, Any]]:
        rows = self.get("/api/v1/detections")
        found: list[dict[str, Any]] = rows["detections"] if isinstance(rows, dict) else rows
        return found

    def files(self, capture: str) -> list[Path]:
        return sorted((self.state / "pcap").glob(f"{capture}*.pcapng"))


# --- hosts that talk ------------------------------------------------------------------------------

_SERVER = """
import socket, sys, threading
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
out = socket.socket(family, socket.SOCK_DGRAM)
out.bind((sys.argv[1], 9000))
tcp = socket.socket(family, socket.SOCK_STREAM)
tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
tcp.bind((sys.argv[1], 8000))
tcp.listen(16)
def serve(peer):
    with peer:
        peer.recv(4096)
        peer.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + b"x" * int(sys.argv[2]))
def web():
    while True:
        peer, _ = tcp.accept()
        threading.Thread(target=serve, args=(peer,), daemon=True).start()
threading.Thread(target=web, daemon=True).start()
print("ready", flush=True)
while True:
    data, peer = out.recvfrom(2048)
    out.sendto(data, peer)
"""


def serve(namespaces: Namespaces, namespace: Namespace, address: str, size: int = 20_000) -> None:
    """A host that answers HTTP with ``size`` octets on port 8000, and echoes UDP on port 9000."""
    child = namespaces.start(namespace, [sys.executable, "-c", _SERVER, address, str(size)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"


def fetch(namespace: Namespace, address: str) -> int:
    """One page; returns its size."""
    host = f"[{address}]" if ":" in address else address
    with namespace.entered():
        return len(requests.get(f"http://{host}:8000/", timeout=10).content)


class Talker:
    """A host that sends numbered UDP datagrams at ``rate`` per second within ``with``; ``sent`` are so many."""

    def __init__(self, namespace: Namespace, address: str, rate: int, size: int = 200, port: int = 9000) -> None:
        self._socket = namespace.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((address, port))
        self._rate, self._size = rate, size
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self.sent = 0

    def __enter__(self) -> "Talker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._await_last_echo()
        self._socket.close()

    def _await_last_echo(self) -> None:
        # An echo that finds its socket closed is answered with an ICMP error, and that would be mirrored too.
        self._socket.settimeout(0.5)
        while True:
            try:
                self._socket.recv(65535)
            except TimeoutError:
                return
            except OSError:  # an ICMP error about an earlier one
                continue

    def _send(self) -> None:
        started = time.monotonic()
        filler = b"." * self._size
        skipped = 0
        while not self._stop.is_set():
            due = int((time.monotonic() - started) * self._rate) + 1 - skipped
            # After a pause of the machine no burst makes up for it.
            late = max(0, due - self.sent - self._rate // 20 - 1)
            skipped += late
            for _ in range(due - late - self.sent):
                with contextlib.suppress(OSError):  # an ICMP error about an earlier one
                    self._socket.send(struct.pack("!Q", self.sent) + filler)
                self.sent += 1
            self._stop.wait(0.005 if self._rate > 500 else 0.02)


# --- recording ------------------------------------------------------------------------------------


class Recorder:
    """``tcpdump`` of ``device`` into a file, from the constructor's return to ``stop``; ``only`` is "in" or "out"."""

    def __init__(
        self,
        namespaces: Namespaces,
        namespace: Namespace,
        device: str,
        file: Path,
        expression: str = "",
        only: str = "inout",
    ) -> None:
        self.file = file
        self._namespaces = namespaces
        log = file.with_suffix(".log")
        options = ["-n", "-Z", "root", "-i", device, "-s", "0", "-B", "32768", "-U", "--immediate-mode", "-Q", only]
        argv = ["tcpdump", *options, "-w", str(file), *expression.split()]
        self._child = namespaces.start(namespace, argv, output=log)
        until(lambda: log.exists() and "listening on" in log.read_text(), 10, "tcpdump listens")
        self._log = log

    def stop(self) -> list[tuple[float, bytes]]:
        """(wall clock, frame) of all that was recorded; fails when the kernel dropped any."""
        time.sleep(0.3)
        self._namespaces.end(self._child)
        assert "\n0 packets dropped by kernel" in self._log.read_text(), self._log.read_text()
        return list(frames_of(self.file))


def frames_of(file: Path) -> Iterator[tuple[float, bytes]]:
    """(wall clock, frame) of a pcap."""
    with file.open("rb") as stream:
        yield from dpkt.pcap.Reader(stream)


def tshark(file: Path, *fields: str, only: str = "") -> list[list[str]]:
    """``fields`` of every frame of a recording that ``only`` matches; tshark must have nothing to complain of."""
    argv = ["tshark", "-n", "-r", str(file), "-T", "fields", *(word for field in fields for word in ("-e", field))]
    if only:
        argv += ["-Y", only]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in done.stderr.splitlines() if line.strip() and "Running as user" not in line]
    assert (done.returncode, complaints) == (0, []), complaints
    return [line.split("\t") for line in done.stdout.splitlines()]


def as_pcap(file: Path) -> list[bytes]:
    """The frames of a pcapng as Wireshark's own reader gives them."""
    out = file.with_suffix(".converted")
    run("editcap", "-F", "pcap", "-T", "ether", str(file), str(out))
    return [frame for _, frame in frames_of(out)]
