# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The wall clock is set under a running daemon: captures are renewed, and end, as if it had not been."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running import Agent, Sentinel, Shim, tcp_frame, until
from tests.support.wallclock import WallClock

LEAF1 = "127.0.1.1"
HOUR_S = 3600
YEAR_S = 365 * 24 * HOUR_S
LEASE_S, QUIET_S = 3, 4


@pytest.fixture
def leaf1(tmp_path: Path) -> Iterator[Shim]:
    shim = Shim("leaf1", LEAF1, tmp_path)
    shim.start()
    yield shim
    shim.close()


@pytest.mark.parametrize(
    "by_s", [-HOUR_S, HOUR_S, -YEAR_S, YEAR_S], ids=["hour back", "hour on", "year back", "year on"]
)
def test_a_wall_clock_that_is_set_ends_no_lease_and_keeps_no_capture(by_s: int, leaf1: Shim, tmp_path: Path) -> None:
    wall = WallClock(tmp_path)
    sentinel = Sentinel(tmp_path, [leaf1], quiet=f'"{QUIET_S}s"', switch_lease=f'"{LEASE_S}s"')
    sentinel.process.environment = wall.environment
    agent = Agent(LEAF1, sentinel.collector)
    try:
        sentinel.start()
        agent.send(tcp_frame())
        until(leaf1.rules, what="installed")
        wall.set_by(by_s)
        until(lambda: sentinel.metric("sentinel_jobs_clock_steps_total") == 1, what="the step is noticed")

        # Traffic goes on: the rule outlives its lease three times.
        end = time.monotonic() + 3 * LEASE_S
        while time.monotonic() < end:
            agent.send(tcp_frame(flags=0x10))
            assert leaf1.rules(), "the lease was not renewed"
            time.sleep(0.3)
        [capture] = sentinel.captures("active")

        # The pair falls silent.
        until(lambda: not leaf1.rules(), seconds=QUIET_S + 6, what="gone after quiet")
        [ended] = until(lambda: sentinel.captures("ended"))
        assert (ended["id"], ended["ending"]) == (capture["id"], "quiet")
        assert sentinel.metric('sentinel_problems{code="overdue"') == 0
    finally:
        sentinel.process.kill()
        agent.close()
