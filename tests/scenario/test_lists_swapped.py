# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Lists are made, put in force and given up while several threads scan: nothing is missed, no batch sees a mixture.

``SENTINEL_SWAP_PREFIXES`` says how many prefixes each generation of the lists has, a million for what a site may have.
"""

import os
import random
import threading
import time
from ipaddress import ip_address, ip_network

import pytest

from sentinel.blacklist.formats.parsed import Entry
from sentinel.blacklist.trie import Blacklist, Current
from sentinel.compiled import Implementation
from sentinel.model import Indicator
from sentinel.scan.threads import Scanning, prepare
from tests.support.traffic import datagram, flow, frame, packet
from tests.support.twins import native

PREFIXES = int(os.environ.get("SENTINEL_SWAP_PREFIXES", "1000"))
LARGE = PREFIXES > 100_000
SWAPS = {"native": 8 if LARGE else 60, "python": 20}
THREADS = 3
# Disjoint ones, and such as nest in other ways in the other generation.
ASKED = (
    ("198.51.100.0/24", "51.0.0.0/8", "51.1.0.0/16", "51.1.1.1/32", "2a00::/29", "2a00:1:1::/48", "2a00:1:1:1::1/128"),
    ("203.0.113.0/24", "51.1.0.0/16", "51.1.1.0/24", "2a00:1::/32", "2a00:1:1:1::/64", "2a00:2:2::/48"),
)
ADDRESSES = (
    *("198.51.100.9", "203.0.113.9", "51.1.1.1", "51.1.1.2", "51.1.2.1", "51.2.0.1", "192.0.2.1"),
    *("2a00:1:1:1::1", "2a00:1:1:1::2", "2a00:1:1:2::1", "2a00:1:2::1", "2a00:2:2::1", "2a00:f::1"),
)
# For the compiled scan enough hits that they are told in several bundles, each of which may wait for the lock.
DATAGRAMS = {"native": 120, "python": 4}


def entries(generation: int) -> list[Entry]:
    """What is asked for, between hosts that nobody asks for: half IPv4, half IPv6, others in each generation."""
    chance = random.Random(generation)
    hosts = [
        *(f"{20 + generation}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}/32" for n in range(PREFIXES // 2)),
        *(f"26{generation:02}:{n >> 16:x}:{n & 0xFFFF:x}::1/128" for n in range(1, PREFIXES // 2 + 1)),
        *ASKED[generation],
    ]
    chance.shuffle(hosts)
    return [Entry(host, "hosts", n) for n, host in enumerate(hosts, 1)]


def expected(generation: int, address: str) -> tuple[Indicator, ...]:
    """The longest prefix first, by a look at each."""
    covering = [prefix for prefix in ASKED[generation] if ip_address(address) in ip_network(prefix)]
    covering.sort(key=lambda prefix: -int(prefix.partition("/")[2]))
    return tuple(Indicator(prefix, f"generation-{generation}", "hosts") for prefix in covering)


def asking(address: str) -> bytes:
    return flow(frame(packet("fd00::5" if ":" in address else "10.0.0.5", address)))


class Scanner(threading.Thread):
    """Scans one batch again and again, each time with the lists in force, and compares all that is matched."""

    def __init__(self, scanning: Scanning, current: Current, number: int) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.batches = [0, 0]
        self.stop = False
        self._scanning, self._current, self._number = scanning, current, number
        agent = f"10.0.0.{number + 1}"
        samples = [asking(address) for address in ADDRESSES]
        datagrams = DATAGRAMS[scanning.implementation]
        self._batch = [(datagram(*samples, agent=agent, sequence=n), agent, 1.0) for n in range(1, datagrams + 1)]
        self._expected = [
            [(address, found) for address in ADDRESSES if (found := expected(generation, address))] * datagrams
            for generation in (0, 1)
        ]

    def run(self) -> None:
        while not self.stop and not self.wrong:
            generation, lists = self._current.snapshot()
            matches = self._scanning.scan(self._batch, lists, self._number).matches
            self.batches[generation % 2] += 1
            if [(match.dst_ip, match.indicators) for match in matches] != self._expected[generation % 2]:
                self.wrong.append(f"thread {self._number}, generation {generation}: {len(matches)} matches")


@pytest.mark.timeout(1200 if LARGE else 120)
@pytest.mark.parametrize("choice", ["python", "native"])
def test_lists_swapped_under_load_miss_nothing_and_never_mix(
    choice: Implementation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    swaps = SWAPS[choice]
    if choice == "native":
        native()
    monkeypatch.setenv("SENTINEL_SCAN", choice)
    both = [entries(0), entries(1)]

    def made(generation: int) -> Blacklist:
        return Blacklist.build({f"generation-{generation}": both[generation]})

    current = Current(prepare=prepare)
    # Generation 0 would be the empty lists: what is put in force first is 1.
    current.replace(made(1))
    scanning = Scanning(threads=THREADS, choice=choice)
    scanners = [Scanner(scanning, current, number) for number in range(THREADS)]
    longest_s = 0.0
    for scanner in scanners:
        scanner.start()
    try:
        for number in range(swaps):
            begun = time.monotonic()
            assert current.replace(made(number % 2)) % 2 == number % 2
            longest_s = max(longest_s, time.monotonic() - begun)
            seen = [sum(scanner.batches) for scanner in scanners]
            while not all(sum(scanner.batches) > before for scanner, before in zip(scanners, seen, strict=True)):
                assert not [wrong for scanner in scanners for wrong in scanner.wrong]
                assert time.monotonic() - begun < (200 if LARGE else 60)
                time.sleep(0.001)
    finally:
        for scanner in scanners:
            scanner.stop = True
        for scanner in scanners:
            scanner.join()
    assert [wrong for scanner in scanners for wrong in scanner.wrong] == []
    assert all(min(scanner.batches) >= swaps // 4 for scanner in scanners)
    batches = sum(sum(scanner.batches) for scanner in scanners)
    assert scanning.counters.flow_samples == batches * DATAGRAMS[choice] * len(ADDRESSES)
    if LARGE:
        with capsys.disabled():
            print(f"\n{choice}: {swaps} swaps of {PREFIXES} prefixes, the longest {longest_s:.1f} s, {batches} batches")
