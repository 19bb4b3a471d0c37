# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Mishaps that once broke the engine, each played exactly."""

from dataclasses import replace

import pytest

from sentinel.capture import actions, events
from sentinel.model import Observer
from tests.support.fabric import HOST, LISTED, FakeSwitch, World, detection, leaf, observer
from tests.support.policies import make_policy

AUTOMATIC = make_policy()
DAY_S = 86_400.0


def side(agent: str, outbound: int, inbound: int) -> Observer:
    return replace(observer(agent, outbound + inbound), outbound=outbound, inbound=inbound)


def two_mirrors() -> World:
    """One capture, mirrored by leaf1 and, for the other direction, by leaf2."""
    world = World()
    world.sight(observers=[side("10.0.1.1", 2, 0)])
    world.run(2)
    world.sight(observers=[side("10.0.1.1", 4, 0), side("10.0.1.2", 0, 3)])
    assert sorted(world.rules()) == ["leaf1", "leaf2"]
    return world


def asked(switch: FakeSwitch, kind: type[actions.SwitchAction]) -> int:
    return sum(isinstance(request, kind) for request in switch.requests)


# --- a second mirror in trouble while the first lives -------------------------------------------------


@pytest.mark.parametrize("fault", ["timeout", "http_400", "http_503"])
def test_a_second_mirror_that_is_refused_leaves_the_capture_active(fault: str) -> None:
    world = World()
    world.sight(observers=[side("10.0.1.1", 2, 0)])
    world.run(2)
    world.switches["leaf2"].fault = fault
    world.sight(observers=[side("10.0.1.1", 4, 0), side("10.0.1.2", 0, 3)])
    assert asked(world.switches["leaf2"], actions.Install) == 1
    assert world.states() == ["active"]
    assert ("active", "failed") not in {(old, new) for _, old, new in world.history}


def test_a_second_mirror_lost_to_a_switch_that_takes_no_rule_any_more_leaves_the_capture_active() -> None:
    world = two_mirrors()
    world.switches["leaf2"].flush_and_refuse()
    world.tell(events.Reconcile())
    world.run(60)
    assert world.states() == ["active"]
    assert list(world.rules()) == ["leaf1"]


def test_a_second_mirror_that_cannot_be_removed_leaves_the_capture_active_and_is_removed_later() -> None:
    world = two_mirrors()
    world.run(400)
    world.sight(observers=[side("10.0.1.1", 4, 0), side("10.0.1.2", 0, 3)])
    world.run(130)
    world.switches["leaf2"].fault = "timeout"
    world.sight(observers=[side("10.0.1.1", 8, 4), side("10.0.1.2", 0, 3)])
    [capture] = world.engine.live()
    assert (capture.state, [m.state for m in capture.mirrors]) == ("active", ["active", "failed"])
    world.switches["leaf2"].fault = ""
    world.run(70)
    assert list(world.rules()) == ["leaf1"]
    assert world.states() == ["active"]


# --- a clock that was set back while the daemon was away ----------------------------------------------


@pytest.mark.parametrize("back_s", [3_600.0, DAY_S, 1_600_000_000.0])
def test_a_clock_set_back_at_a_restart_prolongs_no_capture(back_s: float) -> None:
    world = World(policy=replace(AUTOMATIC, longest_s=3_600.0))
    world.sight()
    world.run(600, step=5.0)
    world.wall -= back_s
    world.start()
    # What was left when it was last stored is known, and no more: at most the whole of longest.
    for _ in range(73):
        world.switches["leaf1"].packet(HOST, LISTED)
        world.run(50, step=5.0)
    assert world.states() == []
    assert world.rules() == {}


def test_a_clock_set_back_at_a_restart_lets_a_silent_capture_end_as_quiet() -> None:
    world = World()
    world.sight()
    world.run(60)
    world.wall -= DAY_S
    world.start()
    world.run(600 + 60)
    assert [c.ending for c in world.stored.values()] == ["quiet"]


def test_a_clock_set_back_at_a_restart_prolongs_no_hold() -> None:
    world = World(policy=replace(AUTOMATIC, longest_s=900.0))
    world.sight()
    world.tell(events.StopRequested(world.engine.live()[0].id, "ada"))
    world.wall -= DAY_S
    world.start()
    world.sight()
    assert world.engine.refusals[detection().id].reason == "held"
    world.run(901)
    world.sight()
    assert world.states() == ["active"]


# --- a switch that says it is full, whatever it is asked ----------------------------------------------


def test_a_switch_that_is_full_over_and_over_is_asked_now_and_then_and_the_capture_waits_visibly() -> None:
    """Its figures show room: another owner has taken both ERSPAN pairs, say."""
    world = World([leaf("leaf1", "10.0.1.1")])
    switch = world.switches["leaf1"]
    switch.no_room = True
    world.sight()
    world.run(300)
    assert world.states() == ["queued"]
    assert world.engine.live()[0].note
    assert switch.rules == {}
    assert 2 <= asked(switch, actions.Install) <= 12
    assert len(switch.requests) <= 60
    switch.no_room = False
    world.run(40)
    assert world.states() == ["active"]


def test_what_a_full_switch_does_not_take_goes_to_another_observer() -> None:
    world = World()
    world.switches["leaf1"].no_room = True
    world.sight(observers=[observer("10.0.1.1", 9), observer("10.0.1.9", 5)])
    world.run(300)
    assert asked(world.switches["leaf1"], actions.Install) <= 12
    assert world.states() in (["active"], ["queued"])


# --- a removal whose answer was lost -------------------------------------------------------------------


def test_a_removal_whose_answer_was_lost_is_asked_again_and_then_ended() -> None:
    world = World()
    world.sight()
    switch = world.switches["leaf1"]
    switch.mute = True
    world.tell(events.StopRequested(world.engine.live()[0].id, "ada"))
    assert switch.rules == {}
    assert world.states() == ["failed"]
    world.run(5)
    assert world.states() == ["failed"], "nobody has said that it is gone"
    assert asked(switch, actions.Remove) > 1
    switch.mute = False
    world.run(60)
    assert [c.state for c in world.stored.values()] == ["ended"]
    assert world.engine.counters["ended_by_lease"] == 0


def test_the_lease_of_a_rule_that_is_gone_is_not_prolonged_by_the_renewal_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every removal is carried out and its answer lost, while questions are answered: what they name is renewed."""
    world = World([leaf("leaf1", "10.0.1.1")])
    world.sight()
    world.sight(local="10.0.0.77")
    switch = world.switches["leaf1"]
    execute = switch.execute

    def answers_of_removals_are_lost(action: actions.SwitchAction, mono: float) -> events.Event:
        switch.mute = isinstance(action, actions.Remove)
        return execute(action, mono)

    monkeypatch.setattr(switch, "execute", answers_of_removals_are_lost)
    stopped = world.engine.live()[0]
    world.tell(events.StopRequested(stopped.id, "ada"))
    renewals = asked(switch, actions.Renew)
    world.run(AUTOMATIC.lease_s + 120)
    assert asked(switch, actions.Renew) > renewals
    assert world.stored[stopped.id].state == "ended"
    assert world.engine.counters["ended_by_lease"] == 1
    assert world.states() == ["active"]


@pytest.mark.parametrize("answered", [False, True])
def test_a_rule_that_may_be_there_is_read_before_its_capture_ends_as_quiet(
    monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    """It was put back, but the answer was lost; what it counts when quiet runs out is evidence all the same."""
    world = World([leaf("leaf1", "10.0.1.1")])
    world.sight()
    switch = world.switches["leaf1"]
    execute = switch.execute

    def answers_of_installs_are_lost(action: actions.SwitchAction, mono: float) -> events.Event:
        switch.mute = isinstance(action, actions.Install) and not answered
        return execute(action, mono)

    monkeypatch.setattr(switch, "execute", answers_of_installs_are_lost)
    world.run(590)
    switch.rules.clear()
    world.tell(events.Reconcile())
    world.run(9)
    assert switch.packet(HOST, LISTED)
    world.run(60)
    assert [c.state for c in world.stored.values()] != ["ended"]


def test_a_rule_that_is_being_put_back_when_quiet_runs_out_is_waited_for() -> None:
    """The look that missed it came after quiet ran out, and the answer to the request is still to come."""
    world = World([leaf("leaf1", "10.0.1.1")])
    world.sight()
    [capture] = world.engine.live()
    world.mono += AUTOMATIC.quiet_s
    world.wall += AUTOMATIC.quiet_s
    todo = world.engine.handle(events.Listed("leaf1", {}, False, 100), world.now)
    assert [c.rule for c in todo if isinstance(c, actions.Install)] == [capture.mirrors[0].rule]
    world.mono += 1.0
    world.wall += 1.0
    world.engine.handle(events.Tick(), world.now)
    assert [c.ending for c in world.engine.live()] == [None]


def test_a_restart_does_not_take_a_lease_for_over() -> None:
    world = World()
    world.sight()
    world.switches["leaf1"].fault = "timeout"
    world.tell(events.StopRequested(world.engine.live()[0].id, "ada"))
    world.start()
    world.run(AUTOMATIC.lease_s)
    assert [c.state for c in world.stored.values()] != ["ended"], "the rule may have been renewed just before the end"
    world.run(120)
    assert [c.state for c in world.stored.values()] == ["ended"]


def test_a_removal_that_was_lost_on_the_way_is_not_forgotten_over_a_restart() -> None:
    world = two_mirrors()
    [capture] = world.stored.values()
    first, second = capture.mirrors
    world.stored[capture.id] = replace(capture, mirrors=(first, replace(second, state="removing")))
    world.start()
    world.run(5)
    assert list(world.rules()) == ["leaf1"]
    assert world.states() == ["active"]


def test_a_removal_that_fails_while_a_question_is_under_way_asks_no_second_question() -> None:
    world = World()
    world.sight()
    [capture] = world.engine.live()
    [question] = [c for c in world.engine.handle(events.Reconcile(), world.now) if isinstance(c, actions.List)][:1]
    assert question.switch == "leaf1"
    failed = events.RemoveFailed("leaf1", capture.mirrors[0].rule, "timeout", "timeout")
    world.engine.handle(events.StopRequested(capture.id, "ada"), world.now)
    world.engine.handle(failed, world.now)
    world.mono += 90.0
    questions = [
        c
        for c in world.engine.handle(events.Tick(), world.now)
        if isinstance(c, actions.List | actions.Renew) and c.switch == "leaf1"
    ]
    assert questions == []
