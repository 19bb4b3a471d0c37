# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The last minute of flows: what was taken is found in its second, forgotten in time, and bounded."""

from sentinel.flowmodel import FlowSums
from sentinel.flows.recent import RecentFlows, Second
from sentinel.limits import MAX_FIGURE
from tests.support.flows import flow_count, flows_of, taking


def test_each_second_has_what_was_counted_in_it_in_whatever_order_it_comes() -> None:
    flows = RecentFlows(10.5)
    flows.add(taking(12, [flow_count(bytes=2)]))
    flows.add(taking(11, [flow_count(bytes=1)], evicted_samples=7))
    flows.drop(taking(11, [flow_count(packets=30, bytes=500, samples=3)]))
    begin, seconds = flows.latest(60, 13.0)
    assert begin == 10
    assert [second.total.bytes for second in seconds] == [0, 501, 2]
    assert seconds[1].total == FlowSums(1030, 501, 4)
    assert seconds[1].unnamed == FlowSums(30, 500, 3)
    assert (seconds[0], seconds[1].evicted_samples) == (Second(), 7)


def test_the_present_second_and_those_before_the_start_are_not_told() -> None:
    flows = RecentFlows(10.5)
    flows.add(taking(12, [flow_count()]))
    assert flows.latest(60, 12.9) == (10, [Second(), Second()])
    assert flows.latest(1, 13.0)[0] == 12
    assert flows.latest(60, 10.9) == (10, [])
    assert flows.latest(60, 9.0) == (9, [])


def test_the_window_moves_on_and_what_left_it_is_let_go() -> None:
    flows = RecentFlows(0.0, kept_s=3)
    for second in range(10):
        flows.add(taking(second, [flow_count(input=second)]))
    begin, seconds = flows.latest(60, 10.0)
    assert (begin, [flow.input for second in seconds for flow in flows_of(second.flows)]) == (7, [7, 8, 9])
    assert [flow.input for flow in flows.between("10.0.0.5", "203.0.113.9", 11.0)] == [8, 9]
    assert flows.latest(60, 99.0) == (96, [Second()] * 3)


def test_a_second_names_its_largest_and_counts_the_others() -> None:
    flows = RecentFlows(0.0, named_per_s=2)
    for size in (5, 1, 9, 3):
        flows.add(taking(0, [flow_count(bytes=size, packets=size, input=size)]))
    _, [second] = flows.latest(60, 1.0)
    assert sorted(flow.bytes for flow in flows_of(second.flows)) == [5, 9]
    assert (second.total, second.unnamed) == (FlowSums(18, 18, 4), FlowSums(4, 4, 2))
    assert flows.counters.unnamed_flows == {"small_in_second": 2, "not_taken": 0}
    assert flows.counters.unnamed_samples == 2


def test_everything_given_is_counted() -> None:
    flows = RecentFlows(0.0, kept_s=1)
    for second in range(5):
        flows.add(taking(second, [flow_count()], evicted_samples=3))
        flows.drop(taking(second, [flow_count(packets=10, bytes=100)] * 2, evicted_samples=1))
    counters = flows.counters
    assert (counters.takings, counters.packets, counters.bytes, counters.samples) == (10, 5_100, 321_000, 15)
    assert (counters.unnamed_flows["not_taken"], counters.unnamed_samples) == (10, 10)
    assert counters.evicted_samples == {"no_row": 20}


def test_a_pair_is_found_in_both_directions_and_each_flow_once() -> None:
    flows, there = RecentFlows(0.0), flow_count(first_seen=2.0, last_seen=2.5)
    back = flow_count(src_ip="203.0.113.9", dst_ip="10.0.0.5")
    flows.add(taking(0, [there, flow_count(dst_ip="203.0.113.8")]))
    flows.add(taking(1, [flow_count(first_seen=3.0, last_seen=3.5, bytes=MAX_FIGURE), back]))
    one, other = flows.between("203.0.113.9", "10.0.0.5", 1.5)
    assert (one.samples, one.packets, one.bytes, one.first_seen, one.last_seen) == (2, 2_000, MAX_FIGURE, 2.0, 3.5)
    assert other == back
