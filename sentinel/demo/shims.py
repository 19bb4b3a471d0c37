# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The shims of the emulated switches: real `switch-acl-api` processes with the emulated driver, on loopback."""

import http.client
import json
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentinel.demo.topology import Node

_READY_S = 15.0
_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a shim listens: HTTP, and the frames that enter its switch."""

    http: tuple[str, int]
    frames: tuple[str, int]

    @property
    def url(self) -> str:
        return f"http://{self.http[0]}:{self.http[1]}"


class Shim:
    """One shim process from ``start`` to ``stop``; its output goes to a file in ``directory``."""

    def __init__(self, node: Node, directory: Path, erspan_destination: str, erspan_port: int, max_ttl_s: int) -> None:
        self.node = node
        self.endpoints = Endpoints(
            (node.agent, free_port(node.agent, socket.SOCK_STREAM)),
            (node.agent, free_port(node.agent, socket.SOCK_DGRAM)),
        )
        self._directory = directory / node.name
        self._text = config_text(self.endpoints, erspan_destination, erspan_port, max_ttl_s, self._directory)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log_path(self) -> Path:
        return self._directory / "shim.log"

    def start(self) -> None:
        """Start the process; ``wait`` tells when it answers."""
        self._directory.mkdir(parents=True, exist_ok=True)
        config = self._directory / "switch-acl-api.toml"
        config.write_text(self._text, encoding="utf-8")
        with self.log_path.open("wb") as log:
            # Its own session: an interrupt of the terminal is for the demo, which then stops its shims in order.
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [sys.executable, "-m", "switch_acl_api", "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Return once it answers; raises ``RuntimeError`` with the end of its output where it doesn't."""
        until = time.monotonic() + _READY_S
        while time.monotonic() < until:
            if self._process is None or self._process.poll() is not None:
                break
            if self._get("/healthz") is not None:
                return
            time.sleep(0.05)
        output = self.log_path.read_text(errors="replace")[-2000:] if self.log_path.exists() else ""
        raise RuntimeError(f"the shim of {self.node.name} did not start:\n{output}")

    def stop(self) -> None:
        """Terminate the process, at the latest after some seconds by force."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def rules(self) -> list[str] | None:
        """The names of the rules installed now; ``None`` where the shim doesn't answer."""
        answer = self._get("/acl/")
        return None if answer is None else sorted(answer)

    def _get(self, path: str) -> Any:
        connection = http.client.HTTPConnection(*self.endpoints.http, timeout=2)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            return json.loads(body) if response.status == http.HTTPStatus.OK else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()


def config_text(
    endpoints: Endpoints, erspan_destination: str, erspan_port: int, max_ttl_s: int, directory: Path
) -> str:
    """The shim's settings file; nobody is asked for a token, which it allows on loopback alone."""
    return f"""\
listen = "{endpoints.http[0]}:{endpoints.http[1]}"
driver = "emulated"
auth = []
erspan_destinations = ["{erspan_destination}"]
default_ttl = "{max_ttl_s}s"
max_ttl = "{max_ttl_s}s"
state_dir = {json.dumps(str(directory / "state"))}
commit_interval = "100ms"

[emulated]
frames = "{endpoints.frames[0]}:{endpoints.frames[1]}"
erspan_port = {erspan_port}
erspan_version = 2
"""


def free_port(address: str, kind: socket.SocketKind) -> int:
    """A port nobody uses at the moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
