# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Counters have a closed set of names, each zero from the start."""

import re

import pytest

from sentinel.capture import events
from sentinel.capture.switches import Access, SwitchPool
from sentinel.model import Switch
from tests.support.fabric import DESTINATION, World, detection
from tests.support.policies import make_policy


def test_every_kind_is_there_before_anything_happened() -> None:
    counters = World().engine.counters
    assert set(counters.values()) == {0}
    expected = {"created", "ended_closed", "ended_selftest", "refused_held", "edge_active_removing"}
    assert expected | {"mirror_edge_installing_active", "orphans_removed"} <= counters.keys()
    assert all(re.fullmatch(r"[a-z0-9_]+", kind) for kind in counters)


def test_a_pending_capture_whose_detection_closes_adds_no_kind() -> None:
    world = World(policy=make_policy(mode="manual"))
    before = set(world.engine.counters)
    world.sight()
    world.tell(events.DetectionEnded(detection(), delisted=False))
    assert set(world.engine.counters) == before
    assert world.engine.counters["ended_closed"] == 1


@pytest.mark.parametrize(
    ("status", "name"),
    [("http_503", "failed_http_503"), ("http_799", "failed_http_other"), ("no_url", "failed_no_url")],
)
def test_a_status_that_nobody_foresaw_makes_no_counter(status: str, name: str) -> None:
    pool = SwitchPool(Access(DESTINATION), lambda _: None, lambda _: None)
    pool.add(Switch("leaf1", ("10.0.1.1",), "https://leaf1:8443", "10.0.1.1"))
    before = set(pool.counters)
    pool._count(f"failed_{status}")  # the pool's own way; a switch that answers so is in test_switches.py
    assert set(pool.counters) == before
    assert pool.counters[name] == 1
    pool.stop()
