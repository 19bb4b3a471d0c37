# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Flow counts between two takings: who talks with whom, through which ports of which agent, how much.

Bounded: from ``max_flows`` on, samples of flows that have no row yet are counted as evicted and nothing else. Whoever
scans takes the table every second, or when it is half full, so that this happens only in a flood.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack

from sentinel.columns import Table, address_octets
from sentinel.flowmodel import FLOW_ABSENT, FLOWS
from sentinel.limits import MAX_FIGURE, MAX_FLOW_AGENTS, MAX_FLOWS
from sentinel.scan.pairs import Pair

_Key = tuple[str, int, int, str, str, int | None, int | None, int | None, int | None]


@dataclass(slots=True)
class FlowRow:
    """What is counted of one flow."""

    first: float
    last: float
    packets: int = 0
    bytes: int = 0
    samples: int = 0


@dataclass(frozen=True, slots=True)
class TakenFlows:
    """The rows of a flow table, given away with the memory they stand in, and their sums."""

    rows: Sequence[tuple[_Key, FlowRow]]
    packets: int
    bytes: int
    samples: int

    def __len__(self) -> int:
        return len(self.rows)

    def table(self) -> Table:
        """Every row in order of arrival, as columns of ``FLOWS``."""
        made = [_values(key, row) for key, row in self.rows]
        columns = zip(*made, strict=True) if made else [()] * len(FLOWS.columns)
        octets = b"".join(
            b"".join(values) if column.width == 16 else pack(f"={len(values)}{column.format}", *values)
            for column, values in zip(FLOWS.columns, columns, strict=True)
        )
        return Table(FLOWS, len(made), octets)


class FlowTable:
    """Rows by agent, ports, pair, protocol, L4 ports and network. ``evicted`` counts samples without a row."""

    def __init__(self, max_flows: int = MAX_FLOWS) -> None:
        self._max = max_flows
        self._rows: dict[_Key, FlowRow] = {}
        self._agents: set[str] = set()
        # Of all rows.
        self._packets = self._bytes = self._samples = 0
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
            row = self._rows[key] = FlowRow(at, at)
        octets = min(rate * frame_length, MAX_FIGURE)
        row.packets = min(row.packets + rate, MAX_FIGURE)
        row.bytes = min(row.bytes + octets, MAX_FIGURE)
        row.samples += 1
        row.last = at
        self._packets = min(self._packets + rate, MAX_FIGURE)
        self._bytes = min(self._bytes + octets, MAX_FIGURE)
        self._samples += 1

    def take(self) -> TakenFlows:
        """The rows in order of arrival, given away; the table is empty then."""
        taken = TakenFlows(list(self._rows.items()), self._packets, self._bytes, self._samples)
        self._rows = {}
        self._packets = self._bytes = self._samples = 0
        if len(self._agents) * 2 >= MAX_FLOW_AGENTS:
            self._agents.clear()
        return taken

    def _known(self, agent: str) -> bool:
        if agent not in self._agents and len(self._agents) < MAX_FLOW_AGENTS:
            self._agents.add(agent)
        return agent in self._agents


def _values(key: _Key, row: FlowRow) -> tuple[bytes | float, ...]:
    """One row, in the order of the columns."""
    agent, input_, output, src_ip, dst_ip, *optional = key
    absent = sum(bit for bit, value in zip(FLOW_ABSENT.values(), optional, strict=True) if value is None)
    agent_octets, agent_family = address_octets(agent)
    src, family = address_octets(src_ip)
    return (
        *(agent_octets, src, address_octets(dst_ip)[0]),
        *(row.packets, row.bytes, row.first, row.last, row.samples),
        *(input_, output, *(value or 0 for value in optional)),
        *(agent_family, family, absent),
    )
