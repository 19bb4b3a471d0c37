# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Top talkers of the last minute, from the flow counts that the scan gives up every second.

A taking names its largest flows; of the others only their sum is known, so that the totals are right and the ranking is
of those that were large in some second. What it costs is bounded by rows, not by traffic.
"""

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sentinel.limits import FLOWS_KEPT_S, MAX_FIGURE, MAX_FLOW_ROWS_KEPT
from sentinel.model import FlowCount

Rest = tuple[int, int, int, int]
_Key = tuple[str, int, int, str, str, int | None, int | None, int | None, int | None]


@dataclass(frozen=True, slots=True)
class Totals:
    """Everything counted in the window; ``unnamed_*`` is the part of flows too small to be named."""

    packets: int
    bytes: int
    samples: int
    unnamed_bytes: int
    unnamed_samples: int


@dataclass(frozen=True, slots=True)
class _Taking:
    at: float
    rows: list[FlowCount]
    rest: Rest


class RecentFlows:
    """The takings of the last ``kept_s`` seconds; may be asked while another thread adds. ``dropped`` counts rows."""

    def __init__(self, kept_s: float = FLOWS_KEPT_S, max_rows: int = MAX_FLOW_ROWS_KEPT) -> None:
        self._kept_s = kept_s
        self._max_rows = max_rows
        self._takings: deque[_Taking] = deque()
        self._rows = 0
        self._lock = threading.Lock()
        self.dropped = 0

    def add(self, rows: list[FlowCount], rest: Rest, now: float) -> None:
        """One taking; too old ones go, and beyond the bound the oldest."""
        with self._lock:
            self._takings.append(_Taking(now, rows, rest))
            self._rows += len(rows)
            self._forget(now)
            while self._rows > self._max_rows and len(self._takings) > 1:
                gone = self._takings.popleft()
                self._rows -= len(gone.rows)
                self.dropped += len(gone.rows)

    def top(self, limit: int, now: float) -> list[FlowCount]:
        """The flows with most bytes in the window, the largest first."""
        together: dict[_Key, FlowCount] = {}
        for taking in self._window(now):
            for row in taking.rows:
                key = _key(row)
                before = together.get(key)
                together[key] = row if before is None else _sum(before, row)
        return sorted(together.values(), key=lambda row: (-row.bytes, _key(row)[:5]))[:limit]

    def totals(self, now: float) -> Totals:
        """The sums over the window, small flows included."""
        takings = self._window(now)
        rests = [taking.rest for taking in takings]
        named = [row for taking in takings for row in taking.rows]
        unnamed_bytes, unnamed_samples = sum(rest[1] for rest in rests), sum(rest[2] for rest in rests)
        return Totals(
            sum(row.packets for row in named) + sum(rest[0] for rest in rests),
            sum(row.bytes for row in named) + unnamed_bytes,
            sum(row.samples for row in named) + unnamed_samples,
            unnamed_bytes,
            unnamed_samples,
        )

    def _window(self, now: float) -> Iterable[_Taking]:
        with self._lock:
            self._forget(now)
            return tuple(self._takings)

    def _forget(self, now: float) -> None:
        while self._takings and self._takings[0].at <= now - self._kept_s:
            self._rows -= len(self._takings.popleft().rows)


def _key(row: FlowCount) -> _Key:
    return (
        *(row.agent, row.input, row.output, row.src_ip, row.dst_ip),
        *(row.protocol, row.src_port, row.dst_port, row.vni),
    )


def _sum(one: FlowCount, other: FlowCount) -> FlowCount:
    return replace(
        one,
        packets=min(one.packets + other.packets, MAX_FIGURE),
        bytes=min(one.bytes + other.bytes, MAX_FIGURE),
        samples=one.samples + other.samples,
        first_seen=min(one.first_seen, other.first_seen),
        last_seen=max(one.last_seen, other.last_seen),
    )
