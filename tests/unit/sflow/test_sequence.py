# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Loss from sequence numbers: what is missing, what only came late, what began anew."""

import pytest

from sentinel.limits import MAX_SFLOW_SEQUENCE_GAP, SEQUENCE_WINDOW
from sentinel.sflow.sequence import Sequence

TOP = 2**32 - 1


@pytest.mark.parametrize(
    ("numbers", "lost", "late", "duplicates", "restarts"),
    [
        pytest.param([5, 6, 7], 0, 0, 0, 0, id="in-order"),
        pytest.param([5, 8], 2, 0, 0, 0, id="gap"),
        pytest.param([5, 7, 6, 8], 0, 1, 0, 0, id="swapped"),
        pytest.param([5, 6, 6, 5, 7], 0, 0, 2, 0, id="duplicates"),
        pytest.param([5, 7, 6, 6], 0, 1, 1, 0, id="late-twice"),
        pytest.param([TOP - 1, TOP, 0, 1], 0, 0, 0, 0, id="wrap"),
        pytest.param([TOP - 1, 1, TOP, 0], 0, 2, 0, 0, id="wrap-out-of-order"),
        pytest.param([5, 4, 3], 0, 0, 2, 0, id="before-the-first"),
        pytest.param([500_000, 1, 2, 3], 0, 0, 0, 1, id="went-back"),
        pytest.param([1, 2 + MAX_SFLOW_SEQUENCE_GAP, 3 + MAX_SFLOW_SEQUENCE_GAP], 0, 0, 0, 1, id="too-far-ahead"),
        pytest.param([1, 1 + MAX_SFLOW_SEQUENCE_GAP], MAX_SFLOW_SEQUENCE_GAP - 1, 0, 0, 0, id="far-ahead"),
        pytest.param([1000, 1000 - SEQUENCE_WINDOW], 0, 0, 0, 1, id="behind-the-window"),
        pytest.param([1000, 1000 - SEQUENCE_WINDOW + 1], 0, 0, 1, 0, id="end-of-the-window"),
        pytest.param([1, 1 + SEQUENCE_WINDOW, 2], SEQUENCE_WINDOW - 2, 1, 0, 0, id="late-at-the-end-of-the-window"),
    ],
)
def test_streams(numbers: list[int], lost: int, late: int, duplicates: int, restarts: int) -> None:
    sequence = Sequence()
    for number in numbers:
        sequence.next(number)
    assert (sequence.lost, sequence.late, sequence.duplicates, sequence.restarts) == (lost, late, duplicates, restarts)


def test_a_restart_told_from_elsewhere_loses_nothing() -> None:
    sequence = Sequence()
    assert sequence.next(10)
    assert sequence.next(1, began_anew=True)
    assert sequence.next(2)
    assert (sequence.lost, sequence.restarts, sequence.duplicates) == (0, 1, 0)
