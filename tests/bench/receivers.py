# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What is sent the same datagrams: processes of their own, asked alike for the CPU they used and what they received.

``bare`` receives with recvmmsg and throws away; ``sentinel`` does what the daemon's receiving threads do; ``sentinel
run`` is the whole daemon. ``python -m tests.bench.receivers KIND …`` is such a process.
"""

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from sentinel.limits import MIB
from sentinel.receive.batches import receiver_of
from sentinel.scan.threads import Scanning, prepare
from sentinel.sflow import steering
from sentinel.sflow.listener import Listener
from tests.bench import traffic
from tests.bench.baseline import library

BUFFER_BYTES = 32 * MIB
SEED = 7
_SO_RCVBUFFORCE = 33
_TICKS = os.sysconf("SC_CLK_TCK")


class Receiver(Protocol):
    """Something that listens for sFlow."""

    name: str
    port: int

    @property
    def pids(self) -> list[int]: ...
    def received(self, sent: int) -> int:
        """Datagrams since its start, of so many that were sent."""
        ...


def cpu_s(pids: list[int]) -> float:
    """CPU of processes and all they started, as the scheduler counted it (nanoseconds), else as the clock ticked."""
    return sum(_cpu_s(pid) for pid in _with_children(pids))


def _cpu_s(pid: int) -> float:
    try:
        tasks = [path.read_text("ascii") for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        if tasks:
            return sum(int(text.split()[0]) for text in tasks) / 1e9
        words = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / _TICKS


def _with_children(pids: list[int]) -> list[int]:
    found = list(pids)
    for pid in found:
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, path.read_text("ascii").split())
    return found


class Child:
    """``bare`` or ``sentinel`` in a process that tells its counters when it is asked."""

    def __init__(self, kind: str, threads: int, prefixes: int) -> None:
        self.name = kind if threads == 1 else f"{kind}, {threads} threads"
        arguments = [sys.executable, "-m", "tests.bench.receivers", kind, str(threads), str(prefixes)]
        self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self._ask())

    def _ask(self) -> str:
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said, f"{self.name} ended by itself"
        return said

    @property
    def pids(self) -> list[int]:
        return [self._process.pid]

    def received(self, sent: int) -> int:
        del sent
        assert self._process.stdin is not None
        self._process.stdin.write("count\n")
        self._process.stdin.flush()
        return int(json.loads(self._ask()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate("")


def _answer(port: int, count: Callable[[], int]) -> None:
    """In the child: say the port, then what was received, whenever asked, until the parent has enough."""
    print(port, flush=True)
    for _ in sys.stdin:
        print(count(), flush=True)


def bare(threads: int) -> None:
    """Receive and throw away, with a socket for each thread; agents keep to theirs as in the daemon."""
    code = library()
    stop = ctypes.c_int(0)
    counts = (ctypes.c_uint64 * threads)()
    with ExitStack() as open_:
        port = 0
        running = []
        for number in range(threads):
            bound = open_.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            try:
                bound.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
            except OSError:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            if threads > 1:
                steering.share(bound)
            bound.bind(("127.0.0.1", port))
            port = bound.getsockname()[1]
            at = ctypes.byref(counts, number * ctypes.sizeof(ctypes.c_uint64))
            given = (bound.fileno(), ctypes.byref(stop), at)
            running.append(threading.Thread(target=code.bare_receive, args=given))
        if threads > 1:
            steering.steer(bound, threads)
        for thread in running:
            thread.start()
        _answer(port, lambda: sum(counts))
        stop.value = 1
        for thread in running:
            thread.join()


def sentinel(threads: int, prefixes: int) -> None:
    """Receive, match and count flows as the daemon's receiving threads do; the flows are taken every second."""
    lists = traffic.lists(traffic.addresses("v4", prefixes, SEED))
    prepare(lists)
    scanning = Scanning(threads=threads, choice="native")
    ended = threading.Event()

    def take_flows() -> None:
        while not ended.wait(1.0):
            scanning.take_flows()

    def taker(thread: int) -> Callable[[object], object]:
        return lambda batch: scanning.scan(batch, lists, thread)  # type: ignore[arg-type]  # as the listener gives it

    takers = [taker(number) for number in range(threads)]
    flows = threading.Thread(target=take_flows)
    with Listener([("127.0.0.1", 0)], BUFFER_BYTES, takers, receiver_of(scanning.implementation)) as listener:
        flows.start()
        _answer(listener.ports()[0], lambda: listener.counters().datagrams)
        ended.set()
        flows.join()


def kernel_drops(port: int) -> int:
    """What the kernel dropped of the sockets on a UDP port (proc(5), the last column)."""
    total = 0
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        for line in Path(table).read_text("ascii").splitlines()[1:]:
            words = line.split()
            if int(words[1].rpartition(":")[2], 16) == port:
                total += int(words[-1])
    return total


if __name__ == "__main__":
    kind, wanted = sys.argv[1], [int(word) for word in sys.argv[2:]]
    bare(wanted[0]) if kind == "bare" else sentinel(*wanted)
