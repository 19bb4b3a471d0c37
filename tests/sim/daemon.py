# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One daemon process in virtual time: the real loop, detector and capture engine; its edges are the simulated world."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sentinel.capture import actions, events
from sentinel.capture.engine import CaptureEngine
from sentinel.decide.loop import Loop
from sentinel.detect.engine import Detector
from sentinel.detect.events import DetectionEvent
from sentinel.errors import StoreError
from sentinel.model import Capture, CaptureState, Match, Now, Switch
from tests.sim.wire import Wire

if TYPE_CHECKING:
    from tests.sim.world import World

LOCAL = ("10.0.0.0/8", "fd00::/8")


class Killed(BaseException):
    """The process died here; nothing may catch this but who plays the operating system."""


class Daemon:
    """``fuse``: after so many more steps towards the world it dies; ``None`` while it lives on."""

    def __init__(self, world: "World", engine: type[CaptureEngine]) -> None:
        self._world = world
        self._engine = engine
        self.alive = False
        self.started_at = 0.0
        self.starts = 0
        self.fuse: int | None = None
        self.wires: dict[str, Wire] = {}

    # --- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """As ``sentinel.daemon`` does it: switches met before, the store, the inventory."""
        world = self._world
        self.alive, self.started_at, self.fuse = True, world.mono, None
        self.starts += 1
        inventory = world.topology.inventory()
        self.detector = Detector(LOCAL, min_samples=world.policy.min_samples)
        self.engine = self._engine(world.policy, inventory, world.is_probeable)
        self.wires = {}
        self.loop = Loop(self.detector, self.engine, self, now=lambda: Now(world.mono, world.wall))
        world.invariants.watch(self.engine)
        stored = world.stored_for_restart()
        for switch in self._met_before(stored, {switch.name for switch in inventory}):
            self.engine.book.add(switch)
            inventory.append(switch)
        for switch in inventory:
            self.loop.post(events.SwitchFound(switch))
        try:
            self.loop.restore(stored)
        except Killed:
            self.kill()
            return
        self.step()

    def _met_before(self, stored: list[Capture], known: set[str]) -> list[Switch]:
        names = {m.switch for c in stored if c.state != "ended" for m in c.mirrors if m.switch not in known}
        limit = self._world.scenario.fabric.max_rules
        return [Switch(name, (name,), f"https://{name}:8443", name, max_rules=limit) for name in sorted(names)]

    def kill(self) -> None:
        self.alive = False
        self.fuse = None
        for wire in self.wires.values():
            wire.close()
        self.count()
        self._world.killed()

    def count(self) -> None:
        """What this process decided."""
        self._world.census.decisions.update(self.engine.counters)

    def _burn(self) -> None:
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise Killed

    # --- in --------------------------------------------------------------------------------------

    def hear(self, event: events.Event) -> None:
        if self.alive:
            self.loop.post(event)
            self.step()

    def see(self, matches: Iterable[Match]) -> None:
        if self.alive:
            self.loop.post_matches(matches)
            self.step()

    def wish(self, event: events.Event) -> None:
        if self.alive:
            try:
                self.loop.wish(event)
            except Killed:
                self.kill()
                return
            self.step()

    def lists_changed(self) -> None:
        if self.alive:
            self.loop.post_new_lists(self._world.traffic.lookup)
            self.step()

    def step(self) -> None:
        try:
            while self.alive and self.loop.step():
                pass
        except Killed:
            self.kill()

    # --- out -------------------------------------------------------------------------------------

    def save(self, captures: Iterable[Capture]) -> None:
        self._burn()
        if self._world.store_full:
            self._world.census.fault("store_refused")
            raise StoreError("store: disk is full")
        self._world.store(list(captures))
        self._burn()

    def send(self, action: actions.SwitchAction) -> None:
        self._world.invariants.sent(action)
        agent = action.agent if isinstance(action, actions.Probe) else action.switch
        switch = self._world.switch_called(agent)
        wire = self.wires.get(switch.name)
        if wire is None:
            wire = self.wires[switch.name] = self._world.new_wire(switch)
        wire.send(action)
        self._burn()

    def tell_detection(self, event: DetectionEvent) -> None:
        pass

    def tell_capture(self, capture: Capture, previous: CaptureState) -> None:
        self._world.census.edge(previous, capture.state)
