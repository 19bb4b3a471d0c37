# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The plain and the compiled scan side by side: whatever one of them gives, the other must give too."""

import importlib.util
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from sentinel.blacklist.trie import Blacklist
from sentinel.receive.batches import Received
from sentinel.scan.flowtable import FlowTable
from sentinel.scan.plain import PlainScan
from sentinel.sflow.admission import Admission
from sentinel.sflow.agents import AgentTable
from tests.support.traffic import LEAF1, blacklist

if TYPE_CHECKING:
    from sentinel.receive._native import Batch

# Every address is listed, some several times, and a few are allowed again.
EVERYTHING = blacklist(
    *("0.0.0.0/0", "::/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.5", "203.0.113.0/24", "2001:db8::/32", "fd00::/8"),
    *("192.168.0.0/16", "128.0.0.0/1", "fe80::/10", "2001:db8::9"),
    allow=("192.0.2.0/24", "2001:db8:1::/48"),
)


def native() -> Any:
    """The module of the compiled scan; skips the test where it was not built."""
    if importlib.util.find_spec("sentinel.scan._native") is None:
        pytest.skip("the compiled scan was not built")
    return importlib.import_module("sentinel.scan._native")


class Twins:
    """Feeds both and asserts after every batch that they agree in all that can be seen from outside."""

    def __init__(
        self,
        lists: Blacklist = EVERYTHING,
        *,
        admissions: tuple[Admission | None, Admission | None] = (None, None),
        erspan_destinations: Iterable[str] = ("10.0.0.70", "2001:db8::70"),
        max_streams: int = 10_000,
        max_flows: int = 32_768,
    ) -> None:
        module = native()
        self.lists = lists
        destinations = list(erspan_destinations)
        self.plain = PlainScan(admissions[0], AgentTable(max_streams), destinations, FlowTable(max_flows))
        self.native = module.NativeScan(
            admissions[1], module.Health(max_streams), destinations, module.Flows(max_flows)
        )

    def feed(self, batch: Sequence[Received], compiled: "Batch | None" = None, *, take: bool = True) -> int:
        """Scan one batch, which the compiled scan gets as ``compiled`` where given; the number of matches."""
        one, other = self.plain.scan(batch, self.lists), self.native.scan(compiled or batch, self.lists)
        assert other.matches == one.matches
        assert other.counters_samples == one.counters_samples
        assert self.native.counters == self.plain.counters
        assert self.native.refusals() == self.plain.refusals()
        plain, health = self.plain.agents, self.native.agents
        assert plain is not None
        assert health.snapshot() == plain.snapshot()
        assert (health.overflow, health.sources_overflow) == (plain.overflow, plain.sources_overflow)
        assert self.plain.flows is not None
        assert (len(self.native.flows), self.native.flows.evicted) == (len(self.plain.flows), self.plain.flows.evicted)
        if take:
            mine, other = self.native.flows.take(), self.plain.flows.take()
            assert (len(mine), mine.packets, mine.bytes) == (len(other), other.packets, other.bytes)
            assert mine.samples == other.samples == sum(mine.table().column("samples"))
            assert mine.table() == other.table()
        return len(one.matches)

    def feed_all(self, payloads: Iterable[bytes], size: int = 16) -> int:
        """Payloads in batches, a tenth of a second apart, from one sender."""
        batch: list[Received] = []
        matches = 0
        for number, payload in enumerate(payloads):
            batch.append((payload, LEAF1, 1_000.0 + number / 10))
            if len(batch) == size:
                matches += self.feed(batch)
                batch = []
        return matches + self.feed(batch)


def mutations(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Damaged copies: octets and words overwritten, pieces cut out, doubled or swapped between two seeds."""
    chance = random.Random(seed)
    edges = (0, 1, 2, 3, 4, 5, 0x7F, 0x80, 0xFF, 0x11, 0x2F, 0x29, 0x33)
    for _ in range(count):
        octets = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5, 8))):
            at = chance.randrange(len(octets)) if octets else 0
            kind = chance.randrange(8)
            if kind < 3:
                octets[at : at + 1] = bytes((chance.choice(edges) if chance.random() < 0.5 else chance.randrange(256),))
            elif kind == 3:
                word = chance.choice((0, 1, 4, 5, 8, 16, 1001, 1007, 0xFFFFFFFF, 0x80000000, chance.randrange(2048)))
                octets[at & ~3 : (at & ~3) + 4] = word.to_bytes(4, "big")
            elif kind == 4:
                del octets[at : at + chance.randrange(1, 16)]
            elif kind == 5:
                octets[at:at] = octets[at : at + chance.randrange(1, 64)]
            elif kind == 6:
                other = chance.choice(seeds)
                octets[at : at + 32] = other[at : at + 32]
            else:
                del octets[at:]
        yield bytes(octets)
