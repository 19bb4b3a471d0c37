# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A virtual day: the events in their order, the clocks, the store, and who is told what."""

import heapq
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from sentinel.capture import actions, events
from sentinel.capture.engine import CaptureEngine
from sentinel.capture.policy import Policy
from sentinel.model import Capture
from tests.sim.census import Census
from tests.sim.daemon import Daemon
from tests.sim.faults import Faults
from tests.sim.invariants import Invariants
from tests.sim.scenario import Scenario
from tests.sim.switch import SimSwitch
from tests.sim.topology import Topology
from tests.sim.traffic import Traffic
from tests.sim.wire import Wire
from tests.support.policies import make_policy

DAY_S = 86_400.0
START_MONO = 1_000.0
START_WALL = 1_700_000_000.0
DESTINATION = "10.0.9.70"
AUDIT_S = 60.0
RECONCILE_S = 300.0
# The engine has nothing to do in a tick in which nothing is due; the detector announces what waits.
IDLE_TICK_S = 10


class World:
    """One seed of one scenario. ``run`` raises ``BrokenError`` when an invariant does not hold."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        *,
        engine: type[CaptureEngine] = CaptureEngine,
        policy: Policy | None = None,
        max_rules: int | None = None,
        day_s: float = DAY_S,
    ) -> None:
        if max_rules is not None:
            fabric = replace(scenario.fabric, max_rules=max_rules, own_limit=max_rules + 100)
            scenario = replace(scenario, fabric=fabric)
        self.scenario = scenario
        self.seed = seed
        self.day_s = day_s
        self.census = Census()
        chosen = scenario.capture
        self.policy = policy or make_policy(
            mode=chosen.mode,
            erspan_destination=DESTINATION,
            quiet_s=chosen.quiet_s,
            longest_s=chosen.longest_s,
            lease_s=chosen.lease_s,
            max_new_per_minute=chosen.max_new_per_minute,
            flood_bps=chosen.flood_bps,
            max_bps_per_switch=chosen.max_bps_per_switch,
            max_bps=chosen.max_bps,
        )
        self.mono = START_MONO
        self.wall_ahead = START_WALL - START_MONO
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = 0
        self.topology = Topology(scenario.fabric, self.rng("topology"))
        inside = {switch.name for switch in self.topology.inventory()}
        self.invariants = Invariants(self)
        self.switches = {
            name: SimSwitch(
                name, name if name in inside else agent, agent, scenario.fabric.own_limit, self.invariants.lapsed
            )
            for name, agent in self.topology.agents.items()
        }
        for switch in self.switches.values():
            switch.allowed = scenario.fabric.max_rules
        self._called = {switch.called: switch for switch in self.switches.values()}
        self._called.update({switch.agent: switch for switch in self.switches.values()})
        self.protected = {DESTINATION, *self.topology.agents.values()}
        self.stored: dict[str, Capture] = {}
        self._live: dict[str, Capture] = {}
        self.ends_at: dict[str, float] = {}
        self.store_full = False
        self.store_bad_at = 0.0
        self.clock_set_at = float("-inf")
        self._saved_at: dict[str, float] = {}
        self.daemon = Daemon(self, engine)
        self._wires = 0
        self.traffic = Traffic(self, self.rng("traffic"))
        self.faults = Faults(self, self.rng("faults"))
        self.steps = 0
        self._ticked = 0.0

    def rng(self, purpose: str) -> Random:
        """Each purpose has its own dice, so that a change of one leaves the others as they were."""
        return Random(f"{self.scenario.name} {self.seed} {purpose}")

    def set_clock(self, wall_ahead: float) -> None:
        self.wall_ahead = wall_ahead
        self.clock_set_at = self.mono

    # --- time ------------------------------------------------------------------------------------

    @property
    def wall(self) -> float:
        return self.mono + self.wall_ahead

    def after(self, delay_s: float, what: Callable[..., None], *args: Any) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (self.mono + delay_s, self._serial, what, args))

    def run(self) -> None:
        """The day, then an hour in which everything is well and nobody talks."""
        self.faults.plan(self.day_s)
        self.traffic.plan(self.day_s)
        self.daemon.start()
        self.after(1.0, self._tick)
        self.after(AUDIT_S, self._audit)
        self.after(RECONCILE_S, self._reconcile)
        self._until(START_MONO + self.day_s)
        self.traffic.stop()
        self.faults.heal()
        self._until(self.mono + max(3_600.0, 2 * self.policy.quiet_s) + self.policy.lease_s)
        self.daemon.count()
        self.invariants.over()

    def _until(self, end: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.mono, _, what, args = heapq.heappop(heap)
            self.steps += 1
            what(*args)
        self.mono = end

    def _tick(self) -> None:
        """Every second, but for those in which nothing is due, nor was for a while."""
        daemon = self.daemon
        if daemon.alive:
            idle = self._ticked + IDLE_TICK_S > self.mono and not daemon.detector.waiting
            if not idle or daemon.engine.next_due <= self.mono:
                self._ticked = self.mono
                daemon.hear(events.Tick())
        self.after(1.0, self._tick)

    def _reconcile(self) -> None:
        self.daemon.hear(events.Reconcile())
        self.after(RECONCILE_S, self._reconcile)

    def _audit(self) -> None:
        self.invariants.audit()
        self.after(AUDIT_S, self._audit)

    # --- the store -------------------------------------------------------------------------------

    def store(self, captures: list[Capture]) -> None:
        for capture in captures:
            old = self.stored.get(capture.id)
            self.stored[capture.id] = capture
            self._saved_at[capture.id] = self.mono
            if old is None:
                self.ends_at[capture.id] = self.mono + capture.ends_at - self.wall
            self.invariants.saved(old, capture)
            if capture.state == "ended":
                self._live.pop(capture.id, None)
            else:
                self._live[capture.id] = capture

    def lose_store(self) -> None:
        self.stored.clear()
        self._live.clear()
        self.invariants.store_lost()

    def live_captures(self) -> list[Capture]:
        return list(self._live.values())

    def stored_for_restart(self) -> list[Capture]:
        """What the store gives at a start: the live, and those that ended lately."""
        since = self.wall - self.policy.longest_s
        for capture in self._live.values():
            if self._saved_at[capture.id] <= self.clock_set_at:
                # Nobody can know how much time has passed, but what was left when it was stored is a bound.
                self.ends_at[capture.id] = self.mono + capture.ends_at - capture.evidence_at
        ended = [c for c in list(self.stored.values())[-500:] if c.state == "ended" and (c.ended_at or 0.0) >= since]
        return [*self._live.values(), *ended]

    def killed(self) -> None:
        self.census.fault("crash")
        rng = self.faults.rng
        self.after(rng.choice([0.5, 2.0, 10.0, 60.0, 400.0]), self.restart)

    def restart(self) -> None:
        if not self.daemon.alive:
            self.census.fault("restart")
            self.daemon.start()

    # --- switches --------------------------------------------------------------------------------

    def switch_called(self, name: str) -> SimSwitch:
        return self._called[name]

    def is_probeable(self, agent: str) -> bool:
        return agent in self._called

    def new_wire(self, switch: SimSwitch) -> Wire:
        self._wires += 1
        return Wire(self, switch, self.rng(f"wire {self._wires}"))

    def execute(self, switch: SimSwitch, action: actions.SwitchAction) -> events.Event:
        event = switch.execute(action, self.mono)
        self.invariants.executed(switch, action)
        for change in actions.one_by_one(action):
            if isinstance(change, actions.Install) and change.rule in switch.rules:
                self.traffic.truth.installed(switch.name, change.rule, switch.rules[change.rule], self.mono)
        return event

    def unwell_within(self, switch: SimSwitch, seconds: float) -> bool:
        """Whether anything was wrong with the switch, the way to it, the daemon or its store so lately."""
        since = self.mono - seconds
        daemon = self.daemon
        return (
            not daemon.alive
            or daemon.started_at > since
            or self.store_bad_at > since
            or self.store_full
            or switch.bad_until > since
            or switch.bad_at > since
        )
