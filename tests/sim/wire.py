# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The control network to one switch: one request at a time, in order, one event for each action; lossy and slow.

It stands for ``sentinel.capture.switches.SwitchPool`` and keeps its promises: order, time limits, a circuit that opens.
"""

from collections import deque
from random import Random
from typing import TYPE_CHECKING

from sentinel import limits
from sentinel.capture import actions, events
from sentinel.capture.switches import CIRCUIT_AFTER, CIRCUIT_OPEN_S
from tests.sim.switch import SimSwitch, not_done

if TYPE_CHECKING:
    from tests.sim.world import World


class Wire:
    """Requests of one daemon process; a new process has new wires, while what is under way still arrives."""

    def __init__(self, world: "World", switch: SimSwitch, rng: Random) -> None:
        self._world = world
        self._switch = switch
        self._rng = rng
        self._queue: deque[actions.SwitchAction] = deque()
        self._busy = False
        self._failures = 0
        self._retry_at = 0.0
        self.closed = False

    def send(self, action: actions.SwitchAction) -> None:
        self._queue.append(action)
        if not self._busy:
            self._next()

    def close(self) -> None:
        """The process is gone: nothing more is sent and no answer is heard."""
        self.closed = True
        self._queue.clear()

    def _next(self) -> None:
        if not self._queue or self.closed:
            self._busy = False
            return
        self._busy = True
        action = self._queue.popleft()
        world, switch, rng = self._world, self._switch, self._rng
        if self._failures >= CIRCUIT_AFTER and world.mono < self._retry_at:
            world.census.fault("circuit_open")
            world.after(0.001, self._answer, action, failure(action, switch.called, "circuit_open"))
            return
        if switch.name in world.topology.down or switch.shim_dead:
            self._fail(action, 0.5, "connection")
        elif rng.random() < switch.loss:
            world.census.fault("request_lost")
            self._fail(action, limits.SWITCH_ANSWER_TIMEOUT_S, "timeout")
        elif rng.random() < switch.loss:
            world.census.fault("answer_lost")
            world.after(0.05, self._execute_unheard, action)
            self._fail(action, limits.SWITCH_ANSWER_TIMEOUT_S, "timeout")
        elif switch.slow:
            world.census.fault("answer_slow")
            first, second = rng.uniform(0.1, 12.0), rng.uniform(0.1, 12.0)
            if first + second >= limits.SWITCH_ANSWER_TIMEOUT_S:
                world.after(first, self._execute_unheard, action)
                self._fail(action, limits.SWITCH_ANSWER_TIMEOUT_S, "timeout")
            else:
                world.after(first, self._execute, action, second)
        else:
            world.after(rng.uniform(0.005, 0.1), self._execute, action, rng.uniform(0.005, 0.4))

    def _fail(self, action: actions.SwitchAction, after_s: float, reason: str) -> None:
        self._switch.bad_at = self._world.mono + after_s
        self._world.after(after_s, self._answer, action, failure(action, self._switch.called, reason))

    def _execute_unheard(self, action: actions.SwitchAction) -> None:
        if self._switch.name not in self._world.topology.down:
            self._world.execute(self._switch, action)

    def _execute(self, action: actions.SwitchAction, back_s: float) -> None:
        if self._switch.name in self._world.topology.down:
            self._fail(action, 3.0, "connection")
        else:
            self._world.after(back_s, self._answer, action, self._world.execute(self._switch, action))

    def _answer(self, action: actions.SwitchAction, event: events.Event) -> None:
        if self.closed:
            return
        # A bulk request that failed as a whole failed for one reason.
        told = event.outcomes[0] if isinstance(event, events.BulkAnswered) else event
        reason = getattr(told, "reason", None)
        if reason is None and not isinstance(event, events.ProbeFailed):
            self._failures = 0
        elif reason != "circuit_open" and not getattr(told, "permanent", False):
            self._failures += 1
            self._retry_at = self._world.mono + CIRCUIT_OPEN_S
        self._world.census.answer(event)
        self._world.daemon.hear(event)
        self._next()


def failure(action: actions.SwitchAction, switch: str, reason: str) -> events.Event:
    match action:
        case actions.Install() | actions.Remove():
            return not_done(action, switch, reason)
        case actions.Bulk(_, changes):
            return events.BulkAnswered(switch, tuple(not_done(change, switch, reason) for change in changes))
        case actions.Probe(agent):
            return events.ProbeFailed(agent, reason)
        case actions.Renew() | actions.List():
            return events.SwitchFailed(switch, reason, reason)
