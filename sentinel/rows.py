# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The rows of the API's lists that are not values of a stage already; ``openapi.json`` describes them.

Times called ``*_at`` or ``*_seen`` are UTC seconds since 1970, ``None`` where it never happened.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sentinel.model import Role
from sentinel.problems import Problem, Status


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One (agent, sub-agent) that was heard. ``switch`` is its name in the inventory."""

    agent: str
    sub_agent: int
    switch: str | None
    last_seen: float
    datagrams: int
    samples: int
    samples_per_s: float
    lost_datagrams: int
    loss_pct: float
    sampling_rate: int | None
    errors: int


@dataclass(frozen=True, slots=True)
class LineFault:
    """One line of a feed that could not be read."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Shared:
    """Prefixes that another feed lists too: how many, and which share of this feed's they are."""

    feed: str
    entries: int
    share: float


@dataclass(frozen=True, slots=True)
class FeedRow:
    """One feed: its state, its terms, and what it is worth. The totals are ``None`` outside a running daemon."""

    name: str
    title: str
    url: str
    homepage: str
    licence: str
    attribution: str
    allows: bool
    state: str
    detail: str
    entries: int
    entries_v4: int
    entries_v6: int
    rejected: int
    rejected_by_reason: Mapping[str, int]
    first_errors: tuple[LineFault, ...]
    duplicates: int
    fetched_at: float | None
    changed_at: float | None
    checked_at: float | None
    next_at: float | None
    unique_share: float | None
    overlap: tuple[Shared, ...]
    detections: int
    detections_total: int | None
    captures_total: int | None


@dataclass(frozen=True, slots=True)
class SwitchRow:
    """One switch as the planner sees it. ``rules`` and ``max_rules`` count ACL entries."""

    name: str
    role: Role
    url: str
    agents: tuple[str, ...]
    erspan_source: str
    state: Literal["ok", "degraded", "failing"]
    detail: str
    rules: int
    max_rules: int
    mirrored_bps: int
    max_mirrored_bps: int
    ipv6: bool
    answered_at: float | None


@dataclass(frozen=True, slots=True)
class ReceivedRow:
    """The frames and octets of one capture that were kept on this host. ``lost`` are gaps in ERSPAN's sequence."""

    frames: int = 0
    bytes: int = 0
    duplicates: int = 0
    truncated: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class NotHere:
    """The packets of a capture are not on this host; ``where`` is a sentence that tells where they go."""

    where: str


@dataclass(frozen=True, slots=True)
class Pcap:
    """The files of a capture in order, and how many octets of each are whole blocks; together they are a pcapng file.

    ``more`` is true while more may come. ``missing`` is the reason, as a sentence, if there is no file.
    """

    parts: tuple[tuple[Path, int], ...] = ()
    more: bool = False
    missing: str = ""


@dataclass(frozen=True, slots=True)
class SocketRow:
    """One receiving socket. ``kernel_drops`` counts since the start; ``None`` where the system does not report it."""

    stage: Literal["sflow", "erspan"]
    listener: str
    thread: int
    receive_buffer_bytes: int
    kernel_drops: int | None


@dataclass(frozen=True, slots=True)
class Health:
    """The daemon as a whole: its status, what is wrong with it, and what the console's header shows."""

    status: Status
    problems: tuple[Problem, ...]
    sockets: tuple[SocketRow, ...]
    version: str
    mode: str
    started_at: float
    erspan_destination: str
    quiet_s: float
    agents: int
    samples_per_s: float
    indicators: int
