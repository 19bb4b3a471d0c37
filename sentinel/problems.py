# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Promises that are broken now, as one value that health, log, console and metrics all show.

A component reports what is wrong each time it is asked; ``Watch`` remembers since when, so that no component needs a
clock for it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Severity = Literal["degraded", "failing"]
Status = Literal["ok", "degraded", "failing"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken promise.

    ``code`` is a literal of the program and a metric's label; ``subject`` names the feed, switch, socket or file, and
    is empty where the whole daemon is meant. ``failing``: a promise is broken for all that the daemon does (it cannot
    store, decide or keep leases); ``degraded``: for a part of it. ``text`` states what is wrong, ``remedy`` what to do
    about it. ``since`` is UTC seconds since 1970, 0 until ``Watch`` sets it.
    """

    code: str
    severity: Severity
    subject: str
    text: str
    remedy: str = ""
    since: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """Return what makes two reports one problem: its text may change while it lasts."""
        return self.code, self.subject


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference from the look before: problems that began, and those that are over, as last reported."""

    began: tuple[Problem, ...]
    ended: tuple[Problem, ...]


class Watch:
    """The problems of the last look. Not safe for several threads at once."""

    def __init__(self) -> None:
        self.current: tuple[Problem, ...] = ()

    def look(self, reported: Iterable[Problem], now: float) -> Changes:
        """Take what is wrong at ``now`` (UTC seconds since 1970); the first report of a key counts."""
        before = {problem.key: problem for problem in self.current}
        found: dict[tuple[str, str], Problem] = {}
        for problem in reported:
            known = before.get(problem.key)
            found.setdefault(problem.key, replace(problem, since=known.since if known else now))
        self.current = tuple(sorted(found.values(), key=lambda each: (each.severity != "failing", each.since)))
        return Changes(
            tuple(problem for problem in self.current if problem.key not in before),
            tuple(problem for key, problem in before.items() if key not in found),
        )


def status_of(problems: Iterable[Problem]) -> Status:
    """Return the worst severity among ``problems``, or ``ok``."""
    severities = {problem.severity for problem in problems}
    return "failing" if "failing" in severities else "degraded" if severities else "ok"
