# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""From the datagram to the switch request, while the daemon is under load.

Fresh pairs, a datagram each, come in between a load of half the highest loss-free rate, and in turn with them bare HTTP
round trips go to the same shim. A pair's time is from just before its datagram is sent until the shim has the first
line of the request that mirrors it.
"""

import http.client
import math
import random
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import requests

from tests.bench import traffic
from tests.bench.loopback import DATAGRAMS, Sender
from tests.bench.receivers import SEED
from tests.bench.system import Daemon, NotingShim
from tests.bench.table import Row, progress
from tests.support.running import Agent, tcp_frame

EVERY_S = 0.05
SETTLE_S = 2.0
SWITCHES = 4
# Connections are opened once, and code is run for the first time.
WARM_UP = 4 * SWITCHES

Pair = tuple[str, str]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of ``values`` that so large a share does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def pairs(number: int, listed: Sequence[bytes]) -> list[Pair]:
    """So many (local, listed) pairs of hosts, no address twice."""
    usable = (one for one in random.Random(5).sample(listed, 4 * number) if one[0] not in {10, 127} and one[0] < 224)
    return [(f"10.200.{n >> 8}.{n & 255}", traffic.text(next(usable))) for n in range(number)]


class Load(threading.Thread):
    """Datagrams at a rate for so long."""

    def __init__(self, sender: Sender, port: int, rate_pps: float, seconds: float) -> None:
        super().__init__()
        self._sending = partial(sender.send, port, rate_pps, seconds)
        self.sent = 0

    def run(self) -> None:
        self.sent = self._sending()


def measure(prefixes: int, load_pps: float, number: int) -> Iterator[Row]:
    """One row: ``number`` pairs, one every EVERY_S, with ``prefixes`` loaded and the load running."""
    listed = traffic.addresses("v4", prefixes, SEED)
    sender = Sender(traffic.payloads("v4", DATAGRAMS, 0.01, listed))
    progress(f"latency: {number} pairs beside {load_pps:,.0f} datagrams/s")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        shims = [NotingShim(n + 1, Path(folder)) for n in range(SWITCHES)]
        for shim in shims:
            running.callback(shim.close)
            shim.start()
        daemon = Daemon(Path(folder), shims, listed)
        running.callback(daemon.process.kill)
        daemon.start()
        wanted = pairs(number + WARM_UP, listed)
        load = Load(sender, daemon.port, load_pps, len(wanted) * EVERY_S + 2 * SETTLE_S)
        before = daemon.received(0)
        load.start()
        sent, trips = _pairs_and_trips(shims, daemon, wanted)
        load.join()
        time.sleep(SETTLE_S)
        took = _taken(shims, daemon, sent)
        assert took, f"not one of {number} pairs was mirrored"
        yield {
            "what": "latency",
            "prefixes": prefixes,
            "load_pps": load_pps,
            "load_lost": load.sent + len(wanted) - (daemon.received(0) - before),
            "pairs": number,
            "requested": len(took),
            **{
                f"{name}_{word}_ms": percentile(values, share) * 1e3
                for name, values in (("request", took), ("bare_http", trips))
                for word, share in (("p50", 0.5), ("p99", 0.99))
            },
        }


def _pairs_and_trips(
    shims: list[NotingShim], daemon: Daemon, wanted: list[Pair]
) -> tuple[dict[Pair, float], list[float]]:
    """When each pair's datagram was sent, and how long the round trips between them took; the first are left out."""
    agents = [Agent(shim.agent, ("127.0.0.1", daemon.port)) for shim in shims]
    bare = [_connection(shim.url) for shim in shims]
    trips: list[float] = []
    sent: dict[Pair, float] = {}
    begun = time.monotonic() + SETTLE_S
    for n, pair in enumerate(wanted):
        agent = agents[n % SWITCHES]
        datagram = agent.made(tcp_frame(*pair))
        _sleep_until(begun + n * EVERY_S)
        sent[pair] = time.monotonic()
        agent.send_made(datagram)
        _sleep_until(begun + (n + 0.6) * EVERY_S)
        trips.append(_round_trip(bare[n % SWITCHES]))
    for agent in agents:
        agent.close()
    return dict(list(sent.items())[WARM_UP:]), trips[WARM_UP:]


def _connection(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)


def _round_trip(connection: http.client.HTTPConnection) -> float:
    begun = time.monotonic()
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    return time.monotonic() - begun


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _taken(shims: list[NotingShim], daemon: Daemon, sent: dict[Pair, float]) -> list[float]:
    """Seconds from datagram to request, in the order sent, of those pairs whose request came."""
    rules: dict[Pair, str] = {}
    answer = requests.get(f"http://{daemon.web}/api/v1/captures?limit=1000", timeout=20).json()
    for row in answer["captures"]:
        if row["mirrors"]:
            rules[row["local_ip"], row["listed_ip"]] = row["mirrors"][0]["rule"]
    asked: dict[str, float] = {}
    for shim in shims:
        for at, method, path in shim.asked():
            if method == "PUT":
                asked.setdefault(path.partition("?")[0].rpartition("/")[2], at)
    return [asked[rules[pair]] - at for pair, at in sent.items() if rules.get(pair) in asked]
