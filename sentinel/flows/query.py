# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Questions about recent flows: filter, group, rank, and the first groups second by second. Pure.

Only named flows can be filtered and grouped. What the others add up to is told beside them, never spread over groups.

A packet is sampled at every agent on its way. So of each pair of hosts only the agent that has most packets of it, in
the window and of what passes the filter, counts; what the others sampled of it is told as a sum of its own. A question
that groups by what only a place has (its agent, its interfaces, the network a tunnel carries there) is about places:
then everything counts where it was sampled.

There may be a group for each of some 60,000 flows, while other threads receive and decide. So groups are kept in
columns of plain numbers rather than as objects: a collection of garbage, which holds up everybody, has nothing to look
at there.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import reduce
from operator import itemgetter
from socket import AF_INET, AF_INET6, inet_pton

from sentinel.flows.recent import (
    AGENT,
    BYTES,
    FIELDS,
    FIRST,
    LAST,
    NOTHING,
    PACKETS,
    SAMPLES,
    Row,
    Second,
    plus,
    sums_of,
)
from sentinel.limits import MAX_FIGURE
from sentinel.model import FlowAnswer, FlowGroup, FlowKey, FlowQuery, FlowSeries, FlowSums, FlowTest

_Value = str | int | None
_Key = tuple[_Value, ...]
_Test = Callable[[Row], bool]
_Rest = Callable[[], object]
_Flows = Sequence[Sequence[Row]]

_PLACES: frozenset[FlowKey] = frozenset({"agent", "input", "output", "vni"})
_pair_of = itemgetter(FIELDS.index("src_ip"), FIELDS.index("dst_ip"))


class _Groups:
    """What the flows of each key add up to, when any were seen, and by how many agents."""

    def __init__(self) -> None:
        self.places: dict[_Key, int] = {}
        # The same by agent and key.
        self.places_at: dict[_Key, int] = {}
        self.packets: list[int] = []
        self.bytes: list[int] = []
        self.samples: list[int] = []
        self.first: list[float] = []
        self.last: list[float] = []
        self.agents: list[int] = []

    def add(self, agent_and_key: _Key, row: Row) -> None:
        place = self.see(agent_and_key, row)
        self.packets[place] += row[PACKETS]
        self.bytes[place] += row[BYTES]
        self.samples[place] += row[SAMPLES]

    def see(self, agent_and_key: _Key, row: Row) -> int:
        """It was there, without its amounts; returns its group's place."""
        place = self.places_at.get(agent_and_key)
        if place is None:
            place = self.places_at[agent_and_key] = self._place(agent_and_key[1:], row)
            self.agents[place] += 1
        self.first[place] = min(self.first[place], row[FIRST])
        self.last[place] = max(self.last[place], row[LAST])
        return place

    def _place(self, key: _Key, row: Row) -> int:
        place = self.places.setdefault(key, len(self.agents))
        if place == len(self.agents):
            for column in (self.packets, self.bytes, self.samples, self.agents):
                column.append(0)
            self.first.append(row[FIRST])
            self.last.append(row[LAST])
        return place

    def sums(self) -> FlowSums:
        return _capped(sum(self.packets), sum(self.bytes), sum(self.samples))

    def top(self, query: FlowQuery) -> tuple[FlowGroup, ...]:
        column = {"packets": self.packets, "bytes": self.bytes, "samples": self.samples}[query.metric]
        keys = list(self.places)
        return tuple(
            FlowGroup(
                keys[place],
                _capped(self.packets[place], self.bytes[place], self.samples[place]),
                self.agents[place],
                self.first[place],
                self.last[place],
            )
            for place in heapq.nlargest(query.limit, range(len(keys)), key=column.__getitem__)
        )


def answer(query: FlowQuery, starts_at: float, seconds: Sequence[Second], rest: _Rest = lambda: None) -> FlowAnswer:
    """What ``seconds``, the first of which begins at ``starts_at``, say to a query.

    ``rest`` is called after each second of each time that they are gone over.
    """
    once = _PLACES.isdisjoint(query.group)
    flows = _passing(query.tests, seconds, rest)
    counted, again = _apart(flows, _observers(flows, rest), rest) if once else (flows, [()] * len(flows))
    groups = _groups(query, counted, again, rest)
    top = groups.top(query)
    told = [group.key for group in top[: query.series]]
    return FlowAnswer(
        starts_at=starts_at,
        seconds=len(seconds),
        groups=top,
        groups_total=len(groups.places),
        counted_once=once,
        passed=groups.sums(),
        elsewhere=reduce(plus, map(sums_of, again), NOTHING),
        total=reduce(plus, (second.total for second in seconds), NOTHING),
        unnamed=reduce(plus, (second.unnamed for second in seconds), NOTHING),
        evicted_samples=sum(second.evicted_samples for second in seconds),
        series=_series(query, told, seconds, counted, again, rest) if query.series else None,
    )


def _passing(tests: Sequence[FlowTest], seconds: Sequence[Second], rest: _Rest) -> _Flows:
    """Of each second what passes the filter."""
    if not tests:
        return [second.flows for second in seconds]
    passes, flows = _filter(tests), []
    for second in seconds:
        flows.append([row for row in second.flows if passes(row)])
        rest()
    return flows


def _observers(flows: _Flows, rest: _Rest) -> dict[_Key, str]:
    """Of each pair of hosts the agent with most packets; of equals the one that is first as text."""
    packets: defaultdict[str, dict[_Key, int]] = defaultdict(dict)
    observers: dict[_Key, str] = {}
    for of_second in flows:
        for row in of_second:
            agent, pair = row[AGENT], _pair_of(row)
            of_agent = packets[agent]
            amount = of_agent[pair] = of_agent.get(pair, 0) + row[PACKETS]
            # Amounts only grow: whoever has most at the end has been compared when it last grew.
            best = observers.setdefault(pair, agent)
            if best != agent:
                most = packets[best][pair]
                if amount > most or (amount == most and agent < best):
                    observers[pair] = agent
        rest()
    return observers


def _apart(flows: _Flows, observers: dict[_Key, str], rest: _Rest) -> tuple[_Flows, _Flows]:
    """Of each second what is at its pair's observer, and what further agents sampled again."""
    counted, again = [], []
    for of_second in flows:
        here: list[Row] = []
        elsewhere: list[Row] = []
        for row in of_second:
            (here if observers[_pair_of(row)] == row[AGENT] else elsewhere).append(row)
        counted.append(here)
        again.append(elsewhere)
        rest()
    return counted, again


def _groups(query: FlowQuery, counted: _Flows, again: _Flows, rest: _Rest) -> _Groups:
    groups = _Groups()
    key_of = _key_of(query.group)
    for here, elsewhere in zip(counted, again, strict=True):
        for row in here:
            groups.add(key_of(row), row)
        for row in elsewhere:
            groups.see(key_of(row), row)
        rest()
    return groups


def _series(
    query: FlowQuery, told: Sequence[_Key], seconds: Sequence[Second], counted: _Flows, again: _Flows, rest: _Rest
) -> FlowSeries:
    key_of, amount = _key_of(query.group), itemgetter(FIELDS.index(query.metric))
    places = {key: place for place, key in enumerate(told)}
    lines = []
    for here in counted:
        # The last is of all other groups.
        line = [0] * (len(told) + 1)
        for row in here:
            line[places.get(key_of(row)[1:], -1)] += amount(row)
        lines.append([min(value, MAX_FIGURE) for value in line])
        rest()
    return FlowSeries(
        groups=tuple(tuple(line[place] for line in lines) for place in range(len(told))),
        other=tuple(line[-1] for line in lines),
        elsewhere=tuple(getattr(sums_of(elsewhere), query.metric) for elsewhere in again),
        unnamed=tuple(getattr(second.unnamed, query.metric) for second in seconds),
        total=tuple(getattr(second.total, query.metric) for second in seconds),
    )


def _key_of(group: Sequence[FlowKey]) -> Callable[[Row], _Key]:
    """The agent and the values of a group's keys."""
    return itemgetter(AGENT, *map(FIELDS.index, group))


def _capped(packets: int, octets: int, samples: int) -> FlowSums:
    return FlowSums(min(packets, MAX_FIGURE), min(octets, MAX_FIGURE), min(samples, MAX_FIGURE))


def _filter(tests: Sequence[FlowTest]) -> _Test:
    made = [_test(test) for test in tests]
    return lambda row: all(test(row) for test in made)


def _test(test: FlowTest) -> _Test:
    """Each different value is looked at once: a flow costs a look-up or two."""
    verdicts: dict[str | float | None, bool] = {}
    places = [FIELDS.index(key) for key in test.keys]

    def passes(row: Row) -> bool:
        for place in places:
            value = row[place]
            found = verdicts.get(value)
            if found is None:
                found = verdicts[value] = _lies_in(value, test)
            if found:
                return not test.negated
        return test.negated

    return passes


def _lies_in(value: str | float | None, test: FlowTest) -> bool:
    """Addresses are compared with those of their own length only: 4 octets are IPv4, 16 are IPv6."""
    if isinstance(value, str):
        packed = inet_pton(AF_INET6 if ":" in value else AF_INET, value)
        return any(
            first <= packed <= last
            for first, last in test.ranges
            if isinstance(first, bytes) and isinstance(last, bytes) and len(first) == len(packed)
        )
    return value is not None and any(
        first <= value <= last for first, last in test.ranges if isinstance(first, int) and isinstance(last, int)
    )
