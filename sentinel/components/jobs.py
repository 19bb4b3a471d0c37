# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The jobs of all components: those that keep a promise by the monotonic clock, the slow ones by APScheduler.

APScheduler goes by the wall clock: set back by an hour, it does nothing for an hour. So it has only jobs that keep no
promise, and its times are set anew when the wall clock steps.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from sentinel.components.component import Component, Job
from sentinel.deadlines import Deadlines
from sentinel.problems import Problem
from sentinel.pulse import Pulse
from sentinel.readings import Reading

log = logging.getLogger(__name__)

# The longest time between two beats of the thread, and so until a step of the wall clock is noticed.
BEAT_S = 0.5
# A wall clock that differs by more from what the monotonic clock leads to expect was set.
STEP_S = 1.0


class Jobs(Component):
    """Runs the jobs of ``components``, a list that may grow until the start. It starts last and stops first."""

    def __init__(self, components: Sequence[Component]) -> None:
        self._components = components
        self._promises = Promises(self._stepped)
        self._scheduler: BackgroundScheduler | None = None
        self._every_s: dict[str, float] = {}

    def start(self) -> None:
        jobs = [job for component in self._components for job in component.jobs()]
        scheduler = BackgroundScheduler(
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1}, timezone="UTC"
        )
        slow = [job for job in jobs if not job.promise]
        for job in slow:
            # Not as a job that runs once: APScheduler 3 loses its way when it is shut down while it removes one.
            begin = {"next_run_time": datetime.now(UTC)} if job.at_start else {}
            scheduler.add_job(job.run, Every(job.every_s), id=job.name, **begin)
        self._every_s = {job.name: job.every_s for job in slow}
        scheduler.start()
        self._scheduler = scheduler
        try:
            self._promises.start([job for job in jobs if job.promise])
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self._promises.stop()
        if self._scheduler is not None:
            self._scheduler.shutdown()
            self._scheduler = None

    def _stepped(self, by_s: float) -> None:
        log.warning("the wall clock was set by %+.1f s; slow jobs run an interval from now", by_s)
        if self._scheduler is not None:
            for name, every_s in self._every_s.items():
                self._scheduler.modify_job(name, next_run_time=datetime.now(UTC) + timedelta(seconds=every_s))

    def pulses(self) -> Iterable[Pulse]:
        return (self._promises.pulse,)

    def problems(self) -> Iterable[Problem]:
        for name, late_s in self._promises.overdue().items():
            text = f"the job {name} is late by {late_s:.0f} s"
            yield Problem("overdue", "failing", name, text, "look for load and for tracebacks in the log; restart")

    def readings(self) -> Iterable[Reading]:
        for name, late_s in self._promises.late_s().items():
            yield (
                "sentinel_jobs_late_seconds",
                {"kind": name},
                late_s,
                "gauge",
                "How late a job is that keeps a promise",
            )
        for name, errors in self._promises.errors.items():
            yield "sentinel_jobs_errors_total", {"kind": name}, float(errors), "counter", "Runs of a job that failed"
        steps = float(self._promises.steps)
        yield "sentinel_jobs_clock_steps_total", {}, steps, "counter", "Times that the wall clock was set"


class Every(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """An interval from now, whenever the last run was meant to be.

    APScheduler's own trigger counts each interval that was missed: half a million, if the clock is set a year on.
    """

    def __init__(self, every_s: float) -> None:
        self._every = timedelta(seconds=every_s)

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """Return the time of the next run."""
        del previous
        return now + self._every


class Promises:
    """Runs jobs by the monotonic clock and calls ``on_step`` with the seconds by which the wall clock was set.

    One thread waits for deadlines. Each job runs in a thread of its own, which is there from the start, so that one
    that waits for a disk delays no other.
    """

    def __init__(self, on_step: Callable[[float], None]) -> None:
        self.pulse = Pulse("deadlines")
        self.errors: dict[str, int] = {}
        self.steps = 0
        self._on_step = on_step
        self._offset_s = 0.0
        # Guards the deadlines.
        self._changed = threading.Condition()
        self._deadlines = Deadlines()
        self._turns: dict[str, threading.Semaphore] = {}
        self._threads: list[threading.Thread] = []
        self._running = False

    def start(self, jobs: Iterable[Job]) -> None:
        """Start the threads."""
        self._deadlines = Deadlines()
        self._turns.clear()
        self._running = True
        self._offset_s = time.time() - time.monotonic()
        for job in jobs:
            self._deadlines.add(job.name, job.every_s, time.monotonic(), at_once=job.at_start)
            self._turns[job.name] = threading.Semaphore(0)
            self.errors.setdefault(job.name, 0)
            self._begin(threading.Thread(target=self._work, args=(job,), name=f"job {job.name}"))
        self.pulse.beat()
        self._begin(threading.Thread(target=self._wait, name="deadlines"))

    def _begin(self, thread: threading.Thread) -> None:
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        """End the threads; returns when the jobs under way have ended."""
        with self._changed:
            self._running = False
            self._changed.notify()
        for turn in self._turns.values():
            turn.release()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._deadlines = Deadlines()
        self.pulse.rest()

    def late_s(self) -> Mapping[str, float]:
        """Return by how many seconds each job is late."""
        with self._changed:
            return self._deadlines.late_s(time.monotonic())

    def overdue(self) -> Mapping[str, float]:
        """Return the jobs that are late beyond measure, and by how many seconds."""
        with self._changed:
            return self._deadlines.overdue(time.monotonic())

    def _wait(self) -> None:
        while self._running:
            self.pulse.beat()
            try:
                self._look_at_the_wall_clock()
            except Exception:
                log.exception("slow jobs could not be set anew")
            with self._changed:
                for name in self._deadlines.due(time.monotonic()):
                    self._turns[name].release()
                next_at = self._deadlines.next_at
                left = BEAT_S if next_at is None else min(BEAT_S, next_at - time.monotonic())
                if self._running and left > 0:
                    self._changed.wait(left)

    def _look_at_the_wall_clock(self) -> None:
        offset_s = time.time() - time.monotonic()
        by_s = offset_s - self._offset_s
        if abs(by_s) > STEP_S:
            self._offset_s = offset_s
            self.steps += 1
            self._on_step(by_s)

    def _work(self, job: Job) -> None:
        turn = self._turns[job.name]
        while True:
            turn.acquire()
            if not self._running:
                return
            kept = False
            try:
                job.run()
                kept = True
            except Exception:
                # A bug in one run must not end the watch; it is loud, counted, and overdue in the end.
                log.exception("the job %s failed", job.name)
                self.errors[job.name] += 1
            with self._changed:
                self._deadlines.done(job.name, time.monotonic(), kept=kept)
                self._changed.notify()
