# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What happened, as told to the capture engine."""

from collections.abc import Mapping
from dataclasses import dataclass

from sentinel.model import Detection, Switch


@dataclass(frozen=True, slots=True)
class Sighted:
    """The pair was sampled again, or what is known of it changed."""

    detection: Detection


@dataclass(frozen=True, slots=True)
class DetectionEnded:
    """The detection closed; ``delisted`` when no feed names the address any more."""

    detection: Detection
    delisted: bool


@dataclass(frozen=True, slots=True)
class StartRequested:
    """A person wants this pair captured, whatever the evidence. ``observers`` come from the detection."""

    detection: Detection
    by: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Approved:
    capture_id: str
    by: str


@dataclass(frozen=True, slots=True)
class StopRequested:
    capture_id: str
    by: str


@dataclass(frozen=True, slots=True)
class Extended:
    capture_id: str
    seconds: float
    by: str


@dataclass(frozen=True, slots=True)
class SwitchFound:
    """A probed agent answers as ``switch-acl-api``, or a known switch told more about itself."""

    switch: Switch


@dataclass(frozen=True, slots=True)
class ProbeFailed:
    agent: str
    detail: str


@dataclass(frozen=True, slots=True)
class Installed:
    """The switch confirmed the rule; ``changed`` is false when it was there already."""

    switch: str
    rule: str
    changed: bool


@dataclass(frozen=True, slots=True)
class InstallFailed:
    """The rule may or may not be there. ``permanent``: this switch will never take it."""

    switch: str
    rule: str
    reason: str
    detail: str
    permanent: bool


@dataclass(frozen=True, slots=True)
class Removed:
    switch: str
    rule: str


@dataclass(frozen=True, slots=True)
class RemoveFailed:
    switch: str
    rule: str
    reason: str
    detail: str


Outcome = Installed | InstallFailed | Removed | RemoveFailed


@dataclass(frozen=True, slots=True)
class BulkAnswered:
    """What became of each change of one bulk request, in their order."""

    switch: str
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class RuleOnSwitch:
    """One rule as the switch reports it. ``lines`` is ``None`` where only counters were asked for."""

    packets: int | None
    bytes: int | None
    ours: bool = True
    lines: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Renewed:
    """Every lease of ours on the switch was renewed: these rules, with their counters."""

    switch: str
    rules: Mapping[str, RuleOnSwitch]


@dataclass(frozen=True, slots=True)
class Listed:
    """Everything on the switch, with why it cannot reach the ERSPAN destination (``None``: it can).

    ``max_rules`` bounds the entries of all owners; ``tcam_free`` is what its table has left, where it tells.
    """

    switch: str
    rules: Mapping[str, RuleOnSwitch]
    ipv6: bool
    max_rules: int
    unreachable: str | None = None
    tcam_free: int | None = None


@dataclass(frozen=True, slots=True)
class SwitchFailed:
    """A renewal or a listing did not come through."""

    switch: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class TableSpace:
    """The agent's sFlow told how many entries its ACL table has left."""

    agent: str
    free_entries: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Compare with every switch now."""


Event = (
    Sighted
    | DetectionEnded
    | StartRequested
    | Approved
    | StopRequested
    | Extended
    | SwitchFound
    | ProbeFailed
    | Installed
    | InstallFailed
    | Removed
    | RemoveFailed
    | BulkAnswered
    | Renewed
    | Listed
    | SwitchFailed
    | TableSpace
    | Tick
    | Reconcile
)
