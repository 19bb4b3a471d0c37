# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Requests on their way to a commit: installs go at once, removals gather for ``commit_interval``.

Requests that arrive while a commit runs merge into the next one. A name occurs once per batch; a second change of it
waits for the batch after.
"""

import threading
import time
from typing import Dict, Iterator, List, Optional, Sequence

from switch_acl_api.commits import Change, Outcome, Put
from switch_acl_api.errors import Refused
from switch_acl_api.limits import MAX_QUEUED_CHANGES


class Ticket:
    """The changes of one request and what became of them."""

    def __init__(self, changes: Sequence[Change], owner: str, peer: str) -> None:
        self.changes = tuple(changes)
        self.owner = owner
        self.peer = peer
        self.outcomes: Dict[str, Outcome] = {}
        self._done = threading.Event()

    @property
    def urgent(self) -> bool:
        return any(isinstance(change, Put) for change in self.changes)

    def finish(self, outcomes: Dict[str, Outcome]) -> None:
        self.outcomes = outcomes
        self._done.set()

    def wait(self, timeout_s: float) -> bool:
        return self._done.wait(timeout_s)


class TicketQueue:
    def __init__(self, commit_interval_s: float) -> None:
        self._interval_s = commit_interval_s
        self._condition = threading.Condition()
        self._waiting: List[Ticket] = []
        self._running: List[Ticket] = []
        self._first_at = 0.0
        self._stopped = False

    def put(self, ticket: Ticket) -> None:
        """Raises ``Refused`` when too much is waiting."""
        with self._condition:
            if self._stopped:
                raise Refused(503, "shutting down")
            if sum(len(t.changes) for t in self._waiting) + len(ticket.changes) > MAX_QUEUED_CHANGES:
                raise Refused(503, "too many changes are waiting for a commit")
            if not self._waiting:
                self._first_at = time.monotonic()
            self._waiting.append(ticket)
            self._condition.notify_all()

    def take(self, timeout_s: float) -> List[Ticket]:
        """The next batch, or an empty list after ``timeout_s`` or at the end. ``done`` ends it."""
        deadline = time.monotonic() + timeout_s
        with self._condition:
            while not self._stopped:
                now = time.monotonic()
                due = self._due_at(now)
                if due is not None and due <= now:
                    break
                until = deadline if due is None else min(deadline, due)
                if until <= now:
                    return []
                self._condition.wait(until - now)
            self._running = self._batch()
            self._first_at = time.monotonic()
            return list(self._running)

    def run_also(self, ticket: Ticket) -> None:
        """Count this one among those being committed until ``done``."""
        with self._condition:
            self._running.append(ticket)

    def done(self) -> None:
        with self._condition:
            self._running = []

    def stop(self) -> List[Ticket]:
        """No more tickets; returns those that nobody will commit."""
        with self._condition:
            self._stopped = True
            left, self._waiting = self._waiting, []
            self._condition.notify_all()
            return left

    def pending(self) -> List[Change]:
        """Changes that wait or are being committed, in their order."""
        with self._condition:
            return list(self._pending())

    def _pending(self) -> Iterator[Change]:
        for ticket in self._running + self._waiting:
            for change in ticket.changes:
                yield change

    def _due_at(self, now: float) -> Optional[float]:
        if not self._waiting:
            return None
        return now if any(t.urgent for t in self._waiting) else self._first_at + self._interval_s

    def _batch(self) -> List[Ticket]:
        """As many tickets, in order, as name every rule once. Later tickets never overtake one that names the same."""
        batch: List[Ticket] = []
        left: List[Ticket] = []
        seen: Dict[str, None] = {}
        for ticket in self._waiting:
            names = [change.name for change in ticket.changes]
            if any(name in seen for name in names):
                left.append(ticket)
            else:
                batch.append(ticket)
            seen.update(dict.fromkeys(names))
        self._waiting = left
        return batch
