# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The budget of observer rows."""

from sentinel import limits
from sentinel.detect.engine import Detector
from sentinel.detect.rows import RowBudget
from tests.support.traffic import LEAF1, match


def test_first_rows_are_always_granted_and_others_bounded() -> None:
    budget = RowBudget(max_rows=4, max_rows_per_agent=3)
    for _ in range(3):
        assert budget.refusal("a", 0, 0) == ""
        budget.take("a")
    assert budget.refusal("a", 0, 0) == ""
    assert budget.refusal("a", 1, 1) == "agent_rows"
    assert budget.refusal("b", 0, 1) == ""
    budget.take("b")
    assert budget.refusal("b", 0, 1) == "rows"
    assert budget.refusal("b", limits.MAX_OBSERVERS_PER_AGENT, 20) == "agent_observers"
    assert budget.refusal("b", 0, limits.MAX_OBSERVERS_PER_DETECTION) == "observers"
    budget.give_back("a", 3)
    assert (budget.rows, budget.refusal("a", 1, 1)) == (1, "")


def test_closing_gives_every_row_back() -> None:
    detector = Detector(["10.0.0.0/8"])
    for agent in (LEAF1, "10.0.0.1"):
        for index in range(1, 6):
            detector.observe(match(agent=agent, source_index=index), 0.0)
    detector.observe(match(src_ip="10.7.7.7"), 0.0)
    assert detector.observer_rows == 11
    detector.expire(9_999.0)
    assert (detector.observer_rows, len(detector)) == (0, 0)
