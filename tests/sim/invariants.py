# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What must hold after every step, told in the words of issue and design; a breach ends the day with its story."""

from typing import TYPE_CHECKING

from sentinel.capture import actions, events
from sentinel.capture.engine import CaptureEngine
from sentinel.capture.policy import wanted
from sentinel.capture.rules import RULE_PREFIX
from sentinel.model import Capture, Now
from tests.sim.switch import Rule, SimSwitch, directions

if TYPE_CHECKING:
    from tests.sim.world import World

# The shim's slowest hand, and the answer of a healthy switch with our own tick.
TICK_S = 30.0
SETTLE_S = 5.0
# A switch on which nothing goes wrong has what the store says within so many seconds after a lease.
DRIFT_S = 60.0


class BrokenError(AssertionError):
    """An invariant does not hold."""


class Invariants:
    """Watches one world. Rules are judged by what the switches hold, captures by what the store holds."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._orphans: dict[tuple[str, str], float] = {}
        self._differs: dict[tuple[str, str, str], float] = {}
        self._foreign: dict[str, dict[str, Rule]] = {}
        self._live_pairs: dict[frozenset[str], str] = {}
        self.checks = 0

    def broken(self, what: str) -> BrokenError:
        world = self._world
        return BrokenError(f"scenario {world.scenario.name}, seed {world.seed}, second {world.mono:.1f}: {what}")

    # --- the engine's side -----------------------------------------------------------------------

    def watch(self, engine: CaptureEngine) -> None:
        """Look at every event the engine handles."""
        handle = engine.handle

        def watched(event: events.Event, now: Now) -> list[actions.Action]:
            todo = handle(event, now)
            if isinstance(event, events.Sighted):
                self._visible(engine, event)
            if isinstance(event, events.Renewed | events.Installed | events.BulkAnswered):
                self._load(engine, event.switch)
            if sum(isinstance(action, actions.Bulk) for action in todo) > isinstance(
                event, events.Listed | events.Renewed
            ):
                raise self.broken(f"more than one bulk request for one {type(event).__name__}")
            if isinstance(event, events.Extended) and event.capture_id in self._world.ends_at:
                self._world.ends_at[event.capture_id] += event.seconds
            self._world.census.events += not isinstance(event, events.Tick)
            return todo

        engine.handle = watched  # type: ignore[method-assign]  # a witness, not a change

    def _load(self, engine: CaptureEngine, switch: str) -> None:
        """Budgets of load are never exceeded, by the engine's own estimate, added up afresh."""
        carried: dict[str, int] = {}
        for capture in engine.live():
            for mirror in capture.mirrors:
                if mirror.state in {"installing", "active"}:
                    carried[mirror.switch] = carried.get(mirror.switch, 0) + (engine.rate_bps(capture.id) or 0)
        if carried.get(switch, 0) > self._world.policy.max_bps_per_switch:
            raise self.broken(f"{switch} mirrors {carried[switch]} bit/s, more than it may")
        if sum(carried.values()) > self._world.policy.max_bps:
            raise self.broken(f"the ERSPAN destination gets {sum(carried.values())} bit/s, more than it may")

    def _visible(self, engine: CaptureEngine, event: events.Sighted) -> None:
        """Every refusal has a visible reason."""
        detection = event.detection
        capture = engine.of_pair(detection.local_ip, detection.listed_ip)
        if capture is None:
            refusal = engine.refusals.get(detection.id)
            if refusal is None or not refusal.reason or not refusal.detail:
                raise self.broken(f"{detection.local_ip} - {detection.listed_ip} is not captured and nobody says why")
            if wanted(detection, self._world.policy) is None:
                self._world.census.fault("refused_" + refusal.reason)
        elif capture.state in {"queued", "failed", "pending"} and not capture.note:
            raise self.broken(f"{capture.id} is {capture.state} and nobody says why")

    def sent(self, action: actions.SwitchAction) -> None:
        """Intent is stored before the request."""
        changes = actions.one_by_one(action)
        named = {change.rule for change in changes if isinstance(change, actions.Install | actions.Remove)}
        if isinstance(action, actions.Bulk) and (
            len(named) < len(changes) or {change.switch for change in action.changes} != {action.switch}
        ):
            raise self.broken(f"a bulk request to {action.switch} names a rule twice, or another switch's")
        for change in changes:
            if isinstance(change, actions.Install):
                self._intended(change)
            if isinstance(change, actions.Install | actions.Renew) and change.ttl_s > self._world.policy.lease_s:
                raise self.broken(f"a lease of {change.ttl_s} s is asked for, longer than switch_lease")

    def _intended(self, install: actions.Install) -> None:
        capture = self._world.stored.get(install.rule.removeprefix(RULE_PREFIX))
        if capture is None or capture.state == "ended":
            raise self.broken(f"{install.rule} is asked for, but no live capture is stored")
        if install.lines not in [m.lines for m in capture.mirrors if m.switch == install.switch]:
            raise self.broken(f"{install.rule}: other lines are asked for than are stored")

    # --- the store's side ------------------------------------------------------------------------

    def saved(self, old: Capture | None, new: Capture) -> None:
        pair = frozenset((new.local_ip, new.listed_ip))
        if new.state == "ended":
            if self._live_pairs.get(pair) == new.id:
                del self._live_pairs[pair]
            self._ended(new)
        elif self._live_pairs.setdefault(pair, new.id) != new.id:
            raise self.broken(f"{new.id} and {self._live_pairs[pair]} are both live for {sorted(pair)}")
        if new.ending == "quiet" and not (old and old.ending):
            self._quiet(new)

    def _ended(self, capture: Capture) -> None:
        for switch in self._world.switches.values():
            rule = RULE_PREFIX + capture.id
            if rule in switch.rules:
                self._orphans.setdefault((switch.name, rule), self._world.mono)

    def store_lost(self) -> None:
        """Every rule of ours is an orphan now."""
        self._live_pairs.clear()
        self._differs.clear()
        for switch in self._world.switches.values():
            for name in switch.rules:
                self._orphans.setdefault((switch.name, name), self._world.mono)

    def _quiet(self, capture: Capture) -> None:
        """No capture ends as quiet while its rule's counter rises."""
        world = self._world
        for mirror in capture.mirrors:
            switch = world.switch_called(mirror.switch)
            rule = switch.rules.get(mirror.rule)
            since = world.mono - world.policy.quiet_s
            if rule is not None and since + SETTLE_S < rule.rose_at < switch.read_at:
                ago = world.mono - rule.rose_at
                raise self.broken(f"{capture.id} ends as quiet, but its counter on {switch.name} rose {ago:.0f} s ago")

    # --- the switches' side ----------------------------------------------------------------------

    def executed(self, switch: SimSwitch, action: actions.SwitchAction) -> None:
        self.checks += 1
        if switch.foreign != self._foreign.setdefault(switch.name, dict(switch.foreign)):
            raise self.broken(f"other people's rules on {switch.name} were touched")
        for change in actions.one_by_one(action):
            self._changed(switch, change)

    def _changed(self, switch: SimSwitch, action: actions.SwitchAction) -> None:
        world = self._world
        if isinstance(action, actions.Remove) and (
            not action.rule.startswith(RULE_PREFIX) or action.rule in switch.foreign
        ):
            raise self.broken(f"{action.rule} on {switch.name} is not ours to remove")
        if not isinstance(action, actions.Install):
            return
        self._narrow(switch, action)
        if switch.entries() > switch.allowed:
            raise self.broken(f"{switch.entries()} entries on {switch.name}, allowed {switch.allowed}")
        capture = world.stored.get(action.rule.removeprefix(RULE_PREFIX))
        if action.rule in switch.rules and (capture is None or capture.state == "ended"):
            self._orphans[switch.name, action.rule] = world.mono

    def _narrow(self, switch: SimSwitch, action: actions.Install) -> None:
        """No rule wider than its pair, never two rules for one pair and direction on one switch."""
        capture = self._world.stored.get(action.rule.removeprefix(RULE_PREFIX))
        try:
            asked = directions(action.lines)
        except ValueError as error:
            raise self.broken(f"{action.rule}: {error} is not one host to one host") from error
        ends = (capture.local_ip, capture.listed_ip) if capture else None
        if capture and sorted(asked) != sorted((ends, ends[::-1])):  # type: ignore[index,type-var]  # not None here
            raise self.broken(f"{action.rule} mirrors {asked}, its capture is of {ends}")
        protected = self._world.protected
        if any(src in protected or dst in protected for src, dst in asked):
            raise self.broken(f"{action.rule} mirrors a protected host")
        seen: set[tuple[str, str]] = set()
        for rule in switch.rules.values():
            for way in directions(rule.lines):
                if way in seen:
                    raise self.broken(f"two rules on {switch.name} for {way[0]} to {way[1]}")
                seen.add(way)

    def foreign_changed(self, switch: SimSwitch) -> None:
        """Their owner changed them."""
        self._foreign[switch.name] = dict(switch.foreign)

    def lapsed(self, switch: SimSwitch, name: str, rule: Rule) -> None:
        """The lease ended a rule: right for an orphan and while we were unwell, wrong for a healthy live one."""
        world = self._world
        self._orphans.pop((switch.name, name), None)
        capture = world.stored.get(name.removeprefix(RULE_PREFIX))
        lease_s = world.policy.lease_s
        if capture is None or capture.ending or world.unwell_within(switch, lease_s + TICK_S):
            world.census.fault("lease_ended_rule")
            return
        if world.mono - rule.installed_at > lease_s / 2:
            raise self.broken(f"the lease of {name} on {switch.name} ran out though everybody was well")

    # --- once a minute ---------------------------------------------------------------------------

    def audit(self) -> None:
        world = self._world
        lease_s = world.policy.lease_s
        for switch in world.switches.values():
            switch.sweep(world.mono)
            late = world.mono - switch.booted_at - TICK_S
            for name, rule in switch.rules.items():
                if rule.deadline < late:
                    raise self.broken(f"{name} is on {switch.name} past its lease")
        for (switch_name, name), since in list(self._orphans.items()):
            if name not in world.switches[switch_name].rules:
                del self._orphans[switch_name, name]
            elif world.mono - since > lease_s + TICK_S:
                raise self.broken(f"{name} is on {switch_name} {world.mono - since:.0f} s after its capture ended")
        self._drift()
        self._overdue()

    def _drift(self) -> None:
        """Store and switch tell the same of a rule, unless something is wrong with the switch."""
        world = self._world
        differs = set()
        for capture in world.live_captures():
            for mirror in capture.mirrors:
                switch = world.switch_called(mirror.switch)
                if mirror.state == ("installing" if mirror.rule in switch.rules else "active"):
                    differs.add((switch.name, mirror.rule, mirror.state))
        self._differs = {key: since for key, since in self._differs.items() if key in differs}
        bound = world.policy.lease_s + DRIFT_S
        for key in differs:
            since = self._differs.setdefault(key, world.mono)
            name, rule, state = key
            if world.mono - since > bound and not world.unwell_within(world.switches[name], bound):
                told = "has been missing" if state == "active" else "has been there"
                raise self.broken(f"{rule} is stored as {state} and {told} on {name} for {bound:.0f} s")

    def _overdue(self) -> None:
        """Every capture reaches an end state: none is live long after its time."""
        world = self._world
        grace = world.policy.lease_s + 2 * TICK_S + 90.0
        if not world.daemon.alive or world.mono - max(world.daemon.started_at, world.store_bad_at) < grace:
            return
        for capture in world.live_captures():
            if world.ends_at[capture.id] + grace < world.mono:
                raise self.broken(f"{capture.id} is {capture.state} long after its end: {capture.note}")

    def over(self) -> None:
        """At the end of the day, when everything was well and silent for long enough."""
        world = self._world
        left = world.live_captures()
        if left:
            raise self.broken(f"{left[0].id} never reached an end: {left[0].state}, {left[0].note}")
        for switch in world.switches.values():
            switch.sweep(world.mono)
            if switch.rules:
                raise self.broken(f"{next(iter(switch.rules))} is left on {switch.name}")
