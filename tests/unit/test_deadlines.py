# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The heap of deadlines by a clock of the test's own: order, coalescing, lateness."""

import pytest

from sentinel.deadlines import Deadlines


def with_jobs(**every_s: float) -> Deadlines:
    deadlines = Deadlines()
    for name, seconds in every_s.items():
        deadlines.add(name, seconds, 0.0)
    return deadlines


def run(deadlines: Deadlines, now: float) -> list[str]:
    names = list(deadlines.due(now))
    for name in names:
        deadlines.done(name, now)
    return names


def test_the_earliest_deadline_comes_first() -> None:
    deadlines = with_jobs(slow=5, quick=1)
    deadlines.add("now", 100, 0.0, at_once=True)
    assert deadlines.next_at == 0
    assert run(deadlines, 0) == ["now"]
    assert (deadlines.next_at, run(deadlines, 0.9)) == (1, [])
    assert run(deadlines, 7) == ["quick", "slow"]


def test_deadlines_do_not_drift_and_a_late_job_runs_once() -> None:
    deadlines = with_jobs(tick=1)
    assert run(deadlines, 1.2) == ["tick"]
    assert deadlines.next_at == 2
    assert run(deadlines, 10.5) == ["tick"]
    assert run(deadlines, 10.5) == []
    assert deadlines.next_at == 11.5


def test_a_job_under_way_is_not_due_and_then_at_once() -> None:
    deadlines = with_jobs(tick=1)
    assert deadlines.due(1) == ["tick"]
    assert (deadlines.due(50), deadlines.next_at) == ([], None)
    deadlines.done("tick", 50)
    assert deadlines.due(50) == ["tick"]


@pytest.mark.parametrize(("every_s", "patience_s"), [(1, 3), (5, 10), (300, 10)])
def test_a_job_that_hangs_is_overdue_after_three_intervals_or_ten_seconds(every_s: float, patience_s: float) -> None:
    deadlines = with_jobs(job=every_s)
    deadlines.due(every_s)
    limit = every_s + patience_s
    assert deadlines.overdue(limit) == {}
    assert deadlines.overdue(limit + 1) == {"job": patience_s + 1}
    deadlines.done("job", limit + 1)
    assert (deadlines.overdue(limit + 1), deadlines.late_s(limit + 1)) == ({}, {"job": 0})


def test_a_job_that_nobody_takes_and_one_that_fails_are_overdue() -> None:
    deadlines = with_jobs(tick=1, left=1)
    for now in range(1, 6):
        if "tick" in deadlines.due(now):
            deadlines.done("tick", now, kept=False)
    assert deadlines.overdue(5) == {"tick": 4, "left": 4}


def test_mistakes_of_the_caller_are_refused() -> None:
    deadlines = with_jobs(tick=1)
    with pytest.raises(ValueError, match="two jobs"):
        deadlines.add("tick", 2, 0.0)
    with pytest.raises(ValueError, match="does not run"):
        deadlines.done("tick", 0.0)
