# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Questions about recent flows: filter, group, rank, and the first groups second by second. Pure.

Only named flows can be filtered and grouped. What the others add up to is told beside them, never spread over groups.

A packet is sampled at every agent on its way. So of each pair of hosts only the agent that has most packets of it, in
the window and of what passes the filter, counts; what the others sampled of it is told as a sum of its own. A question
that groups by what only a place has (its agent, its interfaces, the network a tunnel carries there) is about places:
then everything counts where it was sampled.

There may be half a million flows, while other threads receive and decide. So everything is done column by column, by
numpy and mostly without the GIL; only the groups of the answer become objects.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np

from sentinel.columns import MAPPED
from sentinel.flowmodel import FlowAnswer, FlowGroup, FlowKey, FlowMetric, FlowQuery, FlowSeries, FlowSums, FlowTest
from sentinel.flows.arrays import ADDRESSES, Figures, Flows, Groups, Marks, Numbers, Places, binned, total
from sentinel.flows.recent import NOTHING, Second, plus

_PLACES: frozenset[FlowKey] = frozenset({"agent", "input", "output", "vni"})
_METRICS: tuple[FlowMetric, ...] = ("packets", "bytes", "samples")


def answer(query: FlowQuery, starts_at: float, seconds: Sequence[Second]) -> FlowAnswer:
    """What ``seconds``, the first of which begins at ``starts_at``, say to a query."""
    once = _PLACES.isdisjoint(query.group)
    flows = Flows([second.flows for second in seconds])
    if query.tests:
        flows = flows.marked(np.logical_and.reduce([_passes(flows, test) for test in query.tests]))
    counts = _counting(flows) if once else np.ones(len(flows), np.bool_)
    groups = Groups(flows.columns_of(query.group), flows.columns_of(("agent",)))
    sums = {name: groups.sums(np.where(counts, flows.amounts(name), np.uint64(0)), groups.begins) for name in _METRICS}
    top = _largest(sums[query.metric], query.limit)
    return FlowAnswer(
        starts_at=starts_at,
        seconds=len(seconds),
        groups=_told(query.group, flows, groups, sums, top),
        groups_total=len(groups.begins),
        counted_once=once,
        passed=_sums_of(flows, counts),
        elsewhere=_sums_of(flows, ~counts),
        total=reduce(plus, (second.total for second in seconds), NOTHING),
        unnamed=reduce(plus, (second.unnamed for second in seconds), NOTHING),
        evicted_samples=sum(second.evicted_samples for second in seconds),
        series=_series(query, seconds, flows, counts, groups, top[: query.series]) if query.series else None,
    )


def _counting(flows: Flows) -> Marks:
    """Of each pair of hosts the flows at the agent with most packets; of equals at the one with the lowest address."""
    pairs = Groups(flows.columns_of(("src_ip", "dst_ip")), flows.columns_of(("agent",)))
    if not len(flows):
        return np.zeros(0, np.bool_)
    packets = pairs.sums(flows.amounts("packets"), pairs.parts)
    most = np.maximum.reduceat(packets, np.searchsorted(pairs.parts, pairs.begins))
    best = np.flatnonzero(packets == most[pairs.of_parts])
    # Parts are in the order of their pairs, and within a pair of their agents.
    chosen = np.zeros(len(packets), np.bool_)
    chosen[best[np.diff(pairs.of_parts[best], prepend=-1) > 0]] = True
    return pairs.of_rows(chosen, pairs.parts)


def _largest(amounts: Figures, most: int) -> Places:
    """The places of the largest, the largest first."""
    if len(amounts) > most:
        places = np.argpartition(amounts, len(amounts) - most)[len(amounts) - most :]
    else:
        places = np.arange(len(amounts))
    return places[np.lexsort((places, -amounts[places]))]


def _told(
    keys: Sequence[FlowKey], flows: Flows, groups: Groups, sums: dict[FlowMetric, Figures], top: Places
) -> tuple[FlowGroup, ...]:
    if not len(top):
        return ()
    agents = np.bincount(groups.of_parts)
    first = np.minimum.reduceat(flows.column("first_seen")[groups.order], groups.begins)
    last = np.maximum.reduceat(flows.column("last_seen")[groups.order], groups.begins)
    return tuple(
        FlowGroup(
            tuple(flows.value(key, groups.order[groups.begins[place]]) for key in keys),
            FlowSums(*(int(sums[name][place]) for name in _METRICS)),
            int(agents[place]),
            float(first[place]),
            float(last[place]),
        )
        for place in top
    )


def _sums_of(flows: Flows, marks: Marks) -> FlowSums:
    return FlowSums(*(total(flows.amounts(name)[marks]) for name in _METRICS))


def _series(
    query: FlowQuery, seconds: Sequence[Second], flows: Flows, counts: Marks, groups: Groups, told: Places
) -> FlowSeries:
    amounts, second = flows.amounts(query.metric), flows.table_of
    # The line behind the groups' is of all other groups, the last of what does not count.
    line_of = np.full(len(groups.begins), len(told))
    line_of[told] = np.arange(len(told))
    line = np.where(counts, groups.of_rows(line_of, groups.begins), len(told) + 1)
    lines = len(told) + 2
    values = binned(second * lines + line, amounts, len(seconds) * lines).reshape(-1, lines).T.tolist()
    return FlowSeries(
        groups=tuple(map(tuple, values[:-2])),
        other=tuple(values[-2]),
        elsewhere=tuple(values[-1]),
        unnamed=tuple(getattr(second.unnamed, query.metric) for second in seconds),
        total=tuple(getattr(second.total, query.metric) for second in seconds),
    )


def _passes(flows: Flows, test: FlowTest) -> Marks:
    """Which flows pass one test of a filter."""
    found = np.zeros(len(flows), np.bool_)
    for key in test.keys:
        if key in ADDRESSES:
            high, low = flows.halves(key)
            family = flows.column(ADDRESSES[key])
            for first, last in test.ranges:
                if isinstance(first, bytes) and isinstance(last, bytes):
                    # Addresses are compared with those of their own length only: 4 octets are IPv4, 16 are IPv6.
                    of_family = family == (4 if len(first) == 4 else 6)
                    found |= of_family & _from(high, low, first) & ~_from(high, low, last, beyond=True)
        else:
            numbers = flows.numbers(key)
            for at_least, at_most in test.ranges:
                if isinstance(at_least, int) and isinstance(at_most, int):
                    found |= (numbers >= at_least) & (numbers <= at_most)
    return ~found if test.negated else found


def _from(high: Numbers, low: Numbers, address: bytes, *, beyond: bool = False) -> Marks:
    """Which addresses do not lie before this one; ``beyond``: which lie behind it."""
    whole = address if len(address) == 16 else MAPPED + address
    of_high, of_low = (np.uint64(int.from_bytes(half)) for half in (whole[:8], whole[8:]))
    found: Marks = (high > of_high) | ((high == of_high) & ((low > of_low) if beyond else (low >= of_low)))
    return found
