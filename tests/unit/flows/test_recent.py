# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Top talkers of a window: what was taken is summed, ranked, forgotten, and bounded."""

from typing import Any

from sentinel.flows.recent import RecentFlows
from sentinel.model import FlowCount

NOTHING = (0, 0, 0, 0)


def row(**changes: Any) -> FlowCount:
    values: dict[str, Any] = {
        "agent": "10.0.0.1",
        "input": 3,
        "output": 5,
        "src_ip": "10.0.0.5",
        "dst_ip": "203.0.113.9",
        "protocol": 6,
        "src_port": 51000,
        "dst_port": 443,
        "vni": None,
        "packets": 1000,
        "bytes": 64_000,
        "samples": 1,
        "first_seen": 1.0,
        "last_seen": 1.0,
    }
    return FlowCount(**(values | changes))


def test_takings_of_one_flow_are_one_row() -> None:
    flows = RecentFlows()
    flows.add([row()], NOTHING, 1.0)
    flows.add([row(first_seen=2.0, last_seen=2.5), row(dst_port=80, bytes=1)], NOTHING, 2.0)
    first, second = flows.top(10, 3.0)
    assert (first.packets, first.bytes, first.samples, first.first_seen, first.last_seen) == (2000, 128_000, 2, 1, 2.5)
    assert second.dst_port == 80
    assert flows.top(1, 3.0) == [first]


def test_the_total_knows_the_small_ones_too() -> None:
    flows = RecentFlows()
    flows.add([row()], (10, 700, 3, 2), 1.0)
    totals = flows.totals(1.0)
    assert (totals.packets, totals.bytes, totals.samples) == (1010, 64_700, 4)
    assert (totals.unnamed_bytes, totals.unnamed_samples) == (700, 3)


def test_the_window_moves_on() -> None:
    flows = RecentFlows(kept_s=60)
    flows.add([row()], NOTHING, 1.0)
    assert len(flows.top(10, 60.9)) == 1
    assert flows.top(10, 61.0) == []


def test_rows_are_bounded_and_what_went_is_counted() -> None:
    flows = RecentFlows(max_rows=3)
    for second in range(4):
        flows.add([row(src_port=second), row(dst_port=second)], NOTHING, float(second))
    assert len(flows.top(10, 4.0)) == 2
    assert flows.dropped == 6
