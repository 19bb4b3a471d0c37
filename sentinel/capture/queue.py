# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The captures that wait for room on a switch, or for bit/s at the ERSPAN destination. Pure."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sentinel.capture.budget import Budget
from sentinel.capture.ledger import Track
from sentinel.capture.switchbook import ENTRIES_PER_MIRROR, SwitchBook

# The queue of those that wait for bit/s at the ERSPAN destination; no switch has this name.
AT_DESTINATION = ""


class _Place(NamedTuple):
    """A place in the queue: the most urgent first, of those the one that waits longest."""

    urgency: tuple[int, ...]
    since: float
    capture_id: str


class Queue:
    """One queue a switch, one for the destination; a capture may stand in several. Only this class moves it."""

    def __init__(self, book: SwitchBook, budget: Budget) -> None:
        self._book = book
        self._budget = budget
        self._queues: dict[str, dict[str, Track]] = {}

    def put(self, track: Track, names: Iterable[str]) -> None:
        """Let the capture wait for any of these switches, and for nothing else."""
        self.drop(track)
        short = self._budget.short_in_all(track.rate.bps) > 0
        track.queued_for = (*names, AT_DESTINATION) if short else tuple(names)
        for name in track.queued_for:
            self._queues.setdefault(name, {})[track.capture.id] = track

    def drop(self, track: Track) -> None:
        for name in track.queued_for:
            self._queues[name].pop(track.capture.id, None)
        track.queued_for = ()

    def next_for(self, switches: Iterable[str]) -> Iterator[Track]:
        """Yield the captures for which these switches have room, to be placed one by one: room is looked at each time.

        Freeing a switch also frees bit/s at the destination. That queue is served first: it is the scarcer resource.
        """
        for name in (AT_DESTINATION, *sorted(switches)):
            queue = self._queues.get(name)
            if queue and (name == AT_DESTINATION or self._book.get(name)):
                yield from self._in_order(name, queue)

    def _in_order(self, name: str, queue: dict[str, Track]) -> Iterator[Track]:
        for capture_id in [i for i, t in queue.items() if t.capture.state != "queued" or t.ending]:
            del queue[capture_id]
        waiting = sorted(
            _Place(tuple(-n for n in track.urgency), track.created, capture_id) for capture_id, track in queue.items()
        )
        for place in waiting:
            track = queue[place.capture_id]
            if name == AT_DESTINATION and self._budget.short_in_all(track.rate.bps) > 0:
                return
            if name != AT_DESTINATION and self._book.room(name) < ENTRIES_PER_MIRROR:
                return
            yield track
