# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Which detections deserve a capture, and how urgently. Questions with answers, no state."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from sentinel import limits
from sentinel.model import Detection, Direction, Evidence, Indicator

_EVIDENCE_RANK: dict[Evidence, int] = {"contacted": 0, "answered": 1, "initiated": 2}
# A conversation that goes both ways has found its peer; what only comes in is the peer's wish.
_DIRECTION_RANK: dict[Direction, int] = {"inbound": 0, "transit": 0, "outbound": 1, "both": 2}
# Samples from which a rate is believed: its error is 196·√(1/30) = 36 % (sflow.org, "Packet Sampling Basics").
FLOOD_SAMPLES = 30
RefusalReason = Literal[
    "direction",
    "evidence",
    "flood",
    "held",
    "min_bytes",
    "min_samples",
    "never_capture",
    "no_ipv6",
    "no_observer",
    "no_switch",
    "not_a_host",
    "only_inside",
    "protected",
    "rate",
    "refused",
    "too_many",
    "unreachable",
]
# What is believed, of 100, of a feed whose descriptor does not say.
CONFIDENCE_UNSAID = 50


@dataclass(frozen=True, slots=True)
class Threshold:
    """What must be known of a pair before it is captured, where ``feed`` and ``group`` list it (``None``: any).

    ``evidence`` is the weakest that counts. ``min_samples`` ``None``: one for *initiated*, the policy's for less.
    ``priority``: larger goes first and may evict what has less.
    """

    feed: str | None
    group: str | None
    evidence: Evidence
    min_samples: int | None
    min_bytes: int
    directions: tuple[Direction, ...]
    priority: int

    def covers(self, indicator: Indicator) -> bool:
        return self.feed in {None, indicator.feed} and self.group in {None, indicator.group}


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's choices. Durations in seconds; ``never_capture`` are CIDR prefixes; rates in bit/s.

    The first of ``thresholds`` that covers an indicator holds for it; the last one covers each of them. From
    ``flood_bps`` on a conversation is a flood, which sFlow shows well enough. ``max_bps_per_switch`` and ``max_bps``
    (at the ERSPAN destination) bound the estimated mirrored traffic. ``evict``: whether something more urgent may end
    something less urgent. ``confidence``: how far each feed is believed, 0 to 100, by its name.
    """

    mode: Literal["automatic", "manual", "dry-run"]
    erspan_destination: str
    never_capture: tuple[str, ...]
    quiet_s: float
    longest_s: float
    lease_s: float
    min_samples: int
    max_new_per_minute: int
    in_interface: str
    ttl: int | None
    thresholds: tuple[Threshold, ...]
    flood_bps: int
    max_bps_per_switch: int
    max_bps: int
    evict: bool
    confidence: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not: ``reason`` is a counter's label, ``detail`` the sentence on screen."""

    reason: RefusalReason
    detail: str


class Urgency(NamedTuple):
    """Compared from the left; larger is more urgent. Only the first three, its ``level``, entitle to evict."""

    person: int
    priority: int
    evidence: int
    confidence: int = 0
    direction: int = 0
    feeds: int = 0

    @property
    def level(self) -> tuple[int, int, int]:
        return self[:3]


def threshold_of(indicator: Indicator, policy: Policy) -> Threshold:
    return next(threshold for threshold in policy.thresholds if threshold.covers(indicator))


def urgency(detection: Detection, policy: Policy, *, person: bool = False) -> Urgency:
    """A person's wish, the operator's rank, evidence, the surest feed's confidence, direction, how many feeds agree."""
    return Urgency(
        int(person),
        max((threshold_of(i, policy).priority for i in detection.indicators), default=0),
        _EVIDENCE_RANK[detection.evidence],
        max((policy.confidence.get(i.feed, CONFIDENCE_UNSAID) for i in detection.indicators), default=0),
        _DIRECTION_RANK[detection.direction],
        len({i.feed for i in detection.indicators}),
    )


def wanted(detection: Detection, policy: Policy) -> Refusal | None:
    """Whether what is known asks for a capture: one indicator whose threshold is met is enough."""
    refusal: Refusal | None = None
    thresholds = [threshold_of(indicator, policy) for indicator in detection.indicators]
    for threshold in thresholds or policy.thresholds[-1:]:
        found = _below(detection, threshold, policy)
        if found is None:
            return None
        refusal = refusal or found
    return refusal


def _below(detection: Detection, threshold: Threshold, policy: Policy) -> Refusal | None:
    evidence = detection.evidence
    if _EVIDENCE_RANK[evidence] < _EVIDENCE_RANK[threshold.evidence]:
        if evidence == "contacted":
            return Refusal("evidence", f"{detection.local_ip} was only contacted and never answered")
        return Refusal("evidence", f"{evidence}, where {threshold.evidence} is asked for")
    least = threshold.min_samples
    if least is None:
        least = 1 if evidence == "initiated" else policy.min_samples
    if detection.samples < least:
        return Refusal("min_samples", f"{evidence}, but only {detection.samples} of {least} samples yet")
    if detection.bytes < threshold.min_bytes:
        text = f"some {detection.bytes} octets yet, {threshold.min_bytes} are asked for"
        return Refusal("min_bytes", text)
    if detection.direction not in threshold.directions:
        return Refusal("direction", f"{detection.direction}, where {', '.join(threshold.directions)} is asked for")
    return None


def flood(detection: Detection, policy: Policy) -> Refusal | None:
    """What sFlow shows well enough needs no mirror."""
    if detection.samples < FLOOD_SAMPLES:
        return None
    bps = detection.bytes * 8 / max(1.0, detection.last_seen - detection.first_seen)
    if bps <= policy.flood_bps:
        return None
    return Refusal("flood", f"a flood of some {rate_text(bps)}; sFlow shows it, a mirror would only repeat it")


def rate_text(bps: float) -> str:
    for unit, size in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bps >= size:
            return f"{bps / size:.3g} {unit}"
    return f"{bps:.0f} bit/s"


class Protected:
    """Addresses whose conversations are never mirrored: the monitoring itself, and what the operator names."""

    def __init__(self, policy: Policy) -> None:
        self._networks = [(ipaddress.ip_network(p), p) for p in policy.never_capture]
        self._hosts = {policy.erspan_destination: "is the ERSPAN destination"}
        # What an address says by itself never changes, and a pair that is refused is asked about every second.
        self._of_itself = lru_cache(limits.MAX_REFUSALS_KEPT)(self._refusal_of_itself)

    def add(self, addresses: Iterable[str], why: str) -> None:
        for address in addresses:
            self._hosts.setdefault(address, why)

    def refusal(self, pair: tuple[str, str]) -> Refusal | None:
        for host in pair:
            if host in self._hosts:
                return Refusal("protected", f"{host} {self._hosts[host]}")
            refusal = self._of_itself(host)
            if refusal is not None:
                return refusal
        return None

    def _refusal_of_itself(self, host: str) -> Refusal | None:
        address = ipaddress.ip_address(host)
        if address.is_multicast or address.is_loopback or address.is_unspecified or host == "255.255.255.255":
            return Refusal("not_a_host", f"{host} is not the address of one machine")
        for network, text in self._networks:
            if address.version == network.version and address in network:
                return Refusal("never_capture", f"{host} is in never_capture ({text})")
        return None
