# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong, and what people do, at random times of the day."""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from sentinel.capture import events
from tests.sim.switch import OWNER, Rule, SimSwitch
from tests.sim.topology import Host

if TYPE_CHECKING:
    from tests.sim.world import World

OWNED_LINES = (
    "[iptables]",
    "-A FORWARD --in-interface swp+ -s 10.8.0.1 -d 10.8.0.2 -j ERSPAN --src-ip 1.1.1.1 --dst-ip 2.2.2.2",
)


class Faults:
    """Each method named in a scenario's ``[faults]`` is one kind; ``plan`` draws when they happen."""

    def __init__(self, world: "World", rng: Random) -> None:
        self._world = world
        self.rng = rng
        self._over = False

    def plan(self, day_s: float) -> None:
        for switch in self._world.switches.values():
            self._foreign(switch)
        for kind, a_day in self._world.scenario.faults.items():
            what: Callable[[], None] = getattr(self, kind)
            at = 0.0
            while a_day:
                at += self.rng.expovariate(a_day / 86_400.0)
                if at >= day_s:
                    break
                self._world.after(at, self._happen, kind, what)

    def _happen(self, kind: str, what: Callable[[], None]) -> None:
        if not self._over:
            self._world.census.fault(kind)
            self._world.census.events += 1
            what()

    def heal(self) -> None:
        """Everything is well from now on."""
        self._over = True
        world = self._world
        world.store_full = False
        world.store_bad_at = world.mono
        world.topology.down.clear()
        world.topology.changed()
        world.daemon.fuse = None
        for switch in world.switches.values():
            switch.shim_dead = switch.slow = False
            switch.loss = 0.0
            switch.install_fault = switch.list_fault = switch.bulk_fault = ""
            switch.unreachable = None
            self._foreign(switch, full=False)
            switch.bad_at = switch.bad_until = world.mono
        if not world.daemon.alive:
            world.restart()

    def _any(self) -> SimSwitch:
        return self.rng.choice(list(self._world.switches.values()))

    def _busy(self) -> SimSwitch:
        """A switch that holds rules of ours, where there is one."""
        busy = [s for s in self._world.switches.values() if s.rules]
        return self.rng.choice(busy) if busy else self._any()

    def _for(self, switch: SimSwitch, seconds: float, undo: Callable[[SimSwitch], None]) -> None:
        switch.bad_until = max(switch.bad_until, self._world.mono + seconds)
        self._world.after(seconds, undo, switch)

    # --- switches --------------------------------------------------------------------------------

    def reboot(self) -> None:
        switch = self._busy()
        world = self._world
        world.topology.down.add(switch.name)
        world.topology.changed()
        switch.reboot(world.mono)

        def up(switch: SimSwitch) -> None:
            world.topology.down.discard(switch.name)
            world.topology.changed()
            switch.reboot(world.mono)

        self._for(switch, self.rng.uniform(60, 300), up)

    def shim_dies(self) -> None:
        switch = self._busy()
        switch.shim_dead = True
        self._for(switch, self.rng.choice([5.0, 60.0, 600.0]), lambda s: setattr(s, "shim_dead", False))

    def lossy(self) -> None:
        switch = self._busy()
        switch.loss = self.rng.choice([0.1, 0.4, 0.8])
        self._for(switch, self.rng.uniform(60, 900), lambda s: setattr(s, "loss", 0.0))

    def slow(self) -> None:
        switch = self._busy()
        switch.slow = True
        self._for(switch, self.rng.uniform(60, 900), lambda s: setattr(s, "slow", False))

    def partition(self) -> None:
        """The daemon's own link: every switch is out of reach for a while."""
        for switch in self._world.switches.values():
            switch.loss = 1.0
            self._for(switch, 240.0, lambda s: setattr(s, "loss", 0.0))

    def refuses(self) -> None:
        switch = self._any()
        switch.install_fault = self.rng.choice(["http_400", "http_502", "http_503"])
        self._for(switch, self.rng.uniform(60, 600), lambda s: setattr(s, "install_fault", ""))

    def nonsense(self) -> None:
        switch = self._busy()
        switch.list_fault = "answered no JSON object"
        self._for(switch, self.rng.uniform(60, 600), lambda s: setattr(s, "list_fault", ""))

    def older_shim(self) -> None:
        """It knows no bulk changes; nothing else is wrong with it."""
        switch = self._busy()
        switch.bulk_fault = "http_405"
        self._world.after(self.rng.uniform(3_600, 14_400), lambda s: setattr(s, "bulk_fault", ""), switch)

    def unreachable(self) -> None:
        switch = self._any()
        switch.unreachable = "no neighbour for the ERSPAN destination"
        self._for(switch, self.rng.uniform(300, 1_800), lambda s: setattr(s, "unreachable", None))

    def flush(self) -> None:
        switch = self._busy()
        switch.flush()

    def foreign(self) -> None:
        """Other people add, and take, rules of theirs."""
        self._foreign(self._any())

    def foreign_fills(self) -> None:
        switch = self._any()
        self._foreign(switch, full=True)
        self._for(switch, self.rng.uniform(300, 3_600), self._foreign)

    def altered(self) -> None:
        """Somebody edits our rule."""
        switch = self._busy()
        for rule in switch.rules.values():
            rule.lines = rule.lines[:2]
            break

    def _foreign(self, switch: SimSwitch, full: bool = False) -> None:
        world = self._world
        rules = {
            f"theirs_{n}": Rule(OWNED_LINES, float("inf"), "other", world.mono)
            for n in range(switch.own_limit - switch.entries() if full else self.rng.randrange(1, 6))
        }
        # A name like ours, but another owner's; our owner, but a name that a person gave: neither is ours.
        rules["sentinel_c0ffee"] = Rule(OWNED_LINES, float("inf"), "other", world.mono)
        rules["by_hand"] = Rule(OWNED_LINES, float("inf"), OWNER, world.mono)
        switch.foreigners(rules)
        world.invariants.foreign_changed(switch)

    # --- the fabric ------------------------------------------------------------------------------

    def rehash(self) -> None:
        self._world.topology.rehash()

    def migrate(self) -> None:
        """A virtual machine moves to another leaf, preferably one that talks."""
        topology = self._world.topology
        talking = [topology.by_ip[c.local_ip] for c in self._world.live_captures() if c.local_ip in topology.by_ip]
        host: Host = self.rng.choice(talking or topology.hosts)
        host.leaves = (self.rng.choice(topology.leaves),)
        topology.changed()

    # --- the daemon ------------------------------------------------------------------------------

    def crash(self) -> None:
        if self._world.daemon.alive:
            self._world.daemon.kill()

    def crash_between(self) -> None:
        """Within the next steps towards store and switches, between any two of them."""
        self._world.daemon.fuse = self.rng.randrange(8)

    def clock_jumps(self) -> None:
        self._world.set_clock(self._world.wall_ahead + self.rng.choice([-2e8, -3_600.0, -1.0, 1.0, 86_400.0]))

    def wrong_clock_at_start(self) -> None:
        """Killed, and the clock is somewhere else when it comes back: 1970, or next year."""
        world = self._world
        if world.daemon.alive:
            world.daemon.kill()
            world.set_clock(self.rng.choice([0.0, world.wall_ahead + 3e7, world.wall_ahead - 86_400.0]))

    def store_full(self) -> None:
        world = self._world
        seconds = self.rng.choice([3.0, 60.0, 600.0])
        world.store_full = True
        world.store_bad_at = world.mono + seconds

        def freed() -> None:
            world.store_full = False
            world.store_bad_at = world.mono

        world.after(seconds, freed)

    def store_lost(self) -> None:
        """The database is gone, with everything that was known of the rules out there."""
        if self._world.daemon.alive:
            self._world.daemon.kill()
            self._world.lose_store()

    # --- lists and people ------------------------------------------------------------------------

    def delist(self) -> None:
        world = self._world
        live = [c.listed_ip for c in world.live_captures() if c.listed_ip not in world.traffic.delisted]
        if live:
            ip = self.rng.choice(live)
            world.traffic.delisted.add(ip)
            world.daemon.lists_changed()
            world.after(7_200.0, world.traffic.delisted.discard, ip)

    def forge(self) -> None:
        switch = self._any()
        self._world.traffic.forge(switch.agent, self._world.scenario.traffic.forged)

    def person_stops(self) -> None:
        self._person(lambda c: events.StopRequested(c, "ada"))

    def person_extends(self) -> None:
        self._person(lambda c: events.Extended(c, 600.0, "ada"))

    def person_approves(self) -> None:
        self._person(lambda c: events.Approved(c, "ada"))

    def person_starts(self) -> None:
        """Some detection, whatever its evidence."""
        world = self._world
        if world.daemon.alive:
            found = world.daemon.detector.open_detections()
            if found:
                world.daemon.wish(events.StartRequested(self.rng.choice(found), "ada", 900.0))

    def _person(self, wish: Callable[[str], events.Event]) -> None:
        live = self._world.live_captures()
        if live:
            self._world.daemon.wish(wish(self.rng.choice(live).id))
