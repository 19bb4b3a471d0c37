# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The notion of a component, and the list of them that a daemon is.

A component turns the settings of one concern and its stages into a running thing. Its constructor only builds and may
be followed by nothing; between ``start`` and ``stop`` it runs. What others want to hear of it, they append to the
lists it offers (``on_…``) before the start; it calls them in the thread where the thing happened.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from apscheduler.schedulers.background import BackgroundScheduler

from sentinel.problems import Problem
from sentinel.pulse import Pulse
from sentinel.readings import Reading

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """Something slow that is done every so often, never twice at a time; ``at_start``: at once, too."""

    name: str
    every_s: float
    run: Callable[[], None]
    at_start: bool = False


class Component:
    """The parts that a component may offer; the defaults offer nothing."""

    def start(self) -> None:
        """Begin; raises ``OSError`` or a ``SentinelError`` if that is impossible, and has then left nothing behind."""

    def stop(self) -> None:
        """End; called once after each ``start`` that succeeded. Returns when its threads have ended."""

    def jobs(self) -> Iterable[Job]:
        """Return what is to be done every so often while it runs."""
        return ()

    def readings(self) -> Iterable[Reading]:
        """Return its metrics, each as it is now. Called from any thread."""
        return ()

    def problems(self) -> Iterable[Problem]:
        """Return what is wrong now. Called from any thread."""
        return ()

    def pulses(self) -> Iterable[Pulse]:
        """Return the signs of life of its threads."""
        return ()


class Lifecycle:
    """Starts components in order and their jobs last; stops all of it in reverse."""

    def __init__(self, components: Sequence[Component]) -> None:
        self._components = tuple(components)
        self._running = ExitStack()

    def start(self) -> None:
        """Start all; if one cannot start, stop those before it and raise its error."""
        with ExitStack() as started:
            for component in self._components:
                component.start()
                started.callback(component.stop)
            self._schedule(started)
            self._running = started.pop_all()

    def stop(self) -> None:
        """Stop what runs; an error of one does not keep the others from being stopped."""
        self._running.close()

    def _schedule(self, started: ExitStack) -> None:
        scheduler = BackgroundScheduler(
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1}, timezone="UTC"
        )
        for job in (job for component in self._components for job in component.jobs()):
            # Not as a job that runs once: APScheduler 3 loses its way when it is shut down while it removes one.
            begin = {"next_run_time": datetime.now(UTC)} if job.at_start else {}
            scheduler.add_job(job.run, "interval", seconds=job.every_s, id=job.name, **begin)
        scheduler.start()
        started.callback(scheduler.shutdown)
