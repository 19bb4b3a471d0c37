# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The flows of the last minute, second by second, from the tables that the scan hands over.

A second names its largest flows; of the others only the sum is known, so that totals are right and rankings are of
those that were large in some second. What it costs is bounded by seconds and flows named in each, not by traffic.
"""

import threading
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from sentinel.columns import Table
from sentinel.flowmodel import FlowCount, FlowKey, FlowSums, FlowTaking
from sentinel.flows.arrays import NO_FLOWS, Flows, picked, sums_at, values
from sentinel.limits import FLOWS_KEPT_S, MAX_FIGURE, MAX_FLOWS_NAMED_PER_S

NOTHING = FlowSums()
_KEYS: tuple[FlowKey, ...] = (
    *("agent", "input", "output", "src_ip", "dst_ip"),
    *("protocol", "src_port", "dst_port", "vni"),
)


@dataclass(frozen=True, slots=True)
class Second:
    """``flows`` are the named ones, in no order, and may be of one key several times; ``total`` counts all."""

    flows: Table = NO_FLOWS
    total: FlowSums = NOTHING
    unnamed: FlowSums = NOTHING
    evicted_samples: int = 0


@dataclass(slots=True)
class FlowsCounters:
    """All that was ever given; ``unnamed_flows`` were too small for their second's named ones, or came too fast."""

    takings: int = 0
    packets: int = 0
    bytes: int = 0
    samples: int = 0
    unnamed_flows: Counter[str] = field(default_factory=lambda: Counter(small_in_second=0, not_taken=0))
    unnamed_samples: int = 0
    evicted_samples: Counter[str] = field(default_factory=lambda: Counter(no_row=0))


class RecentFlows:
    """The last ``kept_s`` whole seconds and the present one; may be asked while other threads add.

    ``now`` is monotonic: before it nothing was counted.
    """

    def __init__(self, now: float, kept_s: int = FLOWS_KEPT_S, named_per_s: int = MAX_FLOWS_NAMED_PER_S) -> None:
        self.counters = FlowsCounters()
        self._begun = int(now)
        self._kept_s = kept_s
        self._named_per_s = named_per_s
        self._seconds: dict[int, Second] = {}
        self._lock = threading.Lock()

    def add(self, taking: FlowTaking) -> None:
        """What one table held; of one second there may be several. Seconds that have become too old go."""
        table = taking.flows.table()
        with self._lock:
            self._put(taking, table)

    def drop(self, taking: FlowTaking) -> None:
        """A table that nothing but its sums is taken of, because tables come faster than they are taken."""
        with self._lock:
            self.counters.unnamed_flows["not_taken"] += len(taking.flows)
            self._put(taking, NO_FLOWS, taking.total)

    def latest(self, most: int, now: float) -> tuple[int, list[Second]]:
        """The first of the latest whole seconds that were counted, at most ``most``, and what is known of each."""
        end = int(now)
        begin = min(end, max(self._begun, end - min(most, self._kept_s)))
        with self._lock:
            return begin, [self._seconds.get(second, Second()) for second in range(begin, end)]

    def between(self, one_ip: str, other_ip: str, now: float) -> list[FlowCount]:
        """The flows of a pair in either direction, each once, the present second's too."""
        with self._lock:
            self._forget(int(now))
            tables = [second.flows for second in self._seconds.values()]
        flows = Flows(tables)
        ends = [flows.are(key, address) for address in (one_ip, other_ip) for key in ("src_ip", "dst_ip")]
        return _merged(counts_of(flows.marked((ends[0] & ends[3]) | (ends[1] & ends[2]))))

    def _forget(self, present: int) -> None:
        for second in [each for each in self._seconds if each < present - self._kept_s]:
            del self._seconds[second]

    def _put(self, taking: FlowTaking, table: Table, unnamed: FlowSums = NOTHING) -> None:
        before = self._seconds.get(taking.second, Second())
        tables, rows = [before.flows, table], before.flows.rows + table.rows
        if rows > self._named_per_s:
            # In two parts, the first of those that are too small.
            places = np.argpartition(
                np.concatenate([values(each, "bytes") for each in tables]), rows - self._named_per_s
            )
            small, named = np.split(places, [rows - self._named_per_s])
            unnamed = plus(unnamed, sums_at(tables, small))
            self.counters.unnamed_flows["small_in_second"] += len(small)
            flows = picked(tables, named)
        else:
            flows = picked(tables, np.arange(rows)) if before.flows.rows else table
        self._seconds[taking.second] = Second(
            flows,
            plus(before.total, taking.total),
            plus(before.unnamed, unnamed),
            before.evicted_samples + taking.evicted_samples,
        )
        self._forget(max(self._seconds))
        self._count(taking, unnamed.samples)

    def _count(self, taking: FlowTaking, unnamed_samples: int) -> None:
        counters = self.counters
        counters.takings += 1
        counters.packets += taking.total.packets
        counters.bytes += taking.total.bytes
        counters.samples += taking.total.samples
        counters.unnamed_samples += unnamed_samples
        counters.evicted_samples["no_row"] += taking.evicted_samples


def plus(one: FlowSums, other: FlowSums) -> FlowSums:
    """The sum of both, each amount at most ``MAX_FIGURE``."""
    return FlowSums(
        min(one.packets + other.packets, MAX_FIGURE),
        min(one.bytes + other.bytes, MAX_FIGURE),
        min(one.samples + other.samples, MAX_FIGURE),
    )


def counts_of(flows: Flows) -> list[FlowCount]:
    """Each row as a value of its own, for few."""
    amounts = ("packets", "bytes", "samples", "first_seen", "last_seen")
    columns = [flows.column(name).tolist() for name in amounts]
    keys = [[flows.value(key, place) for key in _KEYS] for place in range(len(flows))]
    return [FlowCount(*key, *row) for key, *row in zip(keys, *columns, strict=True)]


def _merged(flows: list[FlowCount]) -> list[FlowCount]:
    together: dict[object, FlowCount] = {}
    for flow in flows:
        key = tuple(getattr(flow, name) for name in _KEYS)
        together[key] = _sum(together[key], flow) if key in together else flow
    return list(together.values())


def _sum(one: FlowCount, other: FlowCount) -> FlowCount:
    return replace(
        one,
        packets=min(one.packets + other.packets, MAX_FIGURE),
        bytes=min(one.bytes + other.bytes, MAX_FIGURE),
        samples=one.samples + other.samples,
        first_seen=min(one.first_seen, other.first_seen),
        last_seen=max(one.last_seen, other.last_seen),
    )
