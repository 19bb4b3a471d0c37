# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""How long a rule may live: pure arithmetic on boot time.

A deadline is (boot id, CLOCK_BOOTTIME seconds). Boot time runs through suspend and knows no wall clock, so setting the
clock means nothing; another boot id means the deadline has passed, whatever its number.
"""

import math
from typing import NamedTuple, Optional

from switch_acl_api.limits import MAX_LEASE_S


class Deadline(NamedTuple):
    boot_id: str
    at: float  # CLOCK_BOOTTIME, seconds


class Instant(NamedTuple):
    """Now, on this boot."""

    boot_id: str
    at: float


# What a file gets whose own deadline cannot be read.
PASSED = Deadline("", 0.0)


def deadline_after(ttl_s: float, now: Instant) -> Deadline:
    return Deadline(now.boot_id, now.at + ttl_s)


def remaining_s(deadline: Deadline, now: Instant) -> float:
    """Seconds left, 0.0 when passed. A deadline no lease could have is passed: it was not written by us."""
    if deadline.boot_id != now.boot_id or not math.isfinite(deadline.at):
        return 0.0
    left = deadline.at - now.at
    return left if 0.0 < left <= MAX_LEASE_S else 0.0


def expired(deadline: Optional[Deadline], now: Instant) -> bool:
    """``None`` is a rule without a lease; only ``default_ttl = "never"`` makes one."""
    return deadline is not None and remaining_s(deadline, now) == 0.0
