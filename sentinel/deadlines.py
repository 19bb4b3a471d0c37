# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Jobs that are due every so often, as one heap of deadlines. It has no clock and no thread: the caller gives ``now``.

``now`` is monotonic seconds, so that a wall clock that is set changes nothing. A job is taken with ``due`` and given
back with ``done``; between the two it is never due again. A late job runs once, not once for each interval missed.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentinel import limits


@dataclass(slots=True)
class _Entry:
    every_s: float
    due_at: float
    # The time up to which the promise is kept: the end of the last good run, the registration before the first.
    kept_at: float
    running: bool = False


class Deadlines:
    """The heap. Not safe for several threads at once."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        # Jobs that are not running, by deadline.
        self._heap: list[tuple[float, str]] = []

    def add(self, name: str, every_s: float, now: float, *, at_once: bool = False) -> None:
        """Add a job of a new name, due at ``now`` or an interval later."""
        if name in self._entries:
            raise ValueError(f"two jobs have the name {name}")
        entry = _Entry(every_s, now if at_once else now + every_s, now)
        self._entries[name] = entry
        heapq.heappush(self._heap, (entry.due_at, name))

    @property
    def next_at(self) -> float | None:
        """Return the earliest deadline of the jobs that are not running."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Sequence[str]:
        """Take the jobs that are due, earliest deadline first."""
        taken = []
        while self._heap and self._heap[0][0] <= now:
            _, name = heapq.heappop(self._heap)
            entry = self._entries[name]
            following = entry.due_at + entry.every_s
            entry.due_at = following if following > now else now + entry.every_s
            entry.running = True
            taken.append(name)
        return taken

    def done(self, name: str, now: float, *, kept: bool = True) -> None:
        """Give a job back; without ``kept`` it failed, and goes on being late."""
        entry = self._entries[name]
        if not entry.running:
            raise ValueError(f"the job {name} does not run")
        entry.running = False
        if kept:
            entry.kept_at = now
        heapq.heappush(self._heap, (entry.due_at, name))

    def late_s(self, now: float) -> Mapping[str, float]:
        """Return by how many seconds each job is late, 0 for one in time; one that hangs or fails is late, too."""
        return {name: max(0.0, now - entry.kept_at - entry.every_s) for name, entry in self._entries.items()}

    def overdue(self, now: float) -> Mapping[str, float]:
        """Return the jobs that are late beyond what a busy machine explains, and by how many seconds."""
        return {
            name: late_s
            for name, late_s in self.late_s(now).items()
            if late_s > min(limits.OVERDUE_INTERVALS * self._entries[name].every_s, limits.OVERDUE_S)
        }
