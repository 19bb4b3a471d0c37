# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Flow counts between two takings: who talks with whom, through which ports of which agent, how much.

Bounded: from ``max_flows`` on, samples of flows that have no row yet are counted as evicted and nothing else. Whoever
scans takes the table every second, or when it is half full, so that this happens only in a flood.
"""

from dataclasses import dataclass
from heapq import nlargest

from sentinel.limits import MAX_FIGURE, MAX_FLOW_AGENTS, MAX_FLOWS
from sentinel.model import FlowCount
from sentinel.scan.pairs import Pair

_Key = tuple[str, int, int, str, str, int | None, int | None, int | None, int | None]


@dataclass(slots=True)
class _Row:
    first: float
    last: float
    packets: int = 0
    bytes: int = 0
    samples: int = 0


class FlowTable:
    """Rows by agent, ports, pair, protocol, L4 ports and network. ``evicted`` counts samples without a row."""

    def __init__(self, max_flows: int = MAX_FLOWS) -> None:
        self._max = max_flows
        self._rows: dict[_Key, _Row] = {}
        self._agents: set[str] = set()
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, agent: str, input_: int, output: int, pair: Pair, rate: int, frame_length: int, at: float) -> None:
        """One sample: ``rate`` packets of ``frame_length`` octets each."""
        key = (
            *(agent, input_, output, pair.src_ip, pair.dst_ip),
            *(pair.protocol, pair.src_port, pair.dst_port, pair.vni),
        )
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= self._max or not self._known(agent):
                self.evicted += 1
                return
            row = self._rows[key] = _Row(at, at)
        row.packets = min(row.packets + rate, MAX_FIGURE)
        row.bytes = min(row.bytes + min(rate * frame_length, MAX_FIGURE), MAX_FIGURE)
        row.samples += 1
        row.last = at

    def take(self) -> list[FlowCount]:
        """Every row in order of arrival; the table is empty then."""
        rows = [FlowCount(*key, row.packets, row.bytes, row.samples, row.first, row.last) for key, row in self._items()]
        self._rows.clear()
        if len(self._agents) * 2 >= MAX_FLOW_AGENTS:
            self._agents.clear()
        return rows

    def take_top(self, most: int) -> tuple[list[FlowCount], tuple[int, int, int, int]]:
        """The ``most`` rows with most bytes, in no order, and the sums of the rest: packets, bytes, samples, rows.

        The table is empty then.
        """
        rows = self.take()
        top = nlargest(most, rows, key=lambda row: row.bytes)
        kept = {id(row) for row in top}
        rest = [row for row in rows if id(row) not in kept]
        packets, octets = sum(row.packets for row in rest), sum(row.bytes for row in rest)
        return top, (min(packets, MAX_FIGURE), min(octets, MAX_FIGURE), sum(row.samples for row in rest), len(rest))

    def _items(self) -> list[tuple[_Key, _Row]]:
        return list(self._rows.items())

    def _known(self, agent: str) -> bool:
        if agent not in self._agents and len(self._agents) < MAX_FLOW_AGENTS:
            self._agents.add(agent)
        return agent in self._agents
