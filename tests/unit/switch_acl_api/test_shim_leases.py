# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Deadlines: boot id and boot time, nothing else."""

import math

import pytest

from switch_acl_api.leases import PASSED, Deadline, Instant, deadline_after, expired, remaining_s
from switch_acl_api.limits import MAX_LEASE_S

NOW = Instant("boot-1", 1000.0)


def test_a_lease_counts_down_to_its_end() -> None:
    deadline = deadline_after(120.0, NOW)
    assert remaining_s(deadline, NOW) == 120.0
    assert remaining_s(deadline, Instant("boot-1", 1119.0)) == 1.0
    assert not expired(deadline, Instant("boot-1", 1119.9))
    assert expired(deadline, Instant("boot-1", 1120.0))


@pytest.mark.parametrize("at", [0.0, 999.0, 5000.0])
def test_another_boot_has_expired_whatever_its_number(at: float) -> None:
    assert expired(deadline_after(120.0, NOW), Instant("boot-2", at))


@pytest.mark.parametrize("at", [math.inf, -math.inf, math.nan, NOW.at + MAX_LEASE_S + 1])
def test_a_deadline_nobody_wrote_has_passed(at: float) -> None:
    assert expired(Deadline("boot-1", at), NOW)


def test_no_lease_never_expires_and_an_unreadable_one_has() -> None:
    assert not expired(None, NOW)
    assert expired(PASSED, NOW)
    assert expired(PASSED, Instant("", 0.0))
