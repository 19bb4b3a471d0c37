# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Where a pair is mirrored over the whole fabric: a second time, elsewhere when it moved, when its switch is silent."""

from dataclasses import replace

from sentinel.capture import events
from sentinel.model import Observer
from tests.support.fabric import HOST, LISTED, World, observer


def side(agent: str, outbound: int, inbound: int) -> Observer:
    seen = observer(agent, outbound + inbound)
    return replace(seen, outbound=outbound, inbound=inbound)


def test_a_second_mirror_stands_where_the_other_direction_is_seen_and_goes_when_one_is_enough() -> None:
    world = World()
    world.sight(observers=[side("10.0.1.1", 2, 0)])
    world.run(2)
    world.sight(observers=[side("10.0.1.1", 4, 0), side("10.0.1.2", 0, 3)])
    assert sorted(world.rules()) == ["leaf1", "leaf2"]
    assert world.states() == ["active"]
    world.run(400)
    world.sight(observers=[side("10.0.1.1", 4, 0), side("10.0.1.2", 0, 3)])
    world.run(130)
    world.sight(observers=[side("10.0.1.1", 8, 4), side("10.0.1.2", 0, 3)])
    assert list(world.rules()) == ["leaf1"]
    assert world.states() == ["active"]


def test_the_mirror_moves_with_the_pair_but_not_while_its_counter_rises() -> None:
    world = World()
    world.sight(observers=[side("10.0.1.1", 1, 1)])
    for elsewhere in range(1, 8):
        world.switches["leaf1"].packet(HOST, LISTED)
        world.sight(observers=[side("10.0.1.1", 1, 1), side("10.0.1.2", elsewhere, elsewhere)])
        world.run(45)
    assert "leaf2" not in world.rules()
    for elsewhere in range(8, 12):
        world.sight(observers=[side("10.0.1.1", 1, 1), side("10.0.1.2", elsewhere, elsewhere)])
        world.run(45)
    assert list(world.rules()) == ["leaf2"]
    assert world.states() == ["active"]
    assert world.engine.counters["moved"] == 1
    world.start()
    world.run(60)
    assert list(world.rules()) == ["leaf2"]


def test_captures_of_a_silent_switch_are_mirrored_by_another_observer() -> None:
    world = World()
    world.sight(observers=[observer("10.0.1.1", 9), observer("10.0.1.9", 5)])
    world.switches["leaf1"].fault = "timeout"
    world.run(300)
    assert "spine1" in world.rules()
    assert world.states() == ["active"]
    world.switches["leaf1"].fault = ""
    world.run(100)
    assert list(world.rules()) == ["spine1"]


def test_a_second_mirror_that_fails_leaves_the_first_and_is_tried_again() -> None:
    world = World()
    world.sight(observers=[side("10.0.1.1", 4, 0)])
    world.run(2)
    world.switches["leaf2"].fault = "timeout"
    for seen in range(3, 9):
        world.sight(observers=[side("10.0.1.1", 4, 0), side("10.0.1.2", 0, seen)])
        world.run(45)
    assert world.states() == ["active"]
    assert list(world.rules()) == ["leaf1"]
    world.switches["leaf2"].fault = ""
    world.run(70)
    assert "leaf2" in world.rules()
    assert world.states() == ["active"]


def test_when_the_only_working_mirror_must_go_the_capture_is_what_the_other_one_is() -> None:
    world = World()
    world.sight(observers=[side("10.0.1.1", 4, 0)])
    world.run(2)
    world.switches["leaf2"].fault = "timeout"
    world.sight(observers=[side("10.0.1.1", 4, 0), side("10.0.1.2", 0, 3)])
    capture = world.engine.live()[0]
    assert [m.state for m in capture.mirrors] == ["active", "failed"]
    world.switches["leaf1"].flush_and_refuse()
    world.tell(events.Reconcile())
    assert world.states() == ["failed"]
    world.switches["leaf2"].fault = ""
    world.run(70)
    assert world.states() == ["active"]
    assert list(world.rules()) == ["leaf2"]
