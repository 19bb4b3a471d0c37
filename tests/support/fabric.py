# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A fabric that executes: switches hold rules with leases, match packets, count, fail; virtual time only."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sentinel.capture import actions, events
from sentinel.capture.engine import CaptureEngine
from sentinel.capture.policy import Policy
from sentinel.model import Capture, Detection, Indicator, Now, Observer, Switch
from tests.support.policies import make_policy

LISTED = "198.51.100.7"
HOST = "10.0.0.10"
DESTINATION = "10.0.0.70"
# Of one event in these small fabrics.
MOST_ACTIONS = 2_000


@dataclass
class FakeRule:
    lines: tuple[str, ...]
    deadline: float
    packets: int = 0
    bytes: int = 0
    owner: str = "sentinel"


@dataclass
class FakeSwitch:
    """A shim with its switch. ``fault`` makes every request fail so; ``mute`` loses the answer, not the deed.

    ``no_bulk``: an older shim, which knows single changes only; ``no_room``: full, though its figures say otherwise.
    """

    name: str
    max_rules: int = 100
    rules: dict[str, FakeRule] = field(default_factory=dict)
    fault: str = ""
    mute: bool = False
    writes: int = 0
    requests: list[actions.SwitchAction] = field(default_factory=list)
    ipv6: bool = False
    unreachable: str | None = None
    no_bulk: bool = False
    no_room: bool = False
    refusing: bool = False

    def flush_and_refuse(self) -> None:
        """Somebody emptied it, and it takes no rule of ours any more."""
        self.rules.clear()
        self.refusing = True

    def expire(self, mono: float) -> None:
        for name in [n for n, rule in self.rules.items() if rule.deadline <= mono]:
            del self.rules[name]

    def packet(self, src: str, dst: str, octets: int = 100) -> list[str]:
        """Forward one packet; returns the names of the rules that mirrored it."""
        hit = []
        for name, rule in self.rules.items():
            if any(f"-s {src} -d {dst} " in line for line in rule.lines):
                rule.packets += 1
                rule.bytes += octets
                hit.append(name)
        return hit

    def execute(self, action: actions.SwitchAction, mono: float) -> events.Event:
        self.requests.append(action)
        self.expire(mono)
        if self.fault:
            return self._fail(action, self.fault)
        if self.no_bulk and isinstance(action, actions.Bulk):
            return self._fail(action, "http_405")
        event = self._do(action, mono)
        return self._fail(action, "timeout") if self.mute else event

    def _do(self, action: actions.SwitchAction, mono: float) -> events.Event:
        match action:
            case actions.Install() | actions.Remove():
                return self._change(action, mono)
            case actions.Bulk(_, changes):
                before = self.writes
                outcomes = tuple(self._change(change, mono) for change in changes)
                self.writes = min(self.writes, before + 1)
                return events.BulkAnswered(self.name, outcomes)
            case actions.Renew(_, ttl_s):
                ours = {n: r for n, r in self.rules.items() if r.owner == "sentinel"}
                for rule_there in ours.values():
                    rule_there.deadline = mono + ttl_s
                return events.Renewed(self.name, {n: events.RuleOnSwitch(r.packets, r.bytes) for n, r in ours.items()})
            case actions.List():
                rules = {
                    n: events.RuleOnSwitch(r.packets, r.bytes, r.owner == "sentinel", r.lines)
                    for n, r in self.rules.items()
                }
                return events.Listed(self.name, rules, self.ipv6, self.max_rules, self.unreachable)
            case actions.Probe(agent):
                return events.SwitchFound(Switch(agent, (agent,), f"https://{agent}:8443", agent))

    def _change(self, change: actions.Install | actions.Remove, mono: float) -> events.Outcome:
        if isinstance(change, actions.Install):
            return self._install(change, change.rule, change.lines, mono + change.ttl_s)
        self.writes += self.rules.pop(change.rule, None) is not None
        return events.Removed(self.name, change.rule)

    def _install(self, action: actions.Install, rule: str, lines: tuple[str, ...], deadline: float) -> events.Outcome:
        if self.refusing:
            return self._not_done(action, "http_400")
        old = self.rules.get(rule)
        entries = sum(len(r.lines) - 1 for n, r in self.rules.items() if n != rule) + len(lines) - 1
        if entries > self.max_rules or (self.no_room and old is None):
            return events.InstallFailed(self.name, rule, "full", f"507: {entries} of {self.max_rules}", permanent=True)
        if old and old.lines == lines:
            old.deadline = deadline
            return events.Installed(self.name, rule, changed=False)
        self.writes += 1
        self.rules[rule] = FakeRule(lines, deadline)
        return events.Installed(self.name, rule, changed=True)

    def _fail(self, action: actions.SwitchAction, reason: str) -> events.Event:
        match action:
            case actions.Install() | actions.Remove():
                return self._not_done(action, reason)
            case actions.Bulk(_, changes):
                return events.BulkAnswered(self.name, tuple(self._not_done(change, reason) for change in changes))
            case actions.Probe(agent):
                return events.ProbeFailed(agent, reason)
            case actions.Renew() | actions.List():
                return events.SwitchFailed(self.name, reason, reason)

    def _not_done(self, change: actions.Install | actions.Remove, reason: str) -> events.Outcome:
        if isinstance(change, actions.Install):
            return events.InstallFailed(self.name, change.rule, reason, reason, permanent=reason == "http_400")
        return events.RemoveFailed(self.name, change.rule, reason, reason)


def observer(agent: str, samples: int = 1, *, capturable: bool = True, vni: int | None = None) -> Observer:
    return Observer(agent, 0, 1, 1, 2, samples, samples * 100, samples * 10_000, capturable, vni, samples, 0, True)


def detection(
    local: str = HOST,
    listed: str = LISTED,
    *,
    evidence: str = "initiated",
    observers: Iterable[Observer] = (),
    at: float = 0.0,
) -> Detection:
    seen = tuple(observers) or (observer("10.0.1.1"),)
    samples = max(o.samples for o in seen)
    return Detection(
        id=f"d{local}-{listed}",
        local_ip=local,
        listed_ip=listed,
        direction="outbound",
        evidence=evidence,  # type: ignore[arg-type]  # tables in tests give plain text
        indicators=(Indicator(f"{listed}/32", "test", "c2"),),
        layer=0,
        observers=seen,
        samples=samples,
        packets=samples * 100,
        bytes=samples * 10_000,
        packets_error_pct=196.0,
        first_seen=at,
        last_seen=at,
        src_ip=local,
        dst_ip=listed,
        src_port=40_000,
        dst_port=443,
        protocol=6,
    )


class World:
    """Engine, fake switches and a clock; every action is carried out at once unless the switch is at fault."""

    def __init__(
        self, switches: Iterable[Switch] = (), *, policy: Policy | None = None, agents: Iterable[str] = ()
    ) -> None:
        inventory = list(switches) or [
            leaf("leaf1", "10.0.1.1"),
            leaf("leaf2", "10.0.1.2"),
            spine("spine1", "10.0.1.9"),
        ]
        self.inventory = inventory
        self.policy = policy or make_policy()
        self.probeable = set(agents)
        self.switches = {s.name: FakeSwitch(s.name, s.max_rules, ipv6=s.ipv6) for s in inventory}
        self.mono = 1000.0
        self.wall = 1_700_000_000.0
        self.stored: dict[str, Capture] = {}
        self.history: list[tuple[str, str, str]] = []
        self.actions: list[actions.Action] = []
        self.start()

    def start(self) -> None:
        """A new daemon process on the stored captures."""
        self.engine = CaptureEngine(self.policy, self.inventory, self.probeable.__contains__)
        self._carry_out(self.engine.restore(list(self.stored.values()), self.now))

    @property
    def now(self) -> Now:
        return Now(self.mono, self.wall)

    def tell(self, event: events.Event) -> None:
        self._carry_out(self.engine.handle(event, self.now))

    def sight(self, **kwargs: object) -> None:
        self.tell(events.Sighted(detection(**kwargs, at=self.wall)))  # type: ignore[arg-type]

    def run(self, seconds: float, step: float = 1.0) -> None:
        end = self.mono + seconds
        while self.mono < end - 1e-9:
            self.mono += step
            self.wall += step
            for switch in self.switches.values():
                switch.expire(self.mono)
            self.tell(events.Tick())

    def rules(self) -> dict[str, list[str]]:
        return {name: sorted(s.rules) for name, s in self.switches.items() if s.rules}

    def states(self) -> list[str]:
        return [c.state for c in self.engine.live()]

    def _carry_out(self, todo: list[actions.Action]) -> None:
        queue = list(todo)
        begun = len(self.actions)
        while queue:
            action = queue.pop(0)
            self.actions.append(action)
            assert len(self.actions) - begun < MOST_ACTIONS, "answers and requests chase one another without end"
            if isinstance(action, actions.Record):
                self.stored[action.capture.id] = action.capture
                if action.previous_state:
                    self.history.append((action.capture.id, action.previous_state, action.capture.state))
                continue
            name = action.agent if isinstance(action, actions.Probe) else action.switch
            switch = self.switches.setdefault(name, FakeSwitch(name))
            for change in actions.one_by_one(action):
                if isinstance(change, actions.Install):
                    stored = [m for c in self.stored.values() for m in c.mirrors if m.rule == change.rule]
                    assert stored, "intent is stored before the request"
            queue += self.engine.handle(switch.execute(action, self.mono), self.now)


def leaf(name: str, agent: str, max_rules: int = 100, *, ipv6: bool = False) -> Switch:
    return Switch(name, (agent,), f"https://{name}:8443", agent, "leaf", max_rules, ipv6)


def spine(name: str, agent: str) -> Switch:
    return replace(leaf(name, agent), role="spine")
