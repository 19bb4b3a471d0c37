# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The scans of one daemon, one for each receiving thread, and which implementation they are.

Everything a scan keeps (counters, agent health, flow counts) is its thread's own; whoever asks gets the sum. The
datagrams of one agent always come to the same thread, so that its sequence numbers stay in one place.

A flow table never holds more than one second of the monotonic clock: whoever comes first in the next one, its thread
with a batch or somebody who takes all tables, gives it away. That happens under the table's lock: who has taken all
tables finds whatever was counted in the seconds before given, and none of it on its way.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Protocol

from sentinel.blacklist.trie import Blacklist
from sentinel.columns import Finished
from sentinel.compiled import Implementation, chosen
from sentinel.flowmodel import FlowSums, FlowTaking
from sentinel.limits import (
    MAX_AGENT_STREAMS,
    MAX_FLOWS,
    MAX_REFUSALS_LOGGED,
)
from sentinel.receive.batches import Received
from sentinel.scan.counters import ScanCounters
from sentinel.scan.flowtable import FlowTable
from sentinel.scan.plain import PlainScan, ScanResult
from sentinel.sflow.admission import Admission, Refusal
from sentinel.sflow.agents import AgentHealth, AgentTable

log = logging.getLogger(__name__)


class TakenFlows(Finished, Protocol):
    """``scan.flowtable.TakenFlows`` or its compiled twin."""

    @property
    def packets(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def samples(self) -> int: ...


class Flows(Protocol):
    """A flow table: ``scan.flowtable.FlowTable`` or its compiled twin."""

    @property
    def evicted(self) -> int: ...
    def __len__(self) -> int: ...
    def take(self) -> TakenFlows: ...


class Agents(Protocol):
    """A table of agents' health: ``sflow.agents.AgentTable`` or its compiled twin."""

    @property
    def overflow(self) -> int: ...
    @property
    def sources_overflow(self) -> int: ...
    def snapshot(self) -> list[AgentHealth]: ...


class Scan(Protocol):
    """``scan.plain.PlainScan`` or its compiled twin."""

    @property
    def counters(self) -> ScanCounters: ...
    def refusals(self) -> list[Refusal]: ...
    def scan(self, batch: Sequence[Received], blacklist: Blacklist) -> ScanResult: ...


def prepare(blacklist: Blacklist) -> None:
    """What takes long about new lists, before they are put in force."""
    if chosen()[0] == "native":
        from sentinel.scan import _native  # noqa: PLC0415 - only where it was built

        _native.frozen(blacklist)


class _One:
    """One thread's scan with what belongs to it; the lock keeps readers off while a batch is scanned."""

    def __init__(
        self, implementation: Implementation, admission: Admission | None, destinations: Iterable[str], streams: int
    ) -> None:
        self.lock = threading.Lock()
        self.second = 0
        self.evicted_told = 0
        self.agents: Agents
        self.flows: Flows
        self.scan: Scan
        if implementation == "native":
            from sentinel.scan import _native  # noqa: PLC0415 - only where it was built

            health, counts = _native.Health(streams), _native.Flows(MAX_FLOWS)
            self.agents, self.flows = health, counts
            self.scan = _native.NativeScan(admission, health, destinations, counts)
        else:
            agents, flows = AgentTable(streams), FlowTable(MAX_FLOWS)
            self.agents, self.flows = agents, flows
            self.scan = PlainScan(admission, agents, destinations, flows)


class Scanning:
    """``threads`` scans; ``on_flows`` is given each flow table when its second is over or it is half full.

    It is called under that thread's lock, so it must be quick and must not ask back: give the table to a ``HandOver``.
    """

    def __init__(
        self,
        admission: Admission | None = None,
        erspan_destinations: Iterable[str] = (),
        *,
        threads: int = 1,
        choice: str | None = None,
        on_flows: Callable[[FlowTaking], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.implementation, self.reason = chosen(choice)
        self._on_flows = on_flows
        self._clock = clock
        self._refused_told = 0
        streams = max(1, MAX_AGENT_STREAMS // threads)
        destinations = list(erspan_destinations)
        self._ones = [_One(self.implementation, admission, destinations, streams) for _ in range(threads)]

    @property
    def threads(self) -> int:
        """How many batches may be scanned at a time."""
        return len(self._ones)

    def scan(self, batch: Sequence[Received], blacklist: Blacklist, thread: int = 0) -> ScanResult:
        """One batch of one thread against one state of the lists."""
        one = self._ones[thread]
        with one.lock:
            self._turn(one)
            result = one.scan.scan(batch, blacklist)
            if len(one.flows) * 2 >= MAX_FLOWS:
                self._give(one)
        return result

    def take_flows(self) -> None:
        """Give ``on_flows`` what all tables hold of seconds that are over; meant for every second."""
        for one in self._ones:
            with one.lock:
                self._turn(one)

    def _turn(self, one: _One) -> None:
        second = int(self._clock())
        if second != one.second:
            self._give(one)
            one.second = second

    def _give(self, one: _One) -> None:
        evicted = one.flows.evicted - one.evicted_told
        if not len(one.flows) and not evicted:
            return
        taken = one.flows.take()
        one.evicted_told += evicted
        if self._on_flows is not None:
            total = FlowSums(taken.packets, taken.bytes, taken.samples)
            self._on_flows(FlowTaking(one.second, taken, total, evicted))

    @property
    def counters(self) -> ScanCounters:
        """The sum of all threads; of one thread the very object it counts in."""
        if len(self._ones) == 1:
            return self._ones[0].scan.counters
        total = ScanCounters()
        for one in self._ones:
            counters = one.scan.counters
            for name in (field.name for field in fields(ScanCounters)):
                setattr(total, name, getattr(total, name) + getattr(counters, name))
        return total

    @property
    def agents_overflow(self) -> tuple[int, int]:
        """Datagrams of streams, and samples of data sources, whose health found no room."""
        return (
            sum(one.agents.overflow for one in self._ones),
            sum(one.agents.sources_overflow for one in self._ones),
        )

    def refusals(self) -> list[Refusal]:
        """The latest kinds of datagrams that were not taken, a few of each thread."""
        rows: list[Refusal] = []
        for one in self._ones:
            with one.lock:
                rows += one.scan.refusals()
        return rows

    def log_refused(self) -> None:
        """One line for all datagrams that were not taken since the last one, with whom to look for."""
        counters = self.counters
        total = counters.refused.total() + counters.bad_datagrams.total()
        more, self._refused_told = total - self._refused_told, total
        if more:
            latest = (
                f"{each.reason}{each.agent and f' {each.agent}'} from {each.sender} ({each.count})"
                for each in self.refusals()[:MAX_REFUSALS_LOGGED]
            )
            log.warning("%d datagrams were not taken, the latest: %s", more, ", ".join(latest))

    def snapshot(self) -> list[AgentHealth]:
        """The health of every stream, ordered by agent and sub-agent."""
        rows: list[AgentHealth] = []
        for one in self._ones:
            with one.lock:
                rows += one.agents.snapshot()
        return sorted(rows, key=lambda row: (row.agent, row.sub_agent))
