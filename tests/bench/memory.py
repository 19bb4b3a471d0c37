# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""ns of CPU per sample from memory, flow counting and matches included; what the tables cost to make and to keep."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from resource import getpagesize
from typing import Any

from sentinel.blacklist.formats.registry import parse
from sentinel.blacklist.resting import collector_resting
from sentinel.blacklist.trie import Blacklist, Current
from sentinel.limits import LISTENER_BATCH_DATAGRAMS, MAX_FLOWS
from sentinel.receive._native import Batch, batch_of
from sentinel.scan._native import Flows, Health, NativeScan, frozen
from tests.bench import traffic
from tests.bench.baseline import MinimalScan

DATAGRAMS = 10_000
PASSES = 12
FAMILIES: tuple[traffic.Family, ...] = ("v4", "vxlan", "v6")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * getpagesize()


def batches(payloads: list[bytes]) -> list[Batch]:
    senders = [bytes((10, 0, 0, n % traffic.AGENTS + 1)) for n in range(len(payloads))]
    size = LISTENER_BATCH_DATAGRAMS
    return [batch_of(payloads[at : at + size], senders[at : at + size], 1.0) for at in range(0, len(payloads), size)]


def ns_per_sample(run: Callable[[], Any], samples: int) -> float:
    """The best of several passes, in CPU time of this thread: what others do on this machine is not counted."""
    best = float("inf")
    for _ in range(PASSES):
        begun = time.thread_time()
        run()
        best = min(best, time.thread_time() - begun)
    return best / samples * 1e9


def scan_once(scan: NativeScan, flows: Flows, work: list[Batch], lists: Blacklist) -> int:
    """All batches once, the table taken whenever it is half full, as the daemon does; the number of matches."""
    matches = 0
    for batch in work:
        matches += len(scan.scan(batch, lists).matches)
        if len(flows) * 2 >= MAX_FLOWS:
            flows.take()
    return matches


def scans(sizes: list[int], shares: list[float]) -> Iterator[dict[str, object]]:
    """A row for each family, number of prefixes and share of hits."""
    for family in FAMILIES:
        for size in sizes:
            listed = traffic.addresses(family, size, 7)
            lists = traffic.lists(listed)
            frozen(lists)
            for share in shares:
                payloads = traffic.payloads(family, DATAGRAMS, share, listed)
                work, flows = batches(payloads), Flows(MAX_FLOWS)
                scan = NativeScan(agents=Health(), flows=flows)
                samples = len(payloads) * traffic.SAMPLES
                found: dict[str, object] = {
                    "what": "scan from memory",
                    "family": family,
                    "prefixes": size,
                    "hits_pct": share * 100,
                    "ns_per_sample": ns_per_sample(lambda: scan_once(scan, flows, work, lists), samples),  # noqa: B023 - called at once
                }
                if family == "v4":
                    found["minimal_c_ns"] = ns_per_sample(MinimalScan(payloads, listed).run, samples)
                yield found


def tables(sizes: list[int]) -> Iterator[dict[str, object]]:
    """A row for each number of prefixes: text to lists in force, and memory for each prefix."""
    for family in FAMILIES[::2]:
        for size in sizes:
            text = "\n".join(map(traffic.text, traffic.addresses(family, size, 11)))
            before = resident_bytes()
            begun = time.perf_counter()
            # As the loader does it.
            with collector_resting():
                entries = parse("plain", text, "").entries
                parsed = time.perf_counter()
                lists = Blacklist.build({"bench": entries})
                built = time.perf_counter()
                current = Current(prepare=frozen)
                current.replace(lists)
                done = time.perf_counter()
            yield {
                "what": "load and swap",
                "family": family,
                "prefixes": size,
                "parse_s": parsed - begun,
                "build_s": built - parsed,
                "swap_s": done - built,
                "all_s": done - begun,
                "resident_bytes_per_prefix": (resident_bytes() - before) / size,
                "table_bytes_per_prefix": frozen(lists).size_bytes / size,
            }
            del entries, lists, current
