# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Questions about recent flows: filter, group, rank, and the first groups second by second. Pure.

Only named flows can be filtered and grouped. What the others add up to is told beside them, never spread over groups.

There may be a group for each of some 60,000 flows, while other threads receive and decide. So groups are kept in
columns of plain numbers rather than as objects: a collection of garbage, which holds up everybody, has nothing to look
at there.
"""

import heapq
from collections.abc import Callable, Sequence
from functools import reduce
from operator import itemgetter
from socket import AF_INET, AF_INET6, inet_pton

from sentinel.flows.recent import BYTES, FIELDS, FIRST, LAST, NOTHING, PACKETS, SAMPLES, Row, Second, plus
from sentinel.limits import MAX_FIGURE
from sentinel.model import FlowAnswer, FlowGroup, FlowKey, FlowQuery, FlowSeries, FlowSums, FlowTest

_Value = str | int | None
_Key = tuple[_Value, ...]
_Passes = Callable[[Row], bool]
_Rest = Callable[[], object]


class _Groups:
    """What the flows of each key add up to, and of how many agents they are."""

    def __init__(self) -> None:
        self.places: dict[_Key, int] = {}
        self.packets: list[int] = []
        self.bytes: list[int] = []
        self.samples: list[int] = []
        self.first: list[float] = []
        self.last: list[float] = []
        self.parts: list[int] = []

    def add(self, key: _Key, packets: int, octets: int, samples: int, first: float, last: float) -> None:
        place = self.places.setdefault(key, len(self.parts))
        if place == len(self.parts):
            self.packets.append(packets)
            self.bytes.append(octets)
            self.samples.append(samples)
            self.first.append(first)
            self.last.append(last)
            self.parts.append(1)
            return
        self.packets[place] += packets
        self.bytes[place] += octets
        self.samples[place] += samples
        self.parts[place] += 1
        self.first[place] = min(self.first[place], first)
        self.last[place] = max(self.last[place], last)

    def without_agent(self) -> "_Groups":
        """The same by the rest of the key; ``parts`` is then the number of agents."""
        groups = _Groups()
        amounts = zip(self.packets, self.bytes, self.samples, self.first, self.last, strict=True)
        for (_, *key), row in zip(self.places, amounts, strict=True):
            groups.add(tuple(key), *row)
        return groups

    def sums(self) -> FlowSums:
        return _capped(sum(self.packets), sum(self.bytes), sum(self.samples))

    def top(self, query: FlowQuery) -> tuple[FlowGroup, ...]:
        column = {"packets": self.packets, "bytes": self.bytes, "samples": self.samples}[query.metric]
        keys = list(self.places)
        return tuple(
            FlowGroup(
                keys[place],
                _capped(self.packets[place], self.bytes[place], self.samples[place]),
                self.parts[place],
                self.first[place],
                self.last[place],
            )
            for place in heapq.nlargest(query.limit, range(len(keys)), key=column.__getitem__)
        )


def answer(query: FlowQuery, starts_at: float, seconds: Sequence[Second], rest: _Rest = lambda: None) -> FlowAnswer:
    """What ``seconds``, the first of which begins at ``starts_at``, say to a query; ``rest`` is called after each."""
    passes = _filter(query.tests)
    groups = _groups(query, seconds, passes, rest)
    top = groups.top(query)
    told = [group.key for group in top[: query.series]]
    return FlowAnswer(
        starts_at=starts_at,
        seconds=len(seconds),
        groups=top,
        groups_total=len(groups.places),
        passed=groups.sums(),
        total=reduce(plus, (second.total for second in seconds), NOTHING),
        unnamed=reduce(plus, (second.unnamed for second in seconds), NOTHING),
        evicted_samples=sum(second.evicted_samples for second in seconds),
        series=_series(query, told, seconds, passes, rest) if query.series else None,
    )


def _groups(query: FlowQuery, seconds: Sequence[Second], passes: _Passes, rest: _Rest) -> _Groups:
    by_agent = _Groups()
    key_of = _key_of(query.group)
    for second in seconds:
        for row in second.flows:
            if passes(row):
                by_agent.add(key_of(row), row[PACKETS], row[BYTES], row[SAMPLES], row[FIRST], row[LAST])
        rest()
    return by_agent.without_agent()


def _series(
    query: FlowQuery, told: Sequence[_Key], seconds: Sequence[Second], passes: _Passes, rest: _Rest
) -> FlowSeries:
    key_of, amount = _key_of(query.group), itemgetter(FIELDS.index(query.metric))
    places = {key: place for place, key in enumerate(told)}
    lines = []
    for second in seconds:
        # The last is of all other groups.
        line = [0] * (len(told) + 1)
        for row in second.flows:
            if passes(row):
                line[places.get(key_of(row)[1:], -1)] += amount(row)
        lines.append([min(value, MAX_FIGURE) for value in line])
        rest()
    return FlowSeries(
        groups=tuple(tuple(line[place] for line in lines) for place in range(len(told))),
        other=tuple(line[-1] for line in lines),
        unnamed=tuple(getattr(second.unnamed, query.metric) for second in seconds),
        total=tuple(getattr(second.total, query.metric) for second in seconds),
    )


def _key_of(group: Sequence[FlowKey]) -> Callable[[Row], _Key]:
    """The agent and the values of a group's keys."""
    return itemgetter(*map(FIELDS.index, ("agent", *group)))


def _capped(packets: int, octets: int, samples: int) -> FlowSums:
    return FlowSums(min(packets, MAX_FIGURE), min(octets, MAX_FIGURE), min(samples, MAX_FIGURE))


def _filter(tests: Sequence[FlowTest]) -> _Passes:
    if not tests:
        return lambda _: True
    made = [_test(test) for test in tests]
    return lambda row: all(test(row) for test in made)


def _test(test: FlowTest) -> _Passes:
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
