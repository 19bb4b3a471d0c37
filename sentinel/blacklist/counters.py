# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Counts of one feed since the start."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from sentinel.blacklist.rules import LINE_REASONS, LineReason
from sentinel.errors import FEED_REASONS, FeedReason

RefreshKind = Literal["replaced", "unchanged", "quarantined", "failed", "not-due"]


@dataclass(slots=True)
class FeedCounters:
    """All of them stand at zero from the start.

    ``refreshes`` by kind; ``failures`` by reason, refused downloads among them, ``disk`` for a copy that could not be
    kept; ``lines_rejected`` by line rule, or ``unreadable``.
    """

    refreshes: dict[RefreshKind, int] = field(
        default_factory=lambda: dict.fromkeys((kind for kind in get_args(RefreshKind) if kind != "not-due"), 0)
    )
    failures: dict[FeedReason | Literal["disk"], int] = field(
        default_factory=lambda: dict.fromkeys((*FEED_REASONS, "disk"), 0)
    )
    lines_rejected: dict[LineReason | Literal["unreadable"], int] = field(
        default_factory=lambda: dict.fromkeys((*LINE_REASONS, "unreadable"), 0)
    )
    damaged_copies: int = 0
