# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Jobs go on when the wall clock is set, when one of them hangs and when one fails, and a late one is reported."""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest
from apscheduler.schedulers.background import BackgroundScheduler

from sentinel.components.component import Component, Job
from sentinel.components.jobs import Every, Jobs
from sentinel.daemon import Daemon
from tests.support.running import until
from tests.unit.components.test_component import settings_in

HOUR_S = 3600.0
YEAR_S = 365 * 24 * HOUR_S


class Working(Component):
    """Counts the runs of a promise and of a slow job."""

    def __init__(self) -> None:
        self.promises: list[float] = []
        self.slow: list[float] = []
        self.others = 0
        self.hangs = threading.Event()
        self.hangs.set()
        self.fails = False

    def jobs(self) -> Sequence[Job]:
        return (
            Job("tick", 0.2, self._tick, promise=True),
            Job("other", 0.2, self._other, promise=True),
            Job("feeds", 1.0, lambda: self.slow.append(time.monotonic())),
        )

    def _tick(self) -> None:
        self.hangs.wait(20)
        if self.fails:
            raise RuntimeError("a bug")
        self.promises.append(time.monotonic())

    def _other(self) -> None:
        self.others += 1


@pytest.fixture
def part() -> Working:
    return Working()


@pytest.fixture
def jobs(part: Working) -> Iterator[Jobs]:
    made = Jobs([part])
    made.start()
    yield made
    part.hangs.set()
    made.stop()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("job ", "deadlines"))]


def metric(jobs: Jobs, name: str, kind: str = "") -> float:
    [value] = [value for found, labels, value, *_ in jobs.readings() if (found, labels.get("kind", "")) == (name, kind)]
    return value


class Wall:
    """A wall clock that can be set, for ``time.time`` and for the ``datetime`` of APScheduler and of jobs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.by_s = 0.0
        real = time.time
        wall = self

        class Shifted(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return cls.fromtimestamp(real() + wall.by_s, tz)

        monkeypatch.setattr(time, "time", lambda: real() + wall.by_s)
        for module in ("apscheduler.schedulers.base", "sentinel.components.jobs"):
            monkeypatch.setattr(f"{module}.datetime", Shifted)


@pytest.mark.parametrize("by_s", [-HOUR_S, HOUR_S, -YEAR_S, YEAR_S])
def test_a_wall_clock_that_is_set_stops_no_job(by_s: float, part: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = Wall(monkeypatch)
    jobs = Jobs([part])
    jobs.start()
    try:
        until(lambda: part.promises and part.slow)
        wall.by_s = by_s
        promises, slow = len(part.promises), len(part.slow)
        until(lambda: len(part.promises) > promises + 5, seconds=5, what="promises are kept")
        until(lambda: len(part.slow) > slow + 1, seconds=5, what="slow jobs run")
        assert metric(jobs, "sentinel_jobs_clock_steps_total") == 1
    finally:
        jobs.stop()


def test_a_clock_that_is_not_set_is_no_step(jobs: Jobs, part: Working) -> None:
    until(lambda: len(part.slow) > 1)
    assert metric(jobs, "sentinel_jobs_clock_steps_total") == 0


def test_a_job_that_hangs_is_overdue_and_delays_no_other(jobs: Jobs, part: Working) -> None:
    until(lambda: part.promises)
    assert list(jobs.problems()) == []
    part.hangs.clear()
    [problem] = until(lambda: list(jobs.problems()), what="overdue")
    assert (problem.code, problem.severity, problem.subject) == ("overdue", "failing", "tick")
    assert metric(jobs, "sentinel_jobs_late_seconds", "tick") > 0.1
    others = part.others
    until(lambda: part.others > others + 5, what="the other job goes on")
    part.hangs.set()
    until(lambda: not list(jobs.problems()), what="it is over")


def test_a_job_that_raises_is_logged_counted_overdue_and_goes_on(
    jobs: Jobs, part: Working, caplog: pytest.LogCaptureFixture
) -> None:
    part.fails = True
    with caplog.at_level(logging.ERROR, "sentinel.components.jobs"):
        until(lambda: metric(jobs, "sentinel_jobs_errors_total", "tick") > 3)
    assert "a bug" in caplog.text
    [problem] = until(lambda: list(jobs.problems()))
    assert problem.subject == "tick"
    part.fails = False
    until(lambda: part.promises and not list(jobs.problems()))


def test_the_thread_that_waits_for_deadlines_has_a_pulse(jobs: Jobs) -> None:
    [pulse] = jobs.pulses()
    time.sleep(1.0)
    assert pulse.silent_s() < 0.9
    jobs.stop()
    assert pulse.silent_s() == 0


def test_what_keeps_a_promise_goes_by_the_monotonic_clock(tmp_path: Path) -> None:
    daemon = Daemon(settings_in(tmp_path))
    parts: Sequence[Component] = daemon.report, daemon.feeds, daemon.switches, daemon.captures, daemon.erspan
    found = [job for part in (*parts, daemon.flows, daemon.sflow, daemon.overview) for job in part.jobs()]
    assert {job.name for job in found if job.promise} == {"tick", "reconcile", "sync", "flows", "problems"}


def test_a_year_that_the_clock_jumps_on_is_not_counted_interval_by_interval() -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    now = datetime.now(UTC)
    job = scheduler.add_job(print, Every(60.0), next_run_time=now)
    assert job._get_run_times(now + timedelta(seconds=YEAR_S)) == [now]
    assert job.trigger.get_next_fire_time(now, now + timedelta(seconds=YEAR_S)) == now + timedelta(seconds=YEAR_S + 60)
