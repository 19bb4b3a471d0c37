# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The flows of the last minute, and questions about them."""

import time
from collections.abc import Callable, Iterable, Sequence

from sentinel import limits
from sentinel.components.component import Component
from sentinel.flowmodel import FlowAnswer, FlowCount, FlowQuery, FlowTaking
from sentinel.flows.query import answer
from sentinel.flows.recent import RecentFlows
from sentinel.handover import HandOver
from sentinel.readings import Reading, counters


class Flows(Component):
    """``take`` makes the scan hand over what it holds of seconds that are over."""

    def __init__(self, take: Callable[[], None]) -> None:
        self._take = take
        self._recent = RecentFlows(time.monotonic())
        self._way = HandOver("flows", self._recent.add, self._recent.drop, limits.MAX_FLOW_TABLES_WAITING)

    def start(self) -> None:
        self._way.start()

    def stop(self) -> None:
        self._way.stop()

    def add(self, taking: FlowTaking) -> None:
        """Keep what one table held of one second. Called from any thread; a thread of this component does the work."""
        self._way.give(taking)

    def flows(self, query: FlowQuery) -> FlowAnswer:
        """Answer from the latest whole seconds; may take a third of a second of processor time."""
        now, utc = time.monotonic(), time.time()
        self._take()
        self._way.flush()
        begin, seconds = self._recent.latest(query.seconds, now)
        return answer(query, utc - now + begin, seconds)

    def between(self, one_ip: str, other_ip: str) -> Sequence[FlowCount]:
        """Return the flows of the last minute between two hosts."""
        self._way.flush()
        return self._recent.between(one_ip, other_ip, time.monotonic())

    def readings(self) -> Iterable[Reading]:
        return counters("flows", self._recent.counters)
