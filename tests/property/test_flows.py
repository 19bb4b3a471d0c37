# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever was taken, and whatever is asked: the answer is that of a slow obvious reference."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from sentinel.flowmodel import FlowCount
from sentinel.flows.query import answer
from sentinel.flows.recent import RecentFlows, plus
from sentinel.web import flowquery
from tests.support.flows import flow_count, flows_of, taking

ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "192.0.2.1", "2001:db8::1", "2001:db8:1::1"]
PREFIXES = [*ADDRESSES, "10.0.0.0/24", "0.0.0.0/0", "2001:db8::/48", "::/0"]
PORTS = [None, 0, 53, 443, 65_535]
NUMBERS = ["0", "53", "6", "1-52", "53-443", "0-65535"]
NO_PLACES = ["src_ip", "dst_ip", "protocol", "src_port", "dst_port"]
PROTOCOLS = ["tcp", "udp", "6", "0-255", "17-58"]

flows = st.builds(
    lambda v6, agent, input_, hosts, protocol, ports, amounts, seen: flow_count(
        agent=agent,
        input=input_,
        src_ip=ADDRESSES[hosts[0] % 4 if not v6 else 4 + hosts[0] % 2],
        dst_ip=ADDRESSES[hosts[1] % 4 if not v6 else 4 + hosts[1] % 2],
        protocol=protocol,
        src_port=ports[0],
        dst_port=ports[1],
        vni=None if protocol != 17 else 7,
        packets=amounts[0],
        bytes=amounts[1],
        samples=amounts[2],
        first_seen=float(seen),
        last_seen=float(seen + 1),
    ),
    st.booleans(),
    st.sampled_from(["10.9.0.1", "10.9.0.2", "10.9.0.3"]),
    st.integers(0, 2),
    # Half of them are one conversation, so that agents share it.
    st.just((0, 3)) | st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.sampled_from([None, 1, 6, 17]),
    st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)),
    st.tuples(st.integers(0, 9), st.integers(0, 99), st.integers(1, 3)),
    st.integers(0, 50),
)


@dataclass(frozen=True)
class Given:
    """A table of one second, and beside it one that came too fast to be taken."""

    second: int
    flows: list[FlowCount]
    dropped: list[FlowCount]
    evicted_samples: int


givens = st.builds(
    Given, st.integers(3, 12), st.lists(flows, max_size=6), st.lists(flows, max_size=2), st.integers(0, 5)
)


def give(recent: RecentFlows, each: Given) -> None:
    recent.add(taking(each.second, each.flows, each.evicted_samples))
    recent.drop(taking(each.second, each.dropped))


def words(values: Sequence[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda sign, chosen: sign + ",".join(chosen),
        st.sampled_from(["", "!"]),
        st.lists(st.sampled_from(values), min_size=1, max_size=3),
    )


tests = st.one_of(
    *[st.tuples(st.just(key), words(PREFIXES)) for key in ("agent", "src_ip", "dst_ip", "ip")],
    *[st.tuples(st.just(key), words(NUMBERS)) for key in ("input", "output", "src_port", "dst_port", "port", "vni")],
    st.tuples(st.just("protocol"), words(PROTOCOLS)),
)
queries = st.builds(
    lambda asked, filter_: asked | dict(filter_),
    st.fixed_dictionaries(
        {
            "group": st.one_of(
                [
                    st.lists(st.sampled_from(keys), min_size=1, unique=True).map(",".join)
                    for keys in (flowquery.KEYS, NO_PLACES)
                ]
            ),
            "metric": st.sampled_from(flowquery.METRICS),
            "seconds": st.integers(1, 12).map(str),
            "series": st.integers(0, 3).map(str),
            "limit": st.integers(1, 5).map(str),
        }
    ),
    # Few, so that something is left.
    st.lists(tests, max_size=3),
)


def holds(flow: FlowCount, key: str, text: str) -> bool:
    """A filter's key as a person reads it."""
    either = {"ip": ("src_ip", "dst_ip"), "port": ("src_port", "dst_port")}.get(key, (key,))
    found = False
    for name in either:
        value = getattr(flow, name)
        for word in text.removeprefix("!").split(","):
            if name in {"agent", "src_ip", "dst_ip"}:
                found = found or ipaddress.ip_address(value) in ipaddress.ip_network(word)
            elif value is not None:
                low, _, high = str({"tcp": 6, "udp": 17}.get(word, word)).partition("-")
                found = found or value in range(int(low), int(high or low) + 1)
    return found is not text.startswith("!")


def amount(found: Iterable[FlowCount], metric: str) -> int:
    return sum(getattr(flow, metric) for flow in found)


def counts_in(passed: Iterable[FlowCount], group: Iterable[str]) -> list[FlowCount]:
    """Of a question that is not about places: of each pair of hosts what the agent with most packets of it saw."""
    found = list(passed)
    if not set(group).issubset(NO_PLACES):
        return found
    counted = []
    for pair in {(flow.src_ip, flow.dst_ip) for flow in found}:
        of_pair = [flow for flow in found if (flow.src_ip, flow.dst_ip) == pair]
        seen_by = {flow.agent: [each for each in of_pair if each.agent == flow.agent] for flow in of_pair}
        counted += seen_by[min(seen_by, key=lambda agent: (-amount(seen_by[agent], "packets"), agent))]
    return counted


@given(st.lists(givens, max_size=12), queries)
def test_answers_are_those_of_the_reference(given_: list[Given], wanted: dict[str, str]) -> None:
    recent = RecentFlows(5.5, kept_s=8)
    for each in given_:
        give(recent, each)
    query = flowquery.parse(wanted)
    begin, seconds = recent.latest(query.seconds, 12.3)
    told = answer(query, float(begin), seconds)
    window = range(max(5, 4, 12 - query.seconds), 12)
    assert (told.starts_at, told.seconds) == (window.start, len(window))

    taken = [each for each in given_ if each.second in window]
    passed = [
        (each.second, flow)
        for each in taken
        for flow in each.flows
        if all(holds(flow, key, text) for key, text in wanted.items() if key in flowquery.FILTERS)
    ]
    counts = set(counts_in((flow for _, flow in passed), query.group))
    counted = [(at, flow) for at, flow in passed if flow in counts]
    groups: dict[tuple[object, ...], list[FlowCount]] = {}
    for _, flow in passed:
        groups.setdefault(tuple(getattr(flow, key) for key in query.group), []).append(flow)
    counting = {key: [flow for flow in found if flow in counts] for key, found in groups.items()}
    sizes = sorted((amount(found, query.metric) for found in counting.values()), reverse=True)
    assert [getattr(group.sums, query.metric) for group in told.groups] == sizes[: query.limit]
    assert told.groups_total == len(groups)
    for group in told.groups:
        found = groups[group.key]
        for metric in flowquery.METRICS:
            assert getattr(group.sums, metric) == amount(counting[group.key], metric)
        assert group.agents == len({flow.agent for flow in found})
        assert group.first_seen == min(flow.first_seen for flow in found)
        assert group.last_seen == max(flow.last_seen for flow in found)

    for metric in flowquery.METRICS:
        unnamed = sum(amount(each.dropped, metric) for each in taken)
        assert getattr(told.passed, metric) == amount((flow for _, flow in counted), metric)
        of_all = amount((flow for _, flow in passed), metric)
        assert getattr(told.passed, metric) + getattr(told.elsewhere, metric) == of_all
        assert getattr(told.unnamed, metric) == unnamed
        assert getattr(told.total, metric) == unnamed + sum(amount(each.flows, metric) for each in taken)
    assert told.evicted_samples == sum(each.evicted_samples for each in taken)
    if told.series is not None:
        for number, second in enumerate(window):
            now = [flow for at, flow in counted if at == second]
            of_all = amount((flow for at, flow in passed if at == second), query.metric)
            of_groups = [values[number] for values in told.series.groups]
            for group, value in zip(told.groups, of_groups, strict=False):
                assert value == amount((flow for flow in now if flow in groups[group.key]), query.metric)
            assert sum(of_groups) + told.series.other[number] == amount(now, query.metric)
            assert amount(now, query.metric) + told.series.elsewhere[number] == of_all
        assert sum(told.series.total) == getattr(told.total, query.metric)
        assert sum(told.series.unnamed) == getattr(told.unnamed, query.metric)


@given(st.lists(givens, max_size=12), queries)
def test_what_counts_what_does_not_and_what_has_no_name_are_everything(
    given_: list[Given], wanted: dict[str, str]
) -> None:
    """Without a filter passed, elsewhere and unnamed add up to all, in sum and second by second."""
    recent = RecentFlows(0.0, named_per_s=3)
    for each in given_:
        give(recent, each)
    query = flowquery.parse({key: text for key, text in wanted.items() if key not in flowquery.FILTERS})
    begin, seconds = recent.latest(query.seconds, 12.3)
    told = answer(query, float(begin), seconds)
    assert reduce(plus, (told.passed, told.elsewhere, told.unnamed)) == told.total
    if told.series is not None:
        parts = [*told.series.groups, told.series.other, told.series.elsewhere, told.series.unnamed]
        assert tuple(map(sum, zip(*parts, strict=True))) == told.series.total


@given(st.lists(givens, max_size=12), st.integers(1, 4))
def test_a_bound_on_names_loses_no_amount(given_: list[Given], named: int) -> None:
    """What a second does not name is in its unnamed sum, and what it names are its largest."""
    bounded, free = RecentFlows(0.0, named_per_s=named), RecentFlows(0.0)
    for each in given_:
        give(bounded, each)
        give(free, each)
    for few, all_ in zip(bounded.latest(60, 20.0)[1], free.latest(60, 20.0)[1], strict=True):
        assert few.total == all_.total
        told, everything = (flows_of(second.flows) for second in (few, all_))
        assert len(told) == min(named, len(everything))
        assert amount(told, "bytes") + few.unnamed.bytes == few.total.bytes
        assert amount(told, "samples") + few.unnamed.samples == few.total.samples
        sizes = sorted((flow.bytes for flow in everything), reverse=True)
        assert sorted((flow.bytes for flow in told), reverse=True) == sizes[:named]
    assert bounded.counters.samples == free.counters.samples
