# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Sightings of one pair: what was seen lately, and when a pair has moved."""

from sentinel.capture.planner import Seen
from sentinel.capture.sightings import MOVE_POLLS, MOVE_SAMPLES, Sightings
from sentinel.model import Now

WINDOW_S = 120.0


def at(mono: float) -> Now:
    return Now(mono, 1e9 + mono)


def test_recent_forgets_what_is_older_than_two_windows() -> None:
    sightings = Sightings(at(0.0))
    sightings.sampled({"leaf1": Seen(5, 0)}, WINDOW_S, at(1.0))
    assert sightings.recent() == {"leaf1": Seen(5, 0)}
    sightings.sampled({"leaf1": Seen(5, 0), "leaf2": Seen(1, 0)}, WINDOW_S, at(121.0))
    assert sightings.recent() == {"leaf1": Seen(5, 0), "leaf2": Seen(1, 0)}
    sightings.sampled({"leaf1": Seen(5, 0), "leaf2": Seen(4, 2)}, WINDOW_S, at(242.0))
    assert sightings.recent() == {"leaf2": Seen(3, 2)}
    assert sightings.at_several


def test_a_detection_that_began_anew_counts_from_nothing() -> None:
    sightings = Sightings(at(0.0))
    for mono, count in ((1.0, 9), (121.0, 9), (242.0, 2)):
        sightings.sampled({"leaf1": Seen(count, 0)}, WINDOW_S, at(mono))
    assert sightings.recent() == {"leaf1": Seen(2, 0)}


def test_a_pair_has_moved_after_samples_elsewhere_and_readings_without_a_rise() -> None:
    sightings = Sightings(at(0.0))
    sightings.mirrored("leaf1")
    assert not any(sightings.stood_still("leaf1") for _ in range(9)), "silent, but not seen elsewhere"
    sightings.sampled({"leaf2": Seen(MOVE_SAMPLES, 0)}, WINDOW_S, at(1.0))
    assert [sightings.stood_still("leaf1") for _ in range(MOVE_POLLS)] == [False] * (MOVE_POLLS - 1) + [True]
    sightings.rose("leaf1")
    assert not sightings.stood_still("leaf1")


def test_a_sample_where_the_mirror_stands_begins_anew() -> None:
    sightings = Sightings(at(0.0))
    sightings.mirrored("leaf1")
    sightings.sampled({"leaf2": Seen(9, 0)}, WINDOW_S, at(1.0))
    sightings.sampled({"leaf2": Seen(9, 0), "leaf1": Seen(1, 0)}, WINDOW_S, at(2.0))
    assert not any(sightings.stood_still("leaf1") for _ in range(9))


def test_of_a_switch_without_a_mirror_nothing_is_said() -> None:
    sightings = Sightings(at(0.0))
    sightings.mirrored("leaf1")
    sightings.sampled({"leaf2": Seen(9, 0)}, WINDOW_S, at(1.0))
    sightings.released("leaf1")
    sightings.rose("leaf1")
    assert not any(sightings.stood_still("leaf1") for _ in range(9))
