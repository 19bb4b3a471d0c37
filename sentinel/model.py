# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The frozen values that stages hand to one another, in the order the data flows.

Addresses are text in the form ``socket.inet_ntop`` gives; ports, ids and counts are ``int``; times
called ``*_at`` or ``*_seen`` are UTC seconds since 1970 (float), ``now`` arguments elsewhere are monotonic seconds.
``None`` means absent, never unknown-as-zero.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Now:
    """One instant on both clocks: monotonic seconds decide, UTC seconds are stored and shown."""

    mono: float
    wall: float


def unordered(a: str, b: str) -> tuple[str, str]:
    """Return the pair of two addresses in the one order it has, whichever of them is listed."""
    return (a, b) if a <= b else (b, a)


# --- sflow: what an agent sampled ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Packet:
    """One sampled header, outermost layer first; a tunnel's payload is ``inner``.

    ``length`` is the IP total length (v4) or payload length + 40 (v6). ``vni`` is the VXLAN or Geneve network of
    ``inner``. ``mirror`` names the encapsulation (``"erspan"``) when the payload is mirror traffic; such a payload is
    never decoded further, so ``inner`` is ``None`` there.
    """

    src_mac: str | None = None
    dst_mac: str | None = None
    vlans: tuple[int, ...] = ()
    mpls: tuple[int, ...] = ()
    ether_type: int | None = None
    src_ip: str | None = None
    dst_ip: str | None = None
    protocol: int | None = None
    src_port: int | None = None
    dst_port: int | None = None
    icmp_type: int | None = None
    tcp_flags: int | None = None
    ttl: int | None = None
    length: int | None = None
    vni: int | None = None
    mirror: str | None = None
    inner: "Packet | None" = None


@dataclass(frozen=True, slots=True)
class Record:
    """One flow or counter record. ``fields`` are named as sflow.org names them, snake_case; unknown tags have none."""

    tag: str
    name: str
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FlowSample:
    """sFlow v5 flow_sample (0:1), flow_sample_expanded (0:3) or discarded_packet (0:5).

    ``index`` counts from 0 in the datagram. ``output_format``: 0 ifIndex, 1 discarded (``output`` is the reason),
    2 multiple (``output`` is the count). A discarded packet has ``reason`` and no sampling rate of its own (1).
    ``packet`` comes from the sampled header, else from the ipv4/ipv6 record; ``frame_length`` is that on the wire, in
    octets.
    """

    kind: Literal["flow", "discard"]
    tag: str
    index: int
    sequence: int
    source_class: int
    source_index: int
    sampling_rate: int
    sample_pool: int
    drops: int
    input: int
    input_format: int
    output: int
    output_format: int
    reason: int | None
    records: tuple[Record, ...]
    packet: Packet | None
    frame_length: int


@dataclass(frozen=True, slots=True)
class CountersSample:
    """sFlow v5 counters_sample (0:2) or counters_sample_expanded (0:4)."""

    tag: str
    index: int
    sequence: int
    source_class: int
    source_index: int
    records: tuple[Record, ...]


# --- blacklist: what is listed -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Indicator:
    """A listed prefix (canonical CIDR text, always with its length) with the feed and the feed's group that list it."""

    prefix: str
    feed: str
    group: str


# --- scan: a sampled pair that hit ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Match:
    """One sampled packet with an address that is listed.

    ``layer`` is 0 for the outermost addresses of the frame; ``vni`` the network it was found in, if any.
    ``indicators`` cover the listed side, longest prefix first. Where both sides are listed a sample gives two matches.
    ``sender`` is the UDP source the datagram came from.
    """

    agent: str
    sender: str
    source_class: int
    source_index: int
    input: int
    output: int
    sampling_rate: int
    frame_length: int
    src_ip: str
    dst_ip: str
    protocol: int | None
    src_port: int | None
    dst_port: int | None
    tcp_flags: int | None
    icmp_type: int | None
    layer: int
    vni: int | None
    listed: Literal["source", "destination"]
    indicators: tuple[Indicator, ...]
    seen_at: float
    discarded: bool = False


# --- detect: who talks with whom -----------------------------------------------------------------

Direction = Literal["outbound", "inbound", "both", "transit"]
Evidence = Literal["contacted", "answered", "initiated"]


@dataclass(frozen=True, slots=True)
class Observer:
    """What one agent's data source saw of a detection. ``packets`` and ``bytes`` are scaled by the sampling rate.

    ``capturable`` is true where at least one sample had the pair as outermost addresses; else ``vni`` says inside what.
    ``outbound``/``inbound`` count samples by direction, so that a planner can tell a one-sided view.
    """

    agent: str
    source_class: int
    source_index: int
    input: int
    output: int
    samples: int
    packets: int
    bytes: int
    capturable: bool
    vni: int | None
    outbound: int
    inbound: int
    sender_is_agent: bool


@dataclass(frozen=True, slots=True)
class Detection:
    """A (local, listed) address pair with all its matches; a STIX sighting when exported.

    ``samples``, ``packets`` and ``bytes`` are those of the observer with most packets. Ports and protocol are those of
    the first match, as ``src``/``dst`` of that packet.
    """

    id: str
    local_ip: str
    listed_ip: str
    direction: Direction
    evidence: Evidence
    indicators: tuple[Indicator, ...]
    layer: int
    observers: tuple[Observer, ...]
    samples: int
    packets: int
    bytes: int
    packets_error_pct: float
    first_seen: float
    last_seen: float
    src_ip: str
    dst_ip: str
    src_port: int | None
    dst_port: int | None
    protocol: int | None
    state: Literal["open", "closed", "delisted"] = "open"

    @property
    def pair(self) -> tuple[str, str]:
        return unordered(self.local_ip, self.listed_ip)


# --- capture: what is mirrored where -------------------------------------------------------------

Role = Literal["leaf", "spine", "border", "host"]
CaptureState = Literal["wanted", "pending", "queued", "installing", "active", "removing", "failed", "ended"]
MirrorState = Literal["planned", "installing", "active", "removing", "failed", "ended"]
# Why a capture ends. ``capture/ending.py`` has one row for each: its text, and whether its pair is held back.
Ending = Literal[
    "quiet",
    "longest",
    "delisted",
    "closed",
    "stopped",
    "evicted",
    "flood",
    "overload",
    "switch_gone",
    "allowed",
    "never_capture",
    "workload_gone",
    "selftest",
]


@dataclass(frozen=True, slots=True)
class Switch:
    """A machine whose shim takes ACL rules. ``ipv6`` tells whether it takes [ip6tables] sections."""

    name: str
    agents: tuple[str, ...]
    url: str
    erspan_source: str
    role: Role = "leaf"
    max_rules: int = 100
    ipv6: bool = False


@dataclass(frozen=True, slots=True)
class Mirror:
    """The rule of one capture on one switch. ``rule`` is its name there; ``packets``/``bytes`` are its count."""

    capture_id: str
    switch: str
    rule: str
    lines: tuple[str, ...]
    state: MirrorState
    packets: int = 0
    bytes: int = 0
    attempts: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Capture:
    """The wish to see one conversation, why, and how long.

    ``evidence_at`` is when a sample or a rise of the rule's counter last showed that the pair talks. ``note`` says in
    words why the capture is in its state (what it waits for, why it failed, why it ended). ``ending`` is set once it is
    decided that the capture ends, and is the reason; ``ending_note`` is that reason in words, which ``note`` repeats
    unless there is more to report, such as a rule that cannot be removed yet.
    """

    id: str
    local_ip: str
    listed_ip: str
    state: CaptureState
    reason: str
    requested_by: str
    created_at: float
    evidence_at: float
    ends_at: float
    indicators: tuple[Indicator, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    note: str = ""
    ending: Ending | None = None
    ending_note: str = ""
    ended_at: float | None = None

    @property
    def pair(self) -> tuple[str, str]:
        return unordered(self.local_ip, self.listed_ip)


def error_pct(samples: int) -> float:
    """Return the largest relative error at 95 % confidence, in percent: 196·√(1/n).

    sflow.org, "Packet Sampling Basics". ``samples`` is at least 1.
    """
    return round(196 * math.sqrt(1 / samples), 1)
