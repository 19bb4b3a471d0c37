# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""How much of a conversation was seen: scaled by the sampling rate, and never counted twice.

A packet is sampled at every hop, and on one switch again at its way out where egress is sampled as well. So sums are
kept per agent and, within it, apart for both sides of the switch; the detection's figures are the larger side of the
agent with most packets.
"""

import math
from collections.abc import Iterable

from sentinel import limits
from sentinel.model import Match

_IFINDEX = 0


class Tally:
    """Samples, and what they stand for: packets = Σ rate, bytes = Σ frame length × rate."""

    __slots__ = ("bytes", "packets", "samples")

    def __init__(self) -> None:
        self.samples = 0
        self.packets = 0
        self.bytes = 0

    def add(self, rate: int, frame_length: int) -> None:
        self.samples += 1
        self.packets = min(self.packets + rate, limits.MAX_FIGURE)
        self.bytes = min(self.bytes + frame_length * rate, limits.MAX_FIGURE)


class AgentTally:
    """One agent's sums, by the side of the switch that was sampled."""

    __slots__ = ("egress", "ingress", "sources")

    def __init__(self) -> None:
        self.ingress = Tally()
        self.egress = Tally()
        self.sources = 0

    def add(self, match: Match, rate: int) -> None:
        (self.egress if sampled_at_egress(match) else self.ingress).add(rate, match.frame_length)

    def figure(self) -> Tally:
        """The side that saw more."""
        return max(self.ingress, self.egress, key=_size)


def rate_of(match: Match) -> int:
    """Packets one sample stands for: never fewer than the sample itself, even where an agent reports a rate of 0."""
    return max(1, match.sampling_rate)


def sampled_at_egress(match: Match) -> bool:
    """Only where the data source is the port the packet left by, not the one it came in by; 0 is an unknown port."""
    return match.source_class == _IFINDEX and match.source_index == match.output not in {0, match.input}


def best(tallies: Iterable[tuple[str, AgentTally]]) -> Tally:
    """The figure of the agent with most packets; of equals the first by name, so that order never matters."""
    return max(
        ((tally.figure(), agent) for agent, tally in sorted(tallies, key=lambda item: item[0])),
        key=lambda item: _size(item[0]),
    )[0]


def error_pct(samples: int) -> float:
    """The largest relative error at 95 % confidence, in percent: 196·√(1/n) (sflow.org, "Packet Sampling Basics")."""
    return round(196 * math.sqrt(1 / samples), 1)


def _size(tally: Tally) -> tuple[int, int, int]:
    return tally.packets, tally.samples, tally.bytes
