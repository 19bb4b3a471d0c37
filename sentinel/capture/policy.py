# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Which detections deserve a capture, and which switch may make it. Questions with answers, no state."""

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from sentinel.model import Detection, Switch

_EVIDENCE_RANK = {"contacted": 0, "answered": 1, "initiated": 2}
_ROLE_RANK = {"leaf": 0, "border": 0, "host": 0, "spine": 1}


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's choices. Durations in seconds; ``never_capture`` are CIDR prefixes."""

    mode: Literal["automatic", "manual", "dry-run"]
    erspan_destination: str
    never_capture: tuple[str, ...] = ()
    quiet_s: float = 600.0
    longest_s: float = 3600.0
    lease_s: float = 120.0
    min_samples: int = 3
    max_new_per_minute: int = 30
    in_interface: str = "swp+"
    ttl: int | None = 64


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not: ``reason`` is a counter's label, ``detail`` the sentence on screen."""

    reason: str
    detail: str


def pair_of(detection: Detection) -> tuple[str, str]:
    """The unordered pair: one rule covers both directions, whoever is listed."""
    a, b = sorted((detection.local_ip, detection.listed_ip))
    return a, b


def priority(detection: Detection) -> int:
    """Larger is more urgent: initiated before answered before contacted."""
    return _EVIDENCE_RANK[detection.evidence]


def wanted(detection: Detection, policy: Policy) -> Refusal | None:
    """Whether the evidence alone asks for a capture."""
    if detection.evidence == "contacted":
        return Refusal("evidence", f"{detection.local_ip} was only contacted and never answered")
    if detection.evidence == "answered" and detection.samples < policy.min_samples:
        return Refusal("min_samples", f"answered, but only {detection.samples} of {policy.min_samples} samples yet")
    return None


class Protected:
    """Addresses whose conversations are never mirrored: the monitoring itself, and what the operator names."""

    def __init__(self, policy: Policy) -> None:
        self._networks = [(ipaddress.ip_network(p), p) for p in policy.never_capture]
        self._hosts = {policy.erspan_destination: "is the ERSPAN destination"}

    def add(self, addresses: Iterable[str], why: str) -> None:
        for address in addresses:
            self._hosts.setdefault(address, why)

    def refusal(self, pair: tuple[str, str]) -> Refusal | None:
        for host in pair:
            if host in self._hosts:
                return Refusal("protected", f"{host} {self._hosts[host]}")
            address = ipaddress.ip_address(host)
            if address.is_multicast or address.is_loopback or address.is_unspecified or host == "255.255.255.255":
                return Refusal("not_a_host", f"{host} is not the address of one machine")
            for network, text in self._networks:
                if address.version == network.version and address in network:
                    return Refusal("never_capture", f"{host} is in never_capture ({text})")
        return None


@dataclass(frozen=True, slots=True)
class View:
    """What the planner knows of a switch beside its inventory line."""

    room: int
    trouble: str = ""
    unreachable: str = ""


def choose(
    detection: Detection,
    switch_of_agent: Mapping[str, Switch],
    views: Mapping[str, View],
    excluded: Collection[str],
) -> Switch | Refusal:
    """The vantage: among the switches that sampled the pair bare, the nearest to the host, best seeing, with room.

    A switch in trouble or without room is taken only where there is no other; the engine then queues.
    """
    samples: dict[str, int] = {}
    reasons: list[Refusal] = []
    for observer in detection.observers:
        switch = switch_of_agent.get(observer.agent)
        if switch is None:
            reasons.append(Refusal("no_switch", f"agent {observer.agent} is not a switch we can configure"))
        elif not observer.capturable:
            inside = "a tunnel" if observer.vni is None else f"vni {observer.vni}"
            reasons.append(Refusal("only_inside", f"not capturable: only inside {inside} at {switch.name}"))
        elif ":" in detection.local_ip and not switch.ipv6:
            reasons.append(Refusal("no_ipv6", f"{switch.name} takes no IPv6 rules"))
        elif views[switch.name].unreachable:
            why = views[switch.name].unreachable
            reasons.append(Refusal("unreachable", f"{switch.name} cannot reach the ERSPAN destination: {why}"))
        elif switch.name in excluded:
            reasons.append(Refusal("refused", f"{switch.name} refused the rule"))
        else:
            samples[switch.name] = samples.get(switch.name, 0) + observer.samples
    if not samples:
        # The most telling reason: one that a person can change comes before "not a switch".
        reasons.sort(key=lambda refusal: refusal.reason == "no_switch")
        return reasons[0] if reasons else Refusal("no_observer", "no agent has sampled this pair")
    by_name = {switch.name: switch for switch in switch_of_agent.values()}
    best = min(
        samples,
        key=lambda name: (
            bool(views[name].trouble),
            views[name].room <= 0,
            _ROLE_RANK[by_name[name].role],
            -samples[name],
            name,
        ),
    )
    return by_name[best]
