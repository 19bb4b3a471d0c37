# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Flow counts, and what a second of them is."""

from collections.abc import Sequence
from dataclasses import astuple
from struct import unpack
from typing import Any

from sentinel.columns import Table, address_text
from sentinel.flowmodel import FLOW_ABSENT, FlowCount, FlowSums, FlowTaking
from sentinel.flows.recent import Second
from sentinel.scan.flowtable import FlowRow, TakenFlows


def flow_count(**changes: Any) -> FlowCount:
    values: dict[str, Any] = {
        "agent": "10.0.0.1",
        "input": 3,
        "output": 5,
        "src_ip": "10.0.0.5",
        "dst_ip": "203.0.113.9",
        "protocol": 6,
        "src_port": 51_000,
        "dst_port": 443,
        "vni": None,
        "packets": 1_000,
        "bytes": 64_000,
        "samples": 1,
        "first_seen": 1.0,
        "last_seen": 1.0,
    }
    return FlowCount(**(values | changes))


def taken(flows: Sequence[FlowCount]) -> TakenFlows:
    """What a table that held these flows gives away."""
    rows = [
        (
            astuple(each)[:9],
            FlowRow(each.first_seen, each.last_seen, each.packets, each.bytes, each.samples),
        )
        for each in flows
    ]
    return TakenFlows(rows, *(sum(getattr(each, name) for each in flows) for name in ("packets", "bytes", "samples")))


def taking(second: int, flows: Sequence[FlowCount] = (), evicted_samples: int = 0) -> FlowTaking:
    given = taken(flows)
    return FlowTaking(second, given, FlowSums(given.packets, given.bytes, given.samples), evicted_samples)


def flows_of(table: Table) -> list[FlowCount]:
    """Every row of a table, read in the slow obvious way."""
    columns: dict[str, Sequence[Any]] = {}
    for column in table.schema.columns:
        octets = bytes(table.column(column.name))
        if column.format == "16s":
            columns[column.name] = [octets[at : at + 16] for at in range(0, len(octets), 16)]
        else:
            columns[column.name] = unpack(f"={table.rows}{column.format}", octets)
    rows = [{name: values[row] for name, values in columns.items()} for row in range(table.rows)]
    return [_flow(**row) for row in rows]


def _flow(*, agent_family: int, family: int, absent: int, **values: Any) -> FlowCount:
    for name, of_family in (("agent", agent_family), ("src_ip", family), ("dst_ip", family)):
        values[name] = address_text(values[name], of_family)
    for name, bit in FLOW_ABSENT.items():
        if absent & bit:
            assert values[name] == 0
            values[name] = None
    return FlowCount(**values)


def flow_second(*flows: FlowCount, unnamed: FlowSums | None = None, evicted_samples: int = 0) -> Second:
    small = unnamed or FlowSums()
    total = FlowSums(
        sum(flow.packets for flow in flows) + small.packets,
        sum(flow.bytes for flow in flows) + small.bytes,
        sum(flow.samples for flow in flows) + small.samples,
    )
    return Second(taken(flows).table(), total, small, evicted_samples)
