# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Where a pair can be mirrored best, where a second time, and when it has moved. Questions with answers, no state.

A leaf sees both directions of its hosts. With two ways into the fabric (ECMP, MLAG) a switch may see one direction
only; then a second mirror stands where the other is seen.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from sentinel.capture.policy import Refusal
from sentinel.model import Detection, Observer, Switch

_ROLE_RANK = {"leaf": 0, "border": 0, "host": 0, "spine": 1}
# Samples elsewhere, of what the first never shows, before it is believed: 2^-3 that chance hides a direction.
SECOND_SAMPLES = 3


@dataclass(frozen=True, slots=True)
class View:
    """What the planner knows of a switch beside its inventory line."""

    room: int
    trouble: str | None = None
    unreachable: str | None = None


@dataclass(slots=True)
class Seen:
    """Samples of a pair at one switch, by direction."""

    outbound: int = 0
    inbound: int = 0

    @property
    def samples(self) -> int:
        return self.outbound + self.inbound


def seen_by_switch(observers: Iterable[Observer], switch_of_agent: Mapping[str, Switch]) -> dict[str, Seen]:
    """Where the pair is seen bare, so that a rule would match it."""
    seen: dict[str, Seen] = {}
    for observer in observers:
        switch = switch_of_agent.get(observer.agent)
        if switch is not None and observer.capturable:
            there = seen.setdefault(switch.name, Seen())
            there.outbound += observer.outbound
            there.inbound += observer.inbound
    return seen


def ineligible(
    detection: Detection, observer: Observer, switch: Switch | None, view: Callable[[str], View]
) -> Refusal | None:
    """Why this observer cannot mirror the pair."""
    if switch is None:
        return Refusal("no_switch", f"agent {observer.agent} is not a switch we can configure")
    if not observer.capturable:
        inside = "a tunnel" if observer.vni is None else f"vni {observer.vni}"
        return Refusal("only_inside", f"not capturable: only inside {inside} at {switch.name}")
    if ":" in detection.local_ip and not switch.ipv6:
        return Refusal("no_ipv6", f"{switch.name} takes no IPv6 rules")
    why = view(switch.name).unreachable
    return (
        Refusal("unreachable", f"{switch.name} cannot reach the ERSPAN destination: {why}") if why is not None else None
    )


def candidates(
    detection: Detection,
    switch_of_agent: Mapping[str, Switch],
    view: Callable[[str], View],
    excluded: Collection[str] = (),
) -> list[str] | Refusal:
    """The switches that can mirror the pair, best first: healthy, with room, near the host, best seeing.

    One in trouble or without room comes last but is there: the engine waits for it when there is no other.
    """
    samples: dict[str, int] = {}
    switches: dict[str, Switch] = {}
    reasons: list[Refusal] = []
    for observer in detection.observers:
        switch = switch_of_agent.get(observer.agent)
        reason = ineligible(detection, observer, switch, view)
        if reason is None and switch is not None and switch.name in excluded:
            reason = Refusal("refused", f"{switch.name} refused the rule")
        if reason is not None:
            reasons.append(reason)
        elif switch is not None:
            samples[switch.name] = samples.get(switch.name, 0) + observer.samples
            switches[switch.name] = switch
    if not samples:
        # The most telling reason: one that a person can change comes before "not a switch".
        reasons.sort(key=lambda refusal: refusal.reason == "no_switch")
        return reasons[0] if reasons else Refusal("no_observer", "no agent has sampled this pair")

    def rank(name: str) -> tuple[bool, bool, int, int, str]:
        seen = view(name)
        return seen.trouble is not None, seen.room <= 0, _ROLE_RANK[switches[name].role], -samples[name], name

    return sorted(samples, key=rank)


def second_vantage(first: str, recent: Mapping[str, Seen], able: Collection[str]) -> str | None:
    """Where the direction is seen that the first switch lately does not show; ``None`` where it shows both or none."""
    here = recent.get(first, Seen())
    if bool(here.outbound) == bool(here.inbound):
        return None
    missing = "outbound" if here.inbound else "inbound"
    best = max(((getattr(recent.get(name, Seen()), missing), name) for name in able if name != first), default=(0, ""))
    return best[1] if best[0] >= SECOND_SAMPLES else None


def sees_both(switch: str, recent: Mapping[str, Seen]) -> bool:
    """Whether one mirror there is enough."""
    here = recent.get(switch, Seen())
    return min(here.outbound, here.inbound) >= SECOND_SAMPLES
