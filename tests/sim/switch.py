# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A switch with its shim that executes: leases in its own boot time, counters, other people's rules, faults."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from sentinel.capture import actions, events
from sentinel.model import Switch

OWNER = "sentinel"
_LINE = re.compile(
    r"-A FORWARD --in-interface \S+ -s (\S+) -d (\S+) -j ERSPAN --src-ip (\S+) --dst-ip (\S+)( --ttl \d+)?"
)


@dataclass(slots=True)
class Rule:
    """``deadline`` is in seconds since the switch booted; ``rose_at`` is when a packet last hit it (virtual time)."""

    lines: tuple[str, ...]
    deadline: float
    owner: str
    installed_at: float
    packets: int = 0
    octets: int = 0
    rose_at: float = float("-inf")


@lru_cache(20_000)
def directions(lines: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """(source, destination) of each line; ``ValueError`` for a line that is anything but one host to one host."""
    found = []
    for line in lines[1:]:
        parsed = _LINE.fullmatch(line)
        if parsed is None:
            raise ValueError(line)
        found.append((parsed[1], parsed[2]))
    return tuple(found)


def not_done(change: actions.Install | actions.Remove, switch: str, reason: str) -> events.Outcome:
    """A request for it failed, and who knows whether it was carried out."""
    if isinstance(change, actions.Install):
        return events.InstallFailed(switch, change.rule, reason, reason, permanent=False)
    return events.RemoveFailed(switch, change.rule, reason, reason)


class SimSwitch:
    """``called``: the daemon's name for it; ``bad_until`` and ``bad_at``: when something is, or was, wrong with it."""

    def __init__(
        self, name: str, called: str, agent: str, own_limit: int, lapsed: Callable[["SimSwitch", str, Rule], None]
    ) -> None:
        self.name = name
        self.called = called
        self.agent = agent
        self.own_limit = own_limit
        self.allowed = own_limit
        self.rules: dict[str, Rule] = {}
        self.foreign: dict[str, Rule] = {}
        self.booted_at = 0.0
        self.shim_dead = False
        self.install_fault = ""
        self.list_fault = ""
        self.bulk_fault = ""
        self.unreachable: str | None = None
        self.loss = 0.0
        self.slow = False
        self.bad_until = 0.0
        self.bad_at = 0.0
        self.read_at = float("-inf")
        self.writes = 0
        self._lapsed = lapsed
        self._index: dict[tuple[str, str], list[Rule]] = {}
        self._first_deadline = float("inf")
        self._foreign_entries = 0

    # --- its own life ----------------------------------------------------------------------------

    def sweep(self, mono: float) -> None:
        """The hands that remove run every second with the shim, every 30 s without it."""
        every = 30.0 if self.shim_dead else 1.0
        ticked = mono // every * every - self.booted_at
        if ticked < self._first_deadline:
            return
        for name in [n for n, rule in self.rules.items() if rule.deadline <= ticked]:
            rule = self.rules.pop(name)
            self._lapsed(self, name, rule)
        self._reindex()

    def reboot(self, mono: float) -> None:
        self.rules.clear()
        self.booted_at = mono
        self._reindex()

    def flush(self) -> None:
        """Somebody's ``cl-acltool -F``; other people's rules are put back by them."""
        self.rules.clear()
        self._reindex()

    def foreigners(self, rules: dict[str, Rule]) -> None:
        """Other people's rules as they are from now on."""
        self.foreign = rules
        self._foreign_entries = sum(len(rule.lines) - 1 for rule in rules.values())

    def forward(self, src: str, dst: str, packets: int, octets: int, mono: float) -> int:
        """Packets in, how many of them were mirrored out."""
        self.sweep(mono)
        hit = self._index.get((src, dst), ())
        for rule in hit:
            rule.packets += packets
            rule.octets += packets * octets
            rule.rose_at = mono
        return packets * len(hit)

    def entries(self) -> int:
        return sum(len(rule.lines) - 1 for rule in self.rules.values())

    # --- its shim --------------------------------------------------------------------------------

    def execute(self, action: actions.SwitchAction, mono: float) -> events.Event:
        self.sweep(mono)
        match action:
            case actions.Install() | actions.Remove():
                return self._change(action, mono)
            case actions.Bulk(_, changes):
                return events.BulkAnswered(self.called, self._bulk(changes, mono))
            case actions.Renew(_, ttl_s):
                self._first_deadline = deadline = mono - self.booted_at + ttl_s
                for rule in self.rules.values():
                    rule.deadline = deadline
                self.read_at = mono
                return events.Renewed(
                    self.called, {n: events.RuleOnSwitch(r.packets, r.octets) for n, r in self.rules.items()}
                )
            case actions.List():
                if self.list_fault:
                    return events.SwitchFailed(self.called, "nonsense", self.list_fault)
                self.read_at = mono
                both = {**self.rules, **self.foreign}
                rules = {
                    n: events.RuleOnSwitch(r.packets, r.octets, r.owner == OWNER, r.lines) for n, r in both.items()
                }
                return events.Listed(self.called, rules, True, self.own_limit, self.unreachable)
            case actions.Probe(agent):
                found = Switch(agent, (agent,), f"https://{agent}:8443", agent, max_rules=self.allowed, ipv6=True)
                return events.SwitchFound(found)

    def _bulk(self, changes: tuple[actions.Install | actions.Remove, ...], mono: float) -> tuple[events.Outcome, ...]:
        """One commit; each change has its own outcome, but where nothing can be committed none is made."""
        whole = self.bulk_fault or (self.install_fault if self.install_fault == "http_503" else "")
        if whole:
            return tuple(not_done(change, self.called, whole) for change in changes)
        before = self.writes
        outcomes = tuple(self._change(change, mono) for change in changes)
        self.writes = min(self.writes, before + 1)
        return outcomes

    def _change(self, change: actions.Install | actions.Remove, mono: float) -> events.Outcome:
        if isinstance(change, actions.Install):
            return self._install(change.rule, change.lines, change.ttl_s, mono)
        if self.rules.pop(change.rule, None):
            self.writes += 1
            self._reindex()
        return events.Removed(self.called, change.rule)

    def _install(self, name: str, lines: tuple[str, ...], ttl_s: int, mono: float) -> events.Outcome:
        if self.install_fault:
            permanent = self.install_fault == "http_400"
            return events.InstallFailed(self.called, name, self.install_fault, self.install_fault, permanent)
        deadline = mono - self.booted_at + ttl_s
        old = self.rules.get(name)
        if old is not None and old.lines == lines:
            old.deadline = deadline
            self._reindex()
            return events.Installed(self.called, name, changed=False)
        taken = self.entries() + self._foreign_entries - (len(old.lines) - 1 if old else 0)
        if taken + len(lines) - 1 > self.own_limit:
            return events.InstallFailed(self.called, name, "full", f"507: {taken} of {self.own_limit}", permanent=True)
        self.writes += 1
        self.rules[name] = Rule(lines, deadline, OWNER, mono)
        self._reindex()
        return events.Installed(self.called, name, changed=True)

    def _reindex(self) -> None:
        self._index = {}
        self._first_deadline = float("inf")
        for rule in self.rules.values():
            self._first_deadline = min(self._first_deadline, rule.deadline)
            for pair in directions(rule.lines):
                self._index.setdefault(pair, []).append(rule)
