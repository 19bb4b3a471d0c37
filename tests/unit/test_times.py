# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The two ways a time is written, and the clamp they share."""

import pytest

from sentinel.times import maybe_utc, time_text, utc

FIRST_SEEN = 1_787_378_400.25  # 2026-08-22 06:00:00.25 UTC


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000000+0000"),
        (-5.0, "1970-01-01T00:00:00.000000+0000"),
        (1e30, "9999-12-31T23:59:59.000000+0000"),
        (FIRST_SEEN, "2026-08-22T06:00:00.250000+0000"),
    ],
)
def test_a_time_in_an_event(at: float, text: str) -> None:
    assert time_text(at) == text


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (-5.0, "1970-01-01T00:00:00.000Z"),
        (1e30, "9999-12-31T23:59:59.000Z"),
        (FIRST_SEEN, "2026-08-22T06:00:00.250Z"),
    ],
)
def test_a_time_in_the_api(at: float, text: str) -> None:
    assert utc(at) == maybe_utc(at) == text


def test_a_time_that_is_absent() -> None:
    assert maybe_utc(None) is None
