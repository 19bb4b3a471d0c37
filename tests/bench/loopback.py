# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Datagrams over loopback: at rising rates until the bare receiver loses one, then everybody at one rate.

Sender and receiver are processes of their own. CPU is that of the receiving processes with all their threads; most of
the kernel's work for a datagram on loopback falls on the sender's side, with all alike.
"""

import ctypes
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import traffic
from tests.bench.baseline import library
from tests.bench.collectors import NAMES, collector, why_not
from tests.bench.receivers import SEED, Child, Receiver, cpu_s
from tests.bench.system import Daemon
from tests.bench.table import Row, progress

RATES = (25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 250_000, 300_000, 400_000, 500_000, 600_000, 800_000)
QUICK_RATES = (50_000, 100_000, 200_000, 400_000)
# One that the slowest of the others is said to bear (19 µs a datagram) on a core of its own, and one near what the next
# bears (10 µs): where much comes at a time, waking is paid for by more.
COLLECTORS_RATES = (40_000, 80_000)
DATAGRAMS = 8_192
BURST = 32
# Until what waits in the largest buffer is read, at the lowest rate.
SETTLE_S = 0.5


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    prefixes: int = 1_000_000
    rates: tuple[int, ...] = RATES
    seconds: float = 3.0
    # The comparison at the highest rate is made so often.
    times: int = 3
    threads: tuple[int, ...] = (1, 2)


class Sender:
    """The same datagrams again and again."""

    def __init__(self, payloads: list[bytes]) -> None:
        self._sizes = (ctypes.c_uint32 * len(payloads))(*(len(one) for one in payloads))
        self._data = b"".join(payloads)

    def send(self, port: int, rate_pps: float, seconds: float) -> int:
        """Datagrams sent."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.connect(("127.0.0.1", port))
            sizes = self._sizes
            return int(library().send_rate(out.fileno(), self._data, sizes, len(sizes), rate_pps, seconds, BURST))


def run_at(receiver: Receiver, sender: Sender, rate_pps: float, seconds: float, times: int = 1) -> Row:
    """So many runs of one receiver at a rate, as one row."""
    progress(f"loopback: {receiver.name} at {rate_pps:,.0f}/s")
    sent, lost, cpu = 0, 0, 0.0
    for _ in range(times):
        dropped = _dropped(receiver)
        cpu -= cpu_s(receiver.pids)
        now = sender.send(receiver.port, rate_pps, seconds)
        time.sleep(SETTLE_S)
        cpu += cpu_s(receiver.pids)
        lost += _dropped(receiver, now) - dropped
        sent += now
    return {
        "what": "loopback",
        "receiver": receiver.name,
        "asked_pps": float(rate_pps),
        "sent_pps": sent / seconds / times,
        "lost": lost,
        "cpu_us_per_datagram": cpu / max(1, sent - lost) * 1e6,
    }


_SENT: dict[int, int] = {}


def _dropped(receiver: Receiver, sent: int = 0) -> int:
    """Of all that was sent to it: what it never received."""
    total = _SENT[receiver.port] = _SENT.get(receiver.port, 0) + sent
    return total - receiver.received(total)


def measure(plan: Plan) -> Iterator[Row]:
    """Rows of ``loopback``; ``highest`` of them is the bare receiver's last rate without loss."""
    listed = traffic.addresses("v4", plan.prefixes, SEED)
    sender = Sender(traffic.payloads("v4", DATAGRAMS, 0.01, listed))
    best = float(plan.rates[0])
    with Child("bare", 1, 0) as bare:
        for rate in plan.rates:
            row = run_at(bare, sender, rate, plan.seconds)
            reached = float(str(row["sent_pps"])) >= 0.95 * rate
            yield row if reached else {**row, "note": "more the sender cannot give"}
            if row["lost"]:
                break
            best = max(best, float(str(row["sent_pps"])))
            if not reached:
                break
    yield from _compared(plan, sender, best)
    yield from _everybody(plan, sender, listed)


def _compared(plan: Plan, sender: Sender, rate: float) -> Iterator[Row]:
    """At the bare receiver's highest rate: both in turn, with one thread and with two; then the whole daemon."""
    for threads in plan.threads:
        with Child("bare", threads, 0) as bare, Child("sentinel", threads, plan.prefixes) as sentinel:
            rows = [run_at(bare, sender, rate, plan.seconds, plan.times)]
            rows.append(run_at(sentinel, sender, rate, plan.seconds, plan.times))
        yield from ({**row, "what": "loopback, highest rate", **_against(row, rows[0])} for row in rows)


def _everybody(plan: Plan, sender: Sender, listed: list[bytes]) -> Iterator[Row]:
    """At rates that others can bear."""
    bare: dict[int, Row] = {}
    for name, start in _receivers(plan, listed):
        if name in NAMES and (reason := why_not(name)):
            yield {"what": "collectors", "receiver": name, "skipped": reason}
            continue
        try:
            with start() as receiver:
                # What all is new at first (pairs, flows, pages of memory) is not what a datagram costs.
                run_at(receiver, sender, COLLECTORS_RATES[0], plan.seconds)
                rows = {rate: run_at(receiver, sender, rate, plan.seconds) for rate in COLLECTORS_RATES}
        except OSError as error:
            yield {"what": "collectors", "receiver": name, "skipped": str(error)}
            continue
        bare = bare or rows
        yield from ({**row, "what": "collectors", **_against(row, bare[rate])} for rate, row in rows.items())


def _receivers(plan: Plan, listed: list[bytes]) -> Iterator[tuple[str, Callable[[], AbstractContextManager[Receiver]]]]:
    yield "bare", lambda: Child("bare", 1, 0)
    yield "sentinel", lambda: Child("sentinel", 1, plan.prefixes)
    yield "sentinel run", lambda: _daemon(listed)
    for name in NAMES:
        yield name, lambda name=name: collector(name)  # type: ignore[misc]  # bound here, called at once


@contextmanager
def _daemon(listed: list[bytes]) -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(Path(folder), (), listed)
        try:
            daemon.start()
            yield daemon
        finally:
            daemon.process.kill()


def _against(row: Row, bare: Row) -> Row:
    return {"against_bare": float(str(row["cpu_us_per_datagram"])) / float(str(bare["cpu_us_per_datagram"]))}


def highest_pps(rows: list[Row]) -> float:
    """The rate at which all were compared: the bare receiver's highest without loss."""
    return next((float(str(row["asked_pps"])) for row in rows if row["what"] == "loopback, highest rate"), 0.0)
