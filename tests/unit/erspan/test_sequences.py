# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
from sentinel.erspan.sequences import Sequences
from sentinel.limits import MAX_ERSPAN_SEQUENCES


def gaps(*numbers: int | None) -> list[int]:
    sequences = Sequences()
    return [sequences.gap("leaf1", 1, number) for number in numbers]


def test_gaps_are_what_is_missing_before_a_frame() -> None:
    assert gaps(5, 6, 9, 10) == [0, 0, 2, 0]
    assert gaps(0xFFFFFFFE, 0xFFFFFFFF, 0, 2) == [0, 0, 0, 1]


def test_late_and_repeated_frames_are_no_gap() -> None:
    assert gaps(5, 7, 6, 6, 8) == [0, 1, 0, 0, 0]


def test_a_switch_that_started_again_lost_nothing() -> None:
    assert gaps(5000, 0, 1) == [0, 0, 0]
    assert gaps(5, 3_000_000_000, 3_000_000_001) == [0, 0, 0]
    assert gaps(None, None) == [0, 0]


def test_sessions_and_switches_are_counted_apart_and_bounded() -> None:
    sequences = Sequences()
    assert sequences.gap("leaf1", 1, 5) == sequences.gap("leaf2", 1, 50) == sequences.gap("leaf1", 2, 500) == 0
    assert sequences.gap("leaf1", 1, 7) == 1
    for session in range(MAX_ERSPAN_SEQUENCES * 2):
        sequences.gap("forged", session, 1)
    assert len(sequences._last) == MAX_ERSPAN_SEQUENCES
    assert sequences.lost == 1
