# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""How much of a conversation was seen: scaled by the sampling rate, and never counted twice.

A packet is sampled at every hop, and on one switch again at its way out where egress is sampled as well. So samples of
both sides of a switch are kept apart, and the detection's figures are the larger side of the agent with most packets.
"""

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

    def add(self, match: Match) -> None:
        """One sample: never fewer packets than itself, even where an agent reports a rate of 0."""
        rate = match.sampling_rate or 1
        self._add(1, rate, match.frame_length * rate)

    def plus(self, other: "Tally") -> "Tally":
        """Both together."""
        sum_ = Tally()
        for each in (self, other):
            sum_._add(each.samples, each.packets, each.bytes)
        return sum_

    def _add(self, samples: int, packets: int, octets: int) -> None:
        self.samples += samples
        self.packets = min(self.packets + packets, limits.MAX_FIGURE)
        self.bytes = min(self.bytes + octets, limits.MAX_FIGURE)


def sampled_at_egress(match: Match) -> bool:
    """Only where the data source is the port the packet left by, not the one it came in by; 0 is an unknown port."""
    return match.source_class == _IFINDEX and match.source_index == match.output not in {0, match.input}


def best(views: Iterable[tuple[str, Tally, Tally]]) -> Tally:
    """The larger side of the agent with most packets. Each view: agent, ingress, egress."""
    sides: dict[tuple[str, bool], Tally] = {}
    for agent, *tallies in views:
        for side in ((agent, False), (agent, True)):
            more = tallies[side[1]]
            sides[side] = sides[side].plus(more) if side in sides else more
    return max(sides.values(), key=_size)


def _size(tally: Tally) -> tuple[int, int, int]:
    return tally.packets, tally.samples, tally.bytes
