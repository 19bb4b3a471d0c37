# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The flows of the last minute, second by second, from the tables that the scan gives up.

A second names its largest flows; of the others only the sum is known, so that totals are right and rankings are of
those that were large in some second. What it costs is bounded by seconds and flows named in each, not by traffic.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter, itemgetter
from typing import Final

from sentinel.limits import FLOWS_KEPT_S, MAX_FIGURE, MAX_FLOWS_NAMED_PER_S
from sentinel.model import FlowCount, FlowSums, FlowTaking

Row = tuple[
    *tuple[str, int, int, str, str, int | None, int | None, int | None, int | None], int, int, int, float, float
]
"""A ``FlowCount`` as a plain tuple: of those the garbage collector knows that there is nothing to look for in them."""
FIELDS = tuple(each.name for each in fields(FlowCount))
# Their places in a row; those of the keys come first.
AGENT: Final = 0
PACKETS: Final = 9
BYTES: Final = 10
SAMPLES: Final = 11
FIRST: Final = 12
LAST: Final = 13
_row: Callable[[FlowCount], Row] = attrgetter(*FIELDS)
_size = itemgetter(BYTES)

NOTHING = FlowSums()


@dataclass(frozen=True, slots=True)
class Second:
    """``flows`` are the named ones, in no order, and may be of one key several times; ``total`` counts all."""

    flows: tuple[Row, ...] = ()
    total: FlowSums = NOTHING
    unnamed: FlowSums = NOTHING
    evicted_samples: int = 0


@dataclass(slots=True)
class FlowsCounters:
    """All that was ever given; ``unnamed_flows`` were too small for their table's or their second's named ones."""

    takings: int = 0
    packets: int = 0
    bytes: int = 0
    samples: int = 0
    unnamed_flows: Counter[str] = field(default_factory=lambda: Counter(small_in_table=0, small_in_second=0))
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
        with self._lock:
            self._seconds[taking.second] = self._together(self._seconds.get(taking.second, Second()), taking)
            self._forget(max(self._seconds))

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
            seconds = tuple(self._seconds.values())
        pair, src, dst = {one_ip, other_ip}, FIELDS.index("src_ip"), FIELDS.index("dst_ip")
        return _merged(row for each in seconds for row in each.flows if {row[src], row[dst]} == pair)

    def _forget(self, present: int) -> None:
        for second in [each for each in self._seconds if each < present - self._kept_s]:
            del self._seconds[second]

    def _together(self, before: Second, taking: FlowTaking) -> Second:
        given = tuple(map(_row, taking.flows))
        small = FlowSums(taking.unnamed_packets, taking.unnamed_bytes, taking.unnamed_samples)
        whole = plus(sums_of(given), small)
        flows = before.flows + given
        if len(flows) > self._named_per_s:
            # Nearly in order already, where the takings of a second are many.
            flows = tuple(sorted(flows, key=_size, reverse=True))
        flows, rest = flows[: self._named_per_s], flows[self._named_per_s :]
        small_here = sums_of(rest)
        self._count(taking, whole, small.samples + small_here.samples, len(rest))
        return Second(
            flows,
            plus(before.total, whole),
            plus(before.unnamed, plus(small, small_here)),
            before.evicted_samples + taking.evicted_samples,
        )

    def _count(self, taking: FlowTaking, whole: FlowSums, unnamed_samples: int, small_here: int) -> None:
        counters = self.counters
        counters.takings += 1
        counters.packets += whole.packets
        counters.bytes += whole.bytes
        counters.samples += whole.samples
        counters.unnamed_flows["small_in_table"] += taking.unnamed_flows
        counters.unnamed_flows["small_in_second"] += small_here
        counters.unnamed_samples += unnamed_samples
        counters.evicted_samples["no_row"] += taking.evicted_samples


def plus(one: FlowSums, other: FlowSums) -> FlowSums:
    """The sum of both, each amount at most ``MAX_FIGURE``."""
    return FlowSums(
        min(one.packets + other.packets, MAX_FIGURE),
        min(one.bytes + other.bytes, MAX_FIGURE),
        min(one.samples + other.samples, MAX_FIGURE),
    )


def sums_of(rows: Iterable[Row]) -> FlowSums:
    """What flows add up to, each amount at most ``MAX_FIGURE``."""
    packets = octets = samples = 0
    for row in rows:
        packets += row[PACKETS]
        octets += row[BYTES]
        samples += row[SAMPLES]
    return FlowSums(min(packets, MAX_FIGURE), min(octets, MAX_FIGURE), min(samples, MAX_FIGURE))


def _merged(rows: Iterable[Row]) -> list[FlowCount]:
    together: dict[object, FlowCount] = {}
    for row in rows:
        key, flow = row[:PACKETS], FlowCount(*row)
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
