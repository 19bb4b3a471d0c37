# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Groups, ranks, filters and series of flows."""

from ipaddress import ip_network
from itertools import permutations
from typing import Any

import pytest

from sentinel.flowmodel import FlowAnswer, FlowKey, FlowQuery, FlowSums, FlowTest
from sentinel.flows.query import answer
from sentinel.flows.recent import Second
from sentinel.limits import MAX_FIGURE
from tests.support.flows import flow_count, flow_second

WEB = flow_count(dst_port=443, bytes=500, packets=5, samples=5)
DNS = flow_count(dst_port=53, protocol=17, bytes=90, packets=9, samples=9, first_seen=3.0, last_seen=4.0)
PING = flow_count(src_ip="10.0.0.6", protocol=1, src_port=None, dst_port=None, bytes=64, packets=1)
SIX = flow_count(src_ip="2001:db8::5", dst_ip="2001:db8:1::9", dst_port=443, bytes=10, packets=1)
SECONDS = [flow_second(WEB, PING), flow_second(), flow_second(WEB, DNS, SIX, unnamed=FlowSums(7, 70, 7))]


def asked(**changes: Any) -> FlowAnswer:
    return answer(FlowQuery(**({"group": ("dst_port",)} | changes)), 100.0, SECONDS)


def net(text: str) -> tuple[bytes, bytes]:
    return ip_network(text).network_address.packed, ip_network(text).broadcast_address.packed


def test_groups_are_ranked_by_the_metric() -> None:
    told = asked()
    assert [(group.key, group.sums.bytes) for group in told.groups] == [((443,), 1_010), ((53,), 90), ((None,), 64)]
    assert [group.key for group in asked(metric="packets").groups] == [((443,)), ((53,)), ((None,))]
    assert [group.sums.samples for group in asked(metric="samples", limit=2).groups] == [11, 9]
    assert (told.groups_total, asked(limit=1).groups_total, len(asked(limit=1).groups)) == (3, 3, 1)
    assert (told.starts_at, told.seconds) == (100.0, 3)


def test_a_group_says_when_and_how_many_agents_saw_it() -> None:
    [group] = answer(
        FlowQuery(("src_ip", "dst_ip")),
        0.0,
        [flow_second(WEB, DNS), flow_second(flow_count(agent="10.0.0.2", packets=7, last_seen=9.0), WEB)],
    ).groups
    assert group.key == ("10.0.0.5", "203.0.113.9")
    assert (group.agents, group.first_seen, group.last_seen) == (2, 1.0, 9.0)
    assert group.sums == FlowSums(19, 1_090, 19)


LEAF, SPINE, FAR = (f"10.0.0.{n}" for n in (1, 2, 3))


def on_the_way(**changes: Any) -> Second:
    """A flow at the three switches that it passes; the spine happened to sample most of it."""
    at = {LEAF: (900, 9), SPINE: (1_100, 11), FAR: (1_000, 10)}
    flows = [
        flow_count(agent=agent, packets=packets, bytes=100 * packets, samples=samples, **changes)
        for agent, (packets, samples) in at.items()
    ]
    return flow_second(*flows, unnamed=FlowSums(3, 300, 3))


def test_what_is_sampled_at_every_hop_counts_at_one() -> None:
    told = answer(FlowQuery(("src_ip", "dst_ip"), series=1), 0.0, [on_the_way(), on_the_way()])
    [group] = told.groups
    assert (group.sums, group.agents, told.counted_once) == (FlowSums(2_200, 220_000, 22), 3, True)
    assert (told.passed, told.elsewhere) == (FlowSums(2_200, 220_000, 22), FlowSums(3_800, 380_000, 38))
    assert (told.unnamed.packets, told.total.packets) == (6, 6_006)
    assert told.series is not None
    assert told.series.groups == ((110_000, 110_000),)
    assert (told.series.other, told.series.elsewhere) == ((0, 0), (190_000, 190_000))
    assert told.series.total == (300_300, 300_300)


@pytest.mark.parametrize("place", ["agent", "input", "output", "vni"])
def test_a_question_about_places_has_every_agents_count(place: FlowKey) -> None:
    told = answer(FlowQuery(("src_ip", place), series=3), 0.0, [on_the_way()])
    assert sum(group.sums.packets for group in told.groups) == told.passed.packets == 3_000
    assert (told.counted_once, told.elsewhere) == (False, FlowSums())
    assert told.series is not None
    assert told.series.elsewhere == (0,)


def test_the_agent_with_most_packets_is_that_of_the_window_not_of_a_second() -> None:
    seconds = [
        flow_second(flow_count(agent=LEAF, packets=5), flow_count(agent=SPINE, packets=4)),
        flow_second(flow_count(agent=LEAF, packets=1), flow_count(agent=SPINE, packets=4)),
    ]
    told = answer(FlowQuery(("dst_port",), "packets", series=1), 0.0, seconds)
    assert told.series is not None
    assert told.series.groups == ((4, 4),)
    assert told.series.elsewhere == (5, 1)


def test_of_equals_the_lowest_address_counts_in_whatever_order_they_come() -> None:
    flows = flow_count(agent=SPINE, bytes=7), flow_count(agent=LEAF, bytes=8), flow_count(agent=FAR, bytes=9)
    for order in permutations(flows):
        assert answer(FlowQuery(("dst_port",)), 0.0, [flow_second(*order)]).passed.bytes == 8


def test_each_direction_and_each_pair_has_its_own_observer() -> None:
    back = {"src_ip": "203.0.113.9", "dst_ip": "10.0.0.5"}
    told = answer(
        FlowQuery(("protocol",), "packets"),
        0.0,
        [
            flow_second(
                *(flow_count(agent=agent, packets=packets) for agent, packets in ((LEAF, 30), (SPINE, 20))),
                *(flow_count(agent=agent, packets=packets, **back) for agent, packets in ((LEAF, 2), (SPINE, 5))),
                flow_count(agent=FAR, packets=1, dst_ip="203.0.113.10"),
            )
        ],
    )
    [group] = told.groups
    assert (group.sums.packets, group.agents, told.elsewhere.packets) == (36, 3, 22)


def test_what_is_sampled_only_where_its_pair_does_not_count_is_a_group_of_nothing() -> None:
    """A pair has one observer, so that its groups add up; a small flow may have been sampled beside it only."""
    seconds = [flow_second(WEB, flow_count(agent=SPINE, dst_port=53, packets=1, last_seen=9.0))]
    big, small = answer(FlowQuery(("dst_port",)), 0.0, seconds).groups
    assert (big.key, big.agents) == ((443,), 1)
    assert (small.key, small.sums, small.agents, small.last_seen) == ((53,), FlowSums(), 1, 9.0)


def test_the_observer_is_that_of_what_passes_the_filter() -> None:
    seconds = [
        flow_second(
            flow_count(agent=LEAF, packets=100),
            flow_count(agent=SPINE, packets=90),
            flow_count(agent=LEAF, packets=1, dst_port=53),
            flow_count(agent=SPINE, packets=3, dst_port=53),
        )
    ]
    told = answer(FlowQuery(("dst_port",), tests=(FlowTest(("dst_port",), ((53, 53),)),)), 0.0, seconds)
    assert (told.passed.packets, told.elsewhere.packets) == (3, 1)
    told = answer(FlowQuery(("dst_port",), tests=(FlowTest(("agent",), (net(LEAF),)),)), 0.0, seconds)
    assert (told.passed.packets, told.elsewhere.packets) == (101, 0)


def test_amounts_are_of_what_passed_and_of_everything() -> None:
    told = asked(tests=(FlowTest(("protocol",), ((17, 17),)),))
    assert (told.passed.bytes, told.total.bytes, told.unnamed) == (90, 1_234, FlowSums(7, 70, 7))
    assert asked().passed == FlowSums(21, 1_164, 21)


@pytest.mark.parametrize(
    ("test", "passed"),
    [
        (FlowTest(("dst_port",), ((53, 53),)), {DNS}),
        (FlowTest(("dst_port",), ((1, 52), (54, 442))), set()),
        (FlowTest(("dst_port",), ((53, 53),), negated=True), {WEB, PING, SIX}),
        (FlowTest(("src_ip",), (net("10.0.0.4/31"),)), {WEB, DNS}),
        (FlowTest(("src_ip",), (net("0.0.0.0/0"),)), {WEB, DNS, PING}),
        (FlowTest(("src_ip",), (net("::/0"),)), {SIX}),
        (FlowTest(("src_ip", "dst_ip"), (net("2001:db8:1::/48"), net("10.0.0.6"))), {SIX, PING}),
        (FlowTest(("src_ip", "dst_ip"), (net("203.0.113.0/24"),), negated=True), {SIX}),
        (FlowTest(("src_port", "dst_port"), ((0, 65_535),), negated=True), {PING}),
    ],
)
def test_a_filter_lets_pass_what_it_names(test: FlowTest, passed: set[object]) -> None:
    told = asked(tests=(test,))
    wanted = [flow for flow in (WEB, PING, WEB, DNS, SIX) if flow in passed]
    assert told.passed.bytes == sum(flow.bytes for flow in wanted)
    assert told.passed.samples == sum(flow.samples for flow in wanted)


def test_all_tests_must_hold() -> None:
    tests = FlowTest(("dst_port",), ((443, 443),)), FlowTest(("src_ip",), (net("::/0"),))
    assert asked(tests=tests).passed.bytes == SIX.bytes


def test_series_are_of_the_first_groups_with_the_rest_beside() -> None:
    assert asked().series is None
    series = asked(series=2).series
    assert series is not None
    assert series.groups == ((500, 0, 510), (0, 0, 90))
    assert (series.other, series.unnamed, series.total) == ((64, 0, 0), (0, 0, 70), (564, 0, 670))
    few = asked(series=2, limit=1, metric="samples", tests=(FlowTest(("dst_port",), ((443, 443),)),)).series
    assert few is not None
    assert (few.groups, few.other, few.total) == (((5, 0, 6),), (0, 0, 0), (6, 0, 22))


def test_sums_stop_where_figures_end() -> None:
    huge = flow_second(flow_count(bytes=MAX_FIGURE), flow_count(bytes=MAX_FIGURE, agent="10.0.0.2"))
    told = answer(FlowQuery(("src_ip",), series=1), 0.0, [huge, huge])
    assert told.series is not None
    assert {told.groups[0].sums.bytes, told.passed.bytes, told.series.groups[0][0]} == {MAX_FIGURE}
