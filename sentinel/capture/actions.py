# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What to do, as told by the capture engine. ``Record`` comes before the request whose intent it stores."""

from dataclasses import dataclass

from sentinel.model import Capture, CaptureState


@dataclass(frozen=True, slots=True)
class Record:
    """Store the capture; when its state changed, say so too."""

    capture: Capture
    previous_state: CaptureState | None


@dataclass(frozen=True, slots=True)
class Install:
    """Put the rule on the switch, its lease ``ttl_s`` long. Safe to repeat."""

    switch: str
    rule: str
    lines: tuple[str, ...]
    ttl_s: int


@dataclass(frozen=True, slots=True)
class Remove:
    """Take the rule from the switch. Safe to repeat."""

    switch: str
    rule: str


@dataclass(frozen=True, slots=True)
class Bulk:
    """These changes of one switch in one request and one commit; what is not named stays as it is. Safe to repeat."""

    switch: str
    changes: tuple[Install | Remove, ...]


@dataclass(frozen=True, slots=True)
class Renew:
    """Renew all our leases on the switch in one request and read their counters."""

    switch: str
    ttl_s: int


@dataclass(frozen=True, slots=True)
class List:
    """Read everything that is on the switch."""

    switch: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask whether a ``switch-acl-api`` answers for this agent."""

    agent: str


SwitchAction = Install | Remove | Bulk | Renew | List | Probe
Action = Record | SwitchAction


def one_by_one(action: SwitchAction) -> tuple[SwitchAction, ...]:
    """The changes of a bulk request, each as a action of its own; any other action as it is."""
    return action.changes if isinstance(action, Bulk) else (action,)
