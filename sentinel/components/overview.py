# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The daemon as a whole: what is wrong and since when, which threads progress, and all metrics."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain

import sentinel
from sentinel import limits
from sentinel.components.component import Component, Job
from sentinel.config.settings import Settings
from sentinel.problems import Problem, Watch, status_of
from sentinel.pulse import Pulse
from sentinel.readings import Reading
from sentinel.report.metrics import Metrics
from sentinel.rows import AgentRow, Health, SocketRow

log = logging.getLogger(__name__)

LOOK_S = 5


class Overview(Component):
    """Sums up ``components``, a list that may grow until the start; logs when a problem begins and when it is over.

    ``agents``, ``sockets`` and ``indicators`` give what the console's header shows; ``implementation`` is that of the
    scan.
    """

    def __init__(
        self,
        settings: Settings,
        components: Sequence[Component],
        *,
        agents: Callable[[], Sequence[AgentRow]],
        sockets: Callable[[], Sequence[SocketRow]],
        indicators: Callable[[], int],
        implementation: str,
    ) -> None:
        self._settings = settings.capture
        self._components = components
        self._agents = agents
        self._sockets = sockets
        self._indicators = indicators
        self._implementation = implementation
        self._started_at = time.time()
        self._jobs = Pulse("jobs")
        # Guards the watch, which any thread that serves a request may ask to look.
        self._watching = threading.Lock()
        self._watch = Watch()
        self._metrics = Metrics(self._all_readings)

    def start(self) -> None:
        self._started_at = time.time()
        self._jobs.beat()

    def stop(self) -> None:
        self._jobs.rest()

    def jobs(self) -> Iterable[Job]:
        return (Job("problems", LOOK_S, self._look_again, at_start=True, promise=True),)

    def pulses(self) -> Iterable[Pulse]:
        return (self._jobs,)

    def _look_again(self) -> None:
        self._jobs.beat()
        self._look()

    def _look(self) -> Sequence[Problem]:
        reported = list(chain.from_iterable(component.problems() for component in self._components))
        with self._watching:
            changes = self._watch.look(reported, time.time())
            for problem in changes.began:
                log.warning("problem %s: %s: %s", problem.code, problem.subject, problem.text)
            for problem in changes.ended:
                log.info("problem %s: %s: is over", problem.code, problem.subject)
            return self._watch.current

    # --- what the probes and the console show ----------------------------------------------------------

    def health(self) -> Health:
        """Return the daemon as a whole."""
        problems = tuple(self._look())
        agents = self._agents()
        return Health(
            status=status_of(problems),
            problems=problems,
            sockets=tuple(self._sockets()),
            version=sentinel.__version__,
            mode=self._settings.mode,
            started_at=self._started_at,
            erspan_destination=self._settings.erspan_destination,
            quiet_s=self._settings.quiet_s,
            agents=len({row.agent for row in agents}),
            samples_per_s=round(sum(row.samples_per_s for row in agents), 1),
            indicators=self._indicators(),
        )

    def stalled(self) -> Mapping[str, float]:
        """Return the threads that do not progress, with the seconds of their silence."""
        pulses = chain.from_iterable(component.pulses() for component in self._components)
        silent = {pulse.thread: pulse.silent_s() for pulse in pulses}
        return {thread: silent_s for thread, silent_s in silent.items() if silent_s > limits.STALLED_S}

    def problems(self) -> Iterable[Problem]:
        for thread, silent_s in self.stalled().items():
            text = f"the thread {thread} has not progressed for {silent_s:.0f} s"
            yield Problem("stalled", "failing", thread, text, "restart the daemon; report its log")

    def metrics(self) -> bytes:
        """Return the Prometheus text exposition."""
        return self._metrics.render()

    def readings(self) -> Iterator[Reading]:
        labels = {
            "version": sentinel.__version__,
            "mode": self._settings.mode,
            "implementation": self._implementation,
        }
        yield "sentinel_info", labels, 1.0, "gauge", "Build"
        # By code alone: a subject may be a name that came from outside.
        current = Counter((problem.code, problem.severity) for problem in self._look())
        for (code, severity), count in current.items():
            labels = {"code": code, "severity": severity}
            yield "sentinel_problems", labels, float(count), "gauge", "What is wrong now, by code"

    def _all_readings(self) -> Iterator[Reading]:
        return chain.from_iterable(component.readings() for component in self._components)
