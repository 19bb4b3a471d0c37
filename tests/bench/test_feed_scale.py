# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Twenty feeds are in force soon after their download, matching goes on meanwhile, and every match names all its feeds.

``SENTINEL_BENCH_PREFIXES`` says how many prefixes in all: a million is what the limits in seconds are made for.
"""

import ipaddress
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_ntop

import pytest

from sentinel.blacklist.catalogue import Feed
from sentinel.blacklist.fetch import Fetched, HttpFetcher, Validators
from sentinel.blacklist.formats.prefixes import pack
from sentinel.blacklist.loader import Loader
from sentinel.blacklist.trie import Current
from sentinel.model import Indicator
from sentinel.scan.threads import prepare
from tests.support import feed_server as srv

PREFIXES = int(os.environ.get("SENTINEL_BENCH_PREFIXES", "40000"))
FEEDS = 20
IN_FORCE_S = 10.0
# One look of the cycle collector through everything takes a third of that at a million prefixes; a receive buffer of
# 32 MiB bridges it at 20,000 datagrams/s.
LONGEST_GAP_S = 1.0
ALWAYS_LISTED = "45.45.45.45"


def lists() -> dict[str, list[str]]:
    """Hosts, networks and IPv6, a twentieth of each list in the next one too, and one address on all."""
    chosen = random.Random(6)
    made: dict[str, list[str]] = {}
    shared: list[str] = []
    for number in range(FEEDS):
        own: dict[str, None] = dict.fromkeys([ALWAYS_LISTED, *shared])
        while len(own) < PREFIXES // FEEDS:
            value = chosen.getrandbits(32)
            kind = chosen.random()
            if kind < 0.1:
                octets = (0x2A00 << 32 | value).to_bytes(6, "big") + bytes(10)
                own[f"{inet_ntop(AF_INET6, octets)}/{chosen.choice((48, 64, 128))}"] = None
                continue
            first = (value >> 24) % 100 + 11
            text = inet_ntop(AF_INET, ((first << 24) | value & 0xFFFFFF).to_bytes(4, "big"))
            own[f"{text}/{chosen.choice((20, 24))}" if kind < 0.2 else text] = None
        made[f"feed-{number:02}"] = list(own)
        shared = list(own)[: PREFIXES // FEEDS // 20]
    return made


class Clocked(HttpFetcher):
    """Remembers when the first and last download were there."""

    def __init__(self) -> None:
        super().__init__()
        self.done_at: list[float] = []

    def fetch(self, feed: Feed, validators: Validators, now: float) -> Fetched | None:
        fetched = super().fetch(feed, validators, now)
        self.done_at.append(time.monotonic())
        return fetched


class Matcher(threading.Thread):
    """Asks the lists in force as a scan does: the reference once per batch, 256 addresses, then the next datagrams."""

    def __init__(self, current: Current) -> None:
        super().__init__()
        self.current = current
        self.longest_gap_s = 0.0
        self.lookups = self.missed = 0
        self.generations: dict[int, float] = {}
        self.must_match = False
        self._ended = threading.Event()
        chosen = random.Random(7)
        self._addresses = [chosen.randbytes(4) for _ in range(255)]

    def run(self) -> None:
        listed, before = pack(ALWAYS_LISTED), time.monotonic()
        while not self._ended.is_set():
            must_match = self.must_match
            generation, blacklist = self.current.snapshot()
            for address in self._addresses:
                blacklist.lookup_packed(address)
            if must_match and not blacklist.lookup_packed(listed):
                self.missed += 1
            now = time.monotonic()
            self.generations.setdefault(generation, now)
            self.longest_gap_s = max(self.longest_gap_s, now - before)
            self.lookups += 256
            before = now
            self._ended.wait(0.001)

    def end(self) -> None:
        self._ended.set()
        self.join()


@pytest.fixture
def server() -> Iterator[srv.FeedServer]:
    with srv.FeedServer() as running:
        yield running


def test_twenty_feeds(server: srv.FeedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = lists()
    feeds = [
        Feed(name, "plain", "g", url=server.serve(f"/{name}", srv.body("\n".join(lines).encode())), min_interval_s=60)
        for name, lines in made.items()
    ]
    fetcher, now = Clocked(), 1e9
    loader = Loader(
        feeds, tmp_path, local=["10.0.0.0/8"], fetcher=fetcher, current=Current(prepare=prepare), now=lambda: now
    )
    matcher = Matcher(loader.current)
    matcher.start()
    try:
        outcomes = loader.refresh_due()
        first_s = matched_at(matcher, 1) - fetcher.done_at[0]
        matcher.must_match = True
        # All of them change a little, and the lists in force are used while they are made anew.
        for name, lines in made.items():
            made[name] = lines[:-10] + [f"9.9.9.{n}" for n in range(10)]
            server.serve(f"/{name}", srv.body("\n".join(made[name]).encode()))
        now += 3600
        fetcher.done_at.clear()
        changes = loader.refresh_due()
        again_s = matched_at(matcher, 2) - fetcher.done_at[0]
    finally:
        matcher.end()
    with capsys.disabled():
        print(
            f"\n{len(loader.current.blacklist)} prefixes: in force {first_s:.2f} s after their first download, changed "
            f"{again_s:.2f} s; {matcher.lookups} lookups meanwhile, longest gap {matcher.longest_gap_s * 1000:.0f} ms"
        )
    assert {outcome.kind for outcome in (*outcomes, *changes)} == {"replaced"}
    # Two lines of a list may be one network.
    assert all(len(each.difference.added) == 10 and 5 <= len(each.difference.removed) <= 10 for each in changes)
    assert (loader.current.generation, matcher.missed) == (2, 0)
    assert max(first_s, again_s) < IN_FORCE_S
    assert matcher.longest_gap_s < LONGEST_GAP_S
    check_provenance(loader, made)


def matched_at(matcher: Matcher, generation: int) -> float:
    """When the matcher first used these lists."""
    end = time.monotonic() + 10
    while generation not in matcher.generations:
        assert time.monotonic() < end
        time.sleep(0.001)
    return matcher.generations[generation]


def check_provenance(loader: Loader, made: dict[str, list[str]]) -> None:
    """Every feed that lists an address, longest prefix first, against a walk over all lists."""
    chosen = random.Random(8)
    texts = [chosen.choice(lines).partition("/")[0] for lines in made.values() for _ in range(5)]
    addresses = [ipaddress.ip_address(text) for text in {*texts, ALWAYS_LISTED, "9.9.9.3", "8.8.8.8"}]
    wanted: dict[str, set[tuple[str, str]]] = {str(address): set() for address in addresses}
    for name, lines in made.items():
        for line in lines:
            network = ipaddress.ip_network(line, strict=False)
            for address in addresses:
                if address in network:
                    wanted[str(address)].add((str(network), name))
    for text, rows in wanted.items():
        in_order = sorted(rows, key=lambda row: (-int(row[0].partition("/")[2]), row[1]))
        assert loader.current.blacklist.lookup(text) == tuple(Indicator(prefix, name, "g") for prefix, name in in_order)
    assert len(wanted[ALWAYS_LISTED]) == FEEDS
