# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong is shown everywhere, with the time since when; a thread that hangs is alive no more."""

import logging
from collections.abc import Iterable
from pathlib import Path

import pytest

from sentinel import limits
from sentinel.components.component import Component
from sentinel.components.overview import Overview
from sentinel.problems import Problem
from sentinel.pulse import Pulse
from tests.unit.components.test_component import settings_in


class Ailing(Component):
    def __init__(self) -> None:
        self.ails: list[Problem] = []
        self.now = 0.0
        self.pulse = Pulse("wheel", lambda: self.now)

    def problems(self) -> Iterable[Problem]:
        return self.ails

    def pulses(self) -> Iterable[Pulse]:
        return (self.pulse,)


def overview(part: Component, folder: Path) -> Overview:
    parts: list[Component] = [part]
    made = Overview(
        settings_in(folder),
        parts,
        agents=list,
        sockets=list,
        indicators=lambda: 0,
        implementation="python",
    )
    parts.append(made)
    return made


def test_a_problem_is_in_health_metrics_and_the_log_until_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    part = Ailing()
    seen = overview(part, tmp_path)
    assert seen.health().status == "ok"
    with caplog.at_level(logging.INFO, "sentinel.components.overview"):
        part.ails = [Problem("switch_failing", "degraded", "leaf1", "timeout", "look at it")]
        first = seen.health()
        part.ails = [Problem("switch_failing", "degraded", "leaf1", "refused", "look at it")]
        [again] = seen.health().problems
        assert (first.status, again.text, again.since) == ("degraded", "refused", first.problems[0].since)
        assert b'sentinel_problems{code="switch_failing",severity="degraded"} 1.0' in seen.metrics()
        part.ails = []
        assert seen.health().status == "ok"
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "leaf1" in caplog.text


def test_the_worst_problem_is_the_status_and_stands_first(tmp_path: Path) -> None:
    part = Ailing()
    part.ails = [Problem("a", "degraded", "x", "x"), Problem("b", "failing", "y", "y")]
    health = overview(part, tmp_path).health()
    assert (health.status, [problem.code for problem in health.problems]) == ("failing", ["b", "a"])


def test_a_thread_that_hangs_is_a_problem_and_one_that_rests_is_none(tmp_path: Path) -> None:
    part = Ailing()
    seen = overview(part, tmp_path)
    assert seen.stalled() == {}
    part.pulse.beat()
    part.now += limits.STALLED_S + 1
    assert seen.stalled() == {"wheel": limits.STALLED_S + 1}
    assert [(problem.code, problem.subject) for problem in seen.health().problems] == [("stalled", "wheel")]
    part.pulse.beat()
    assert seen.stalled() == {}
    part.now += 1e6
    part.pulse.rest()
    assert seen.stalled() == {}
