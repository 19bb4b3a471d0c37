# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What the detector says, and how often it had to say no."""

from dataclasses import dataclass, field
from typing import Literal

from sentinel.model import Detection

Kind = Literal["opened", "changed", "sighted", "closed", "delisted"]


@dataclass(frozen=True, slots=True)
class DetectionEvent:
    """One step in the life of a detection.

    ``opened`` once; ``changed`` when something a decision depends on did (``why``: ``evidence``, ``direction``,
    ``observer``, ``capturable``, ``min_samples``, ``indicators``); ``sighted`` at most once an interval while samples
    come; ``closed`` (``why``: ``quiet`` or ``evicted``) or ``delisted`` once, with the last figures.
    """

    kind: Kind
    detection: Detection
    why: tuple[str, ...] = ()


@dataclass(slots=True)
class DetectCounters:
    """Plain counts since start; ``refused`` and ``closed`` are by reason, ``evicted`` by evidence.

    ``refused`` counts matches: ``agent_share`` and ``total`` opened no detection; the others left their amounts out of
    one, for it has too many observers (of one agent), or all detections together have. ``unannounced`` detections were
    closed before their agent's allowance let them be told.
    """

    matches: int = 0
    opened: int = 0
    announced: int = 0
    unannounced: int = 0
    events: int = 0
    refused: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("agent_share", "total", "observers", "agent_observers", "rows", "agent_rows"), 0
        )
    )
    closed: dict[str, int] = field(default_factory=lambda: {"quiet": 0, "evicted": 0, "delisted": 0})
    evicted: dict[str, int] = field(default_factory=lambda: {"contacted": 0, "answered": 0, "initiated": 0})
