# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The daemon as it is installed, for measuring: ``sentinel run`` as a process with a million prefixes, and a shim.

The shim is the real one on the emulated driver; it notes when the first line of each request has come, in seconds of
CLOCK_MONOTONIC, which all processes of one machine share.
"""

import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests

from switch_acl_api.head import Head, read_head
from tests.bench import traffic
from tests.support.ports import free_port
from tests.support.running import DESTINATION, Process, Shim, until

START_S = 120.0
# A pair takes two: a hundred pairs a switch.
MAX_RULES = 200


def note_requests(path: Path) -> None:
    """In the shim's process: write a line for each request."""
    from switch_acl_api import server

    out = path.open("a", encoding="ascii", buffering=1)

    def noting(stream: Any) -> Head | None:
        head = read_head(stream)
        if head is not None:
            out.write(f"{time.monotonic():.6f} {head.method} {head.target}\n")
        return head

    vars(server)["read_head"] = noting  # nothing but this process's shim


class NotingShim(Shim):
    """A shim that remembers when it was asked what."""

    def __init__(self, number: int, directory: Path) -> None:
        super().__init__(f"leaf{number}", f"127.0.1.{number}", directory, max_rules=str(MAX_RULES))
        self.notes = self.directory / "requests"
        self.process = Process(["tests.bench.system", str(self.notes), "-c", str(self.config)], self.directory / "log")

    def asked(self) -> list[tuple[float, str, str]]:
        """Second, method and path of every request."""
        rows = (line.split() for line in self.notes.read_text("ascii").splitlines())
        return [(float(row[0]), row[1], row[2]) for row in rows if len(row) > 2]


class Daemon:
    """``sentinel run`` with these lists; the load's agents are hosts, so that only switches' samples are mirrored."""

    def __init__(self, directory: Path, shims: Sequence[Shim], listed: Sequence[bytes], threads: int = 1) -> None:
        self.name = "sentinel run"
        self.port = free_port("127.0.0.1", socket.SOCK_DGRAM)
        self.web = f"127.0.0.1:{free_port('127.0.0.1')}"
        switches = "".join(
            f'[[switch]]\nname = "{s.name}"\nagents = ["{s.agent}"]\nurl = "{s.url}"\nmax_rules = {MAX_RULES}\n'
            for s in shims
        )
        list_of = directory / "listed.txt"
        list_of.write_text("".join(f"{traffic.text(one)}\n" for one in listed), "ascii")
        config = directory / "sentinel.toml"
        config.write_text(
            f"""state_dir = "{directory / "state"}"
[network]
local = ["10.0.0.0/8"]
[capture]
mode = "automatic"
erspan_destination = "{DESTINATION}"
max_new_per_minute = 6000
[switches]
insecure = true
[sflow]
listen = ["127.0.0.1:{self.port}"]
relays = ["127.0.0.1/32"]
agents = ["10.0.0.0/24"]
threads = {threads}
[feeds]
files = ["{list_of}:plain:c2"]
[web]
listen = "{self.web}"
{switches}
""",
            "utf-8",
        )
        self.process = Process(["sentinel", "run", "-c", str(config)], directory / "sentinel.log")
        self.prefixes = len(listed)

    @property
    def pids(self) -> list[int]:
        return [self.process.pid]

    def received(self, sent: int) -> int:
        """Datagrams since the start."""
        del sent
        return int(self.metrics("sentinel_sflow_datagrams_total"))

    def start(self) -> None:
        """Returns when all lists are in force."""
        self.process.start()
        until(self._loaded, START_S, "the lists are in force")

    def _loaded(self) -> bool:
        assert self.process.running, self.process.log.read_text()[-2000:]
        return self.metrics("sentinel_blacklist_feed_entries") > 0.9 * self.prefixes

    def metrics(self, name: str) -> float:
        """The sum of a metric over its labels; 0 while nothing answers."""
        try:
            text = requests.get(f"http://{self.web}/metrics", timeout=5).text
        except requests.RequestException:
            return 0.0
        rows = (line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
        return sum(float(row.rsplit(" ", 1)[1]) for row in rows)


if __name__ == "__main__":
    from switch_acl_api.cli import main

    note_requests(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
