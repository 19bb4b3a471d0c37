# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Events: the log on disk, the ring that the API reads, and who else listens."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from sentinel.components.component import Component
from sentinel.config import settings
from sentinel.limits import FILE_GONE_SHOWN_S
from sentinel.problems import Problem
from sentinel.readings import Reading, counters
from sentinel.report.eventlog import EventLog, EventRing

Event = dict[str, object]


class Report(Component):
    """Each of ``on_event`` gets every event that the log gets."""

    def __init__(self, chosen: settings.Report, state_dir: Path) -> None:
        self.on_event: list[Callable[[Event], None]] = []
        # Numbers that begin above those of any earlier run show a client that requests later ones what it missed.
        self._ring = EventRing(first_id=int(time.time() * 1000))
        self._log = EventLog(chosen.eve_file or state_dir / "eve.json")

    def start(self) -> None:
        self._log.start()

    def stop(self) -> None:
        self._ring.close()
        self._log.stop()

    def tell(self, event: Event) -> None:
        """Report an event everywhere."""
        self._log.append(event)
        self._ring.append(event)
        for take in self.on_event:
            take(event)

    def tell_live(self, event: Event) -> None:
        """Report an event to those who watch live only: a step between the ones worth a line in the log."""
        self._ring.append(event)

    def events(self, after: int, timeout_s: float) -> Sequence[Mapping[str, object]]:
        """Return events whose ``id`` is above ``after``, oldest first; wait up to ``timeout_s`` for the first."""
        return self._ring.after(after, timeout_s)

    def problems(self) -> Iterable[Problem]:
        if self._log.failing:
            text = "the event log cannot be written; its lines are lost"
            remedy = "make room, and see that nothing else has its name"
            yield Problem("eventlog_failing", "degraded", self._log.path.name, text, remedy)
        if self._log.deleted(FILE_GONE_SHOWN_S):
            text = "the event log was deleted under the running daemon; its lines are lost, a new one was begun"
            remedy = "find out what deletes it; to rotate it, rename it"
            yield Problem("eventlog_gone", "degraded", self._log.path.name, text, remedy)

    def readings(self) -> Iterable[Reading]:
        return counters("report", self._log.counters)
