# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Fifty virtual days without a broken invariant; and builds that are broken on purpose do not last as long."""

from collections.abc import Callable
from typing import Any

import pytest

from sentinel.capture import events, reconcile
from sentinel.capture.budget import Budget
from sentinel.capture.engine import CaptureEngine
from sentinel.capture.outcomes import Outcomes
from sentinel.capture.policy import Policy
from sentinel.capture.reconcile import Reconciler
from sentinel.capture.switchbook import SwitchBook
from sentinel.model import Now
from tests.sim.days import day, days, expected_faults
from tests.sim.quality import day_of

SEEDS = 50


@pytest.mark.timeout(600)
def test_fifty_virtual_days_break_no_invariant_and_leave_nothing_untried() -> None:
    census, broken = days(0, SEEDS, 2)
    assert not broken
    assert census.never(expected_faults()) == []
    assert census.events >= 20_000 * SEEDS


@pytest.mark.timeout(300)
def test_one_rule_a_switch_serves_nearly_every_compromised_host_and_little_else() -> None:
    """The smallest budget there is; ``make quality`` prints all of them, over more days."""
    _, _, found = day_of((0, 1, True))
    assert found.possible > 100
    assert found.captured >= 0.95 * found.possible
    assert found.wasted <= 0.05 * found.rules


def renewed_once_a_lease(patch: pytest.MonkeyPatch) -> None:
    built = SwitchBook.__init__

    def init(self: SwitchBook, policy: Policy) -> None:
        built(self, policy)
        self._interval_s = policy.lease_s

    patch.setattr(SwitchBook, "__init__", init)


def reconciliation_skipped(patch: pytest.MonkeyPatch) -> None:
    compare = Reconciler._compare_one

    def nothing_missing(self: Reconciler, *args: Any) -> bool:
        compare(self, *args)
        return False

    patch.setattr(Reconciler, "_compare_one", nothing_missing)


def orphans_left_alone(patch: pytest.MonkeyPatch) -> None:
    compare = Reconciler.compare

    def held_only(self: Reconciler, switch: str, found: dict[str, events.RuleOnSwitch], now: Now) -> None:
        held = self._book.held(switch)
        compare(self, switch, {name: rule for name, rule in found.items() if name in held}, now)

    patch.setattr(Reconciler, "compare", held_only)


def budget_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SwitchBook, "room", lambda *_: 1_000)


def foreign_rules_swept(patch: pytest.MonkeyPatch) -> None:
    listed = CaptureEngine._listed

    def everything(self: CaptureEngine, event: events.Listed, now: Now) -> None:
        listed(self, event, now)
        self._reconciler.compare(event.switch, dict(event.rules), now)

    patch.setattr(CaptureEngine, "_listed", everything)


def what_a_person_installed_swept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile, "is_ours", lambda _: True)


def bulk_answers_not_heard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Outcomes, "of_bulk", lambda *_: None)


def quiet_without_a_last_look(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SwitchBook, "polled", lambda *_: float("inf"))


def load_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Budget, "shortage", lambda *_: None)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("build", "first", "words"),
    [
        (renewed_once_a_lease, 2, "ran out though everybody was well"),
        (reconciliation_skipped, 0, "has been missing"),
        (orphans_left_alone, 3, "after its capture ended"),
        (what_a_person_installed_swept, 0, "not ours to remove"),
        (bulk_answers_not_heard, 0, "stored as installing and has been there"),
        (budget_not_checked, 0, "entries on"),
        (load_not_checked, 3, "more than it may"),
        (foreign_rules_swept, 0, "not ours to remove"),
        (quiet_without_a_last_look, 8, "ends as quiet"),
    ],
)
def test_a_broken_build_is_caught(
    build: Callable[[pytest.MonkeyPatch], None], first: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``first``: where a search from 0 found it, to save time; it goes on from there, should that day have changed."""
    build(monkeypatch)
    for seed in range(first, SEEDS):
        _, _, error = day(seed)
        if error:
            assert words in error
            return
    pytest.fail(f"not caught in {SEEDS} days")
