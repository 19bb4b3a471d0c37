# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Flow counts, and what a second of them is."""

from dataclasses import astuple
from typing import Any

from sentinel.flows.recent import Second
from sentinel.model import FlowCount, FlowSums


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


def flow_second(*flows: FlowCount, unnamed: FlowSums | None = None, evicted_samples: int = 0) -> Second:
    small = unnamed or FlowSums()
    total = FlowSums(
        sum(flow.packets for flow in flows) + small.packets,
        sum(flow.bytes for flow in flows) + small.bytes,
        sum(flow.samples for flow in flows) + small.samples,
    )
    return Second(tuple(astuple(flow) for flow in flows), total, small, evicted_samples)
