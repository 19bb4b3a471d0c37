# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Real shim processes on loopback, over either driver, and a client for them."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.support import cl_acltool
from tests.support.ports import free_port

ERSPAN_DESTINATION = "10.0.0.70"
ERSPAN_SOURCE = "10.0.0.253"
JSON = {"Content-Type": "application/json"}
REPO = Path(__file__).resolve().parents[2]


def rule(source: str, destination: str = "198.51.100.7", erspan_source: str = ERSPAN_SOURCE, **other: str) -> str:
    port = other.get("port", "swp+")
    target = f"-j ERSPAN --src-ip {erspan_source} --dst-ip {other.get('to', ERSPAN_DESTINATION)}"
    return f"-A FORWARD --in-interface {port} -s {source} -d {destination} {target}"


def acl(*sources: str) -> list[str]:
    return ["[iptables]", *(rule(source) for source in sources)]


def wait_until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """The condition's first true value; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


@dataclass
class Shim:
    """One switch: its folder, its settings, and, while it runs, its process."""

    home: Path
    driver: str
    settings: dict[str, Any] = field(default_factory=dict)
    scheme: str = "http"
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.boot_id_file = self.home / "boot_id"
        self.boot("first-boot")
        self.config = self.home / "switch-acl-api.toml"
        tool = cl_acltool.install(self.home)
        values: dict[str, Any] = {
            "listen": f"127.0.0.1:{self.port}",
            "driver": self.driver,
            "auth": [],
            "erspan_destinations": [ERSPAN_DESTINATION, "10.0.0.71"],
            "state_dir": str(self.home / "state"),
            "policy_dir": str(self.policy_dir),
            "boot_id_file": str(self.boot_id_file),
            "commit_interval": "50ms",
            "commit_timeout": "5s",
            "max_rules": 20,
        }
        values.update(self.settings)
        if self.driver == "emulated":
            values["erspan_destinations"] = [*values["erspan_destinations"], "127.0.0.1"]
        emulated, ovs = values.pop("emulated", {}), values.pop("ovs", {})
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        lines += ["[cumulus]", f'cl_acltool = "{tool}"', f'ip = "{self.home / "ip"}"', f'ping = "{self.home / "ping"}"']
        lines += ["[emulated]", *(f"{key} = {json.dumps(value)}" for key, value in emulated.items())]
        lines += ["[ovs]", *(f"{key} = {json.dumps(value)}" for key, value in ovs.items())]
        self.config.write_text("\n".join(lines) + "\n")

    @property
    def policy_dir(self) -> Path:
        return self.home / "policy.d"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def boot(self, boot_id: str) -> None:
        """This switch has booted (again)."""
        self.boot_id_file.write_text(boot_id + "\n")

    def start(self) -> "Shim":
        log = (self.home / "log").open("ab")
        with log:
            self.process = subprocess.Popen(self.command(), stderr=log, stdout=log, cwd=REPO)
        wait_until(self._listens, 20)
        return self

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "switch_acl_api", "-c", str(self.config), *arguments]

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> int:
        if self.process is None:
            return 0
        self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            self.process = None

    def expire(self, *arguments: str) -> int:
        done = subprocess.run(
            self.command("expire", *arguments), cwd=REPO, capture_output=True, timeout=60, check=False
        )
        with (self.home / "log").open("ab") as log:
            log.write(done.stderr)
        return done.returncode

    def log(self) -> str:
        return (self.home / "log").read_text(errors="replace")

    def audit(self) -> list[dict[str, Any]]:
        lines = self.log().splitlines()
        return [json.loads(line.partition("audit: ")[2]) for line in lines if "audit: " in line]

    # --- what a client does ----------------------------------------------------------------------

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", 30)
        return requests.request(method, self.url + path, **options)

    def put(self, name: str, lines: Any, ttl: float | None = None, **options: Any) -> requests.Response:
        query = "" if ttl is None else f"?ttl={ttl:g}"
        return self.call("PUT", f"/acl/{name}{query}", json=lines, **options)

    def names(self) -> list[str]:
        names: list[str] = self.call("GET", "/acl/").json()
        return names

    def detail(self) -> dict[str, Any]:
        detail: dict[str, Any] = self.call("GET", "/acl/?detail=1").json()
        return detail

    def files(self) -> list[str]:
        """The rule files of ours, by name."""
        return sorted(path.name[7:-6] for path in self.policy_dir.glob("50rest-*.rules"))

    def commits(self) -> int:
        return cl_acltool.calls(self.home).count("-i")


@contextlib.contextmanager
def running(home: Path, driver: str, **settings: Any) -> Iterator[Shim]:
    shim = Shim(home, driver, settings)
    try:
        yield shim.start()
    finally:
        shim.stop()


def make_authority(folder: Path) -> None:
    """``ca.pem``; ``server.pem``/``.key`` for 127.0.0.1; ``alice``, ``bob`` and ``mallory`` (of another authority)."""
    folder.mkdir(parents=True, exist_ok=True)
    for authority in ("ca", "other"):
        _openssl(
            folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{authority}.key", "-out", f"{authority}.pem", "-subj", f"/CN={authority}", "-days", "2",
        )  # fmt: skip
    for name, authority in (("server", "ca"), ("alice", "ca"), ("bob", "ca"), ("mallory", "other")):
        (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\n")
        _openssl(
            folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}",
        )  # fmt: skip
        _openssl(
            folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-CAcreateserial", "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext",
        )  # fmt: skip


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
