# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Other collectors of sFlow, where they are installed: sfcapd (nfdump), sfacctd (pmacct), sflowtool.

Each is given the same receive buffer; where net.core.rmem_max grants less, it may lose what the bare receiver keeps.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.receivers import BUFFER_BYTES, kernel_drops
from tests.support.ports import free_port

NAMES = ("sfcapd", "sfacctd", "sflowtool")
START_S = 15.0
# What it aggregates by is what Sentinel counts flows by.
_SFACCTD = """daemonize: false
sfacctd_ip: 127.0.0.1
sfacctd_port: {port}
sfacctd_pipe_size: {buffer}
plugins: print
aggregate: src_host, dst_host, src_port, dst_port, proto
print_output: csv
print_output_file: {folder}/flows.csv
print_refresh_time: 10
plugin_pipe_size: 67108864
plugin_buffer_size: 65536
"""


class Collector:
    """A running one; what it dropped by itself, behind the kernel's buffer, it alone knows."""

    def __init__(self, name: str, port: int, pid: int) -> None:
        self.name, self.port = name, port
        self.pids = [pid]

    def received(self, sent: int) -> int:
        return sent - kernel_drops(self.port)


def why_not(name: str) -> str:
    """Why it cannot be measured here; empty where it can."""
    return "" if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") else "not installed"


def _arguments(name: str, port: int, folder: Path) -> list[str]:
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") or name
    if name == "sfcapd":
        (folder / "files").mkdir()
        listen = ["-b", "127.0.0.1", "-p", str(port), "-B", str(BUFFER_BYTES)]
        return [program, "-w", str(folder / "files"), *listen]
    if name == "sfacctd":
        config = folder / "sfacctd.conf"
        config.write_text(_SFACCTD.format(port=port, buffer=BUFFER_BYTES, folder=folder), "ascii")
        return [program, "-f", str(config)]
    # A line for each sample.
    return [program, "-4", "-l", "-p", str(port)]


@contextmanager
def collector(name: str) -> Iterator[Collector]:
    """Started and listening; raises ``OSError`` where it ends or does not listen."""
    port = free_port("127.0.0.1", socket.SOCK_DGRAM)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        line = _arguments(name, port, Path(folder))
        with log.open("wb") as said:
            # A session of its own, so that its plugins end with it.
            process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
            )
        try:
            deadline = time.monotonic() + START_S
            while f":{port:04X} " not in Path("/proc/net/udp").read_text("ascii"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise OSError(f"does not listen: {log.read_text('utf-8', 'replace')[-200:].strip()!r}")
                time.sleep(0.1)
            # Its plugins are processes that start a moment later.
            time.sleep(1.0)
            yield Collector(name, port, process.pid)
        finally:
            # Some take ten seconds to end in order, and what they would write then nobody reads.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
