# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The frozen values of flows: how much was sampled, between whom. Conventions are those of ``sentinel.model``."""

from dataclasses import dataclass
from typing import Final, Literal

from sentinel.columns import Column, Finished, Schema

FlowKey = Literal["agent", "input", "output", "src_ip", "dst_ip", "protocol", "src_port", "dst_port", "vni"]
FlowMetric = Literal["bytes", "packets", "samples"]


FLOWS: Final = Schema(
    "flows",
    (
        Column("agent", "16s"),
        Column("src_ip", "16s"),
        Column("dst_ip", "16s"),
        Column("packets", "Q", "packets"),
        Column("bytes", "Q", "octets"),
        Column("first_seen", "d", "s"),
        Column("last_seen", "d", "s"),
        Column("samples", "I", "samples"),
        Column("input", "I"),
        Column("output", "I"),
        Column("protocol", "I"),
        Column("src_port", "I"),
        Column("dst_port", "I"),
        Column("vni", "I"),
        Column("agent_family", "B"),
        Column("family", "B"),
        Column("absent", "B"),
    ),
)
"""``FlowCount`` as columns. Addresses are those of IPv6 in network order, with IPv4 as ::ffff:a.b.c.d; the family, 4 or
6, tells which it was. What is absent is 0, with its bit of ``FLOW_ABSENT`` set in ``absent``."""

FLOW_ABSENT: Final[dict[FlowKey, int]] = {"protocol": 1, "src_port": 2, "dst_port": 4, "vni": 8}


@dataclass(frozen=True, slots=True)
class FlowCount:
    """What was sampled of one flow between two takings of the table, scaled by the sampling rate.

    ``input`` and ``output`` are interface indexes, 0 where unknown. ``vni`` is the network it was found in, if any.
    ``first_seen`` and ``last_seen`` are arrival times of samples.
    """

    agent: str
    input: int
    output: int
    src_ip: str
    dst_ip: str
    protocol: int | None
    src_port: int | None
    dst_port: int | None
    vni: int | None
    packets: int
    bytes: int
    samples: int
    first_seen: float
    last_seen: float


@dataclass(frozen=True, slots=True)
class FlowSums:
    """Amounts, scaled by the sampling rate but for ``samples``."""

    packets: int = 0
    bytes: int = 0
    samples: int = 0


@dataclass(frozen=True, slots=True)
class FlowTaking:
    """What one flow table held of one ``second``, which is the whole part of a monotonic time.

    ``flows`` is every row of it, of schema ``FLOWS``, and ``total`` their sums. ``evicted_samples`` found no room in
    the table and are in neither. There may be several takings of one second, and a flow may be in each of them.
    """

    second: int
    flows: Finished
    total: FlowSums
    evicted_samples: int = 0


@dataclass(frozen=True, slots=True)
class FlowTest:
    """One test of a filter: one of ``keys`` of a flow lies in one of ``ranges``; ``negated``, none does.

    Both ends belong to a range. They are numbers, or addresses as their 4 or 16 octets.
    """

    keys: tuple[FlowKey, ...]
    ranges: tuple[tuple[int, int] | tuple[bytes, bytes], ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class FlowQuery:
    """A question about the latest ``seconds`` whole seconds: the ``limit`` groups of flows with most of ``metric``.

    Only flows that pass every one of ``tests`` count; the first ``series`` groups are told second by second too. Where
    ``group`` names ``agent``, ``input``, ``output`` or ``vni``, it is about places: every agent's count of a flow
    counts. Else those of one agent do, for each pair of hosts the one with most packets of what passes.
    """

    group: tuple[FlowKey, ...]
    metric: FlowMetric = "bytes"
    limit: int = 200
    seconds: int = 60
    series: int = 0
    tests: tuple[FlowTest, ...] = ()


@dataclass(frozen=True, slots=True)
class FlowGroup:
    """Flows that are equal in the query's keys, whose values ``key`` holds in their order.

    ``agents`` is how many agents sampled it, and the times are those of all; ``sums`` are of what counts, and nothing
    where another agent is the one that counts.
    """

    key: tuple[str | int | None, ...]
    sums: FlowSums
    agents: int
    first_seen: float
    last_seen: float


@dataclass(frozen=True, slots=True)
class FlowSeries:
    """The query's metric, one value a second from ``FlowAnswer.starts_at`` on: ``groups`` in the order of the answer's.

    ``other`` are further flows that passed the filter, ``elsewhere`` what passed and does not count; ``total`` is
    everything, ``unnamed`` its part too small to name.
    """

    groups: tuple[tuple[int, ...], ...]
    other: tuple[int, ...]
    elsewhere: tuple[int, ...]
    unnamed: tuple[int, ...]
    total: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FlowAnswer:
    """The answer to a ``FlowQuery`` over ``seconds`` seconds from ``starts_at`` on.

    ``passed`` is what passed the filter and counts, ``elsewhere`` what passed it and does not because it was sampled at
    a further agent, which is nothing unless ``counted_once``. ``total`` is what all agents counted, ``unnamed`` its
    part in flows too small to be named, which no filter or group sees. ``evicted_samples`` are in none of them.
    """

    starts_at: float
    seconds: int
    groups: tuple[FlowGroup, ...]
    groups_total: int
    counted_once: bool
    passed: FlowSums
    elsewhere: FlowSums
    total: FlowSums
    unnamed: FlowSums
    evicted_samples: int
    series: FlowSeries | None = None
