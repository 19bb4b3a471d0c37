# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What a switch has and what is stored are made to agree: in one request, and whatever becomes of it."""

from dataclasses import replace

import pytest

from sentinel import limits
from sentinel.capture import actions, events
from tests.support.fabric import LISTED, FakeRule, FakeSwitch, World, detection, leaf, observer
from tests.support.policies import make_policy

AUTOMATIC = make_policy()
BY_HAND = FakeRule(("[iptables]", "-A one", "-A two"), deadline=1e12)
THEIRS = replace(BY_HAND, owner="other")


def hosts(count: int) -> list[str]:
    return [f"10.0.0.{20 + number}" for number in range(count)]


def captured(count: int, world: World | None = None) -> tuple[World, FakeSwitch]:
    """So many active captures on leaf1, and its requests from now on."""
    world = world or World([leaf("leaf1", "10.0.1.1")])
    for host in hosts(count):
        world.sight(local=host)
    world.run(1)
    switch = world.switches["leaf1"]
    assert len(switch.rules) == count
    switch.requests.clear()
    switch.writes = 0
    return world, switch


def drifted(world: World, switch: FakeSwitch) -> None:
    """Flushed; two orphans of ours, one rule of another owner, one of a person with our token."""
    switch.rules = {
        "sentinel_cdead00000000": replace(BY_HAND),
        "sentinel_cdead00000001": replace(BY_HAND),
        "theirs": THEIRS,
        "by_hand": BY_HAND,
    }
    world.tell(events.Reconcile())


def changes(switch: FakeSwitch) -> list[actions.SwitchAction]:
    return [c for c in switch.requests if isinstance(c, actions.Install | actions.Remove | actions.Bulk)]


def as_stored(world: World, switch: FakeSwitch) -> bool:
    ours = {m.rule: m.lines for c in world.engine.live() for m in c.mirrors if m.state == "active"}
    return {n: r.lines for n, r in switch.rules.items()} == {**ours, "theirs": THEIRS.lines, "by_hand": BY_HAND.lines}


def test_all_that_differs_goes_into_one_request() -> None:
    world, switch = captured(5)
    drifted(world, switch)
    [bulk] = changes(switch)
    assert isinstance(bulk, actions.Bulk)
    assert sorted(type(change).__name__ for change in bulk.changes) == ["Install"] * 5 + ["Remove"] * 2
    assert {change.ttl_s for change in bulk.changes if isinstance(change, actions.Install)} == {120}
    assert switch.writes == 1
    assert as_stored(world, switch)
    assert world.states() == ["active"] * 5
    counters = world.engine.counters
    assert (counters["drift_restored"], counters["orphans_removed"], counters["bulk_repairs"]) == (5, 2, 1)
    world.run(400)
    assert changes(switch) == [bulk]


def test_nothing_is_sent_where_nothing_differs() -> None:
    world, switch = captured(5)
    for _ in range(3):
        world.tell(events.Reconcile())
        world.start()
        world.run(100)
    assert {type(request) for request in switch.requests} == {actions.List, actions.Renew}
    assert switch.writes == 0


def test_what_was_captured_while_the_daemon_was_away_is_repaired_in_one_request() -> None:
    """Died with two rules asked for and not answered, and the switch has rebooted since."""
    world, switch = captured(4)
    for capture in list(world.stored.values())[:2]:
        mirrors = tuple(replace(mirror, state="installing") for mirror in capture.mirrors)
        world.stored[capture.id] = replace(capture, state="installing", mirrors=mirrors)
    switch.rules.clear()
    world.start()
    assert [type(change) for change in changes(switch)] == [actions.Bulk]
    assert world.states() == ["active"] * 4


def test_a_request_under_way_is_neither_repeated_nor_undone() -> None:
    world, switch = captured(3)
    asked: list[actions.Action] = []
    asked += world.engine.handle(events.Sighted(detection(local="10.0.0.90")), world.now)
    stopped = world.engine.live()[0]
    asked += world.engine.handle(events.StopRequested(stopped.id, "ada"), world.now)
    [new] = [c for c in asked if isinstance(c, actions.Install)]
    [old] = [c for c in asked if isinstance(c, actions.Remove)]
    still_there = events.RuleOnSwitch(0, 0, True, switch.rules[old.rule].lines)
    answer = world.engine.handle(events.Listed("leaf1", {old.rule: still_there}, False, 100), world.now)
    [bulk] = [c for c in answer if isinstance(c, actions.Bulk)]
    assert {change.rule for change in bulk.changes} == set(switch.rules) - {old.rule}
    assert new.rule not in {change.rule for change in bulk.changes}


def test_a_rule_put_back_when_quiet_runs_out_is_read_before_it_may_end() -> None:
    """The look found it gone, so that look was none; what it counts from then on is evidence."""
    world, switch = captured(1)
    [rule] = switch.rules
    # Away for as long as quiet lasts; the lease went meanwhile, and the listing of the new process misses the rule.
    world.mono += AUTOMATIC.quiet_s
    world.wall += AUTOMATIC.quiet_s
    switch.rules.clear()
    world.start()
    assert list(switch.rules) == [rule]
    assert switch.packet(hosts(1)[0], LISTED) == [rule]
    world.run(3)
    assert world.states() == ["active"]
    world.run(AUTOMATIC.quiet_s + 60)
    assert [capture.ending for capture in world.stored.values()] == ["quiet"]


def test_what_a_counter_ended_in_the_same_look_is_not_restored() -> None:
    world = World([leaf("leaf1", "10.0.1.1")], policy=replace(AUTOMATIC, max_bps=900_000))
    few = replace(detection(local="10.0.0.20", evidence="answered"), samples=9, observers=(observer("10.0.1.1", 9),))
    world.tell(events.Sighted(few))
    for host in hosts(3)[1:]:
        world.sight(local=host)
    world.run(60)
    gone, *_, loud = world.engine.live()
    assert gone.local_ip == "10.0.0.20"
    found = {
        mirror.rule: events.RuleOnSwitch(1_000, 10**7 if capture is loud else 0, True, mirror.lines)
        for capture in world.engine.live()[1:]
        for mirror in capture.mirrors
    }
    answer = world.engine.handle(events.Listed("leaf1", found, False, 100), world.now)
    assert (world.engine.get(gone.id) or gone).ending == "overload"
    asked = [
        change
        for c in answer
        if isinstance(c, actions.Install | actions.Remove | actions.Bulk)
        for change in actions.one_by_one(c)
    ]
    assert actions.Remove("leaf1", gone.mirrors[0].rule) in asked
    assert not [c for c in asked if isinstance(c, actions.Install) and c.rule == gone.mirrors[0].rule]


def test_a_restored_rule_that_counts_as_many_packets_as_before_is_evidence() -> None:
    """A beacon's visits are alike; and the daemon may not have been there while the new counter was at nothing."""
    world, switch = captured(1)
    for _ in range(3):
        switch.packet(hosts(1)[0], LISTED)
    world.run(570)
    switch.rules.clear()
    world.tell(events.Reconcile())
    for _ in range(3):
        switch.packet(hosts(1)[0], LISTED)
    world.start()
    world.run(300)
    assert world.states() == ["active"]


def test_an_older_shim_that_knows_no_bulk_request_is_repaired_one_by_one() -> None:
    world, switch = captured(5)
    switch.no_bulk = True
    drifted(world, switch)
    world.run(5)
    assert as_stored(world, switch)
    assert world.states() == ["active"] * 5
    assert [isinstance(change, actions.Bulk) for change in changes(switch)].count(True) == 1
    assert world.engine.counters["bulk_repairs_failed"] == 1
    switch.requests.clear()
    switch.no_bulk = False
    drifted(world, switch)
    assert [type(change) for change in changes(switch)] == [actions.Bulk]
    assert as_stored(world, switch)


@pytest.mark.parametrize("fault", ["http_400", "http_413", "http_503", "timeout", "connection"])
def test_a_bulk_request_that_fails_as_a_whole_ends_and_excludes_nothing(fault: str) -> None:
    world, switch = captured(5)
    found = {"sentinel_cdead0000": events.RuleOnSwitch(0, 0, True, ("[iptables]",))}
    switch.rules = {"theirs": THEIRS, "by_hand": BY_HAND}
    answer = world.engine.handle(events.Listed("leaf1", found, False, 100), world.now)
    [bulk] = [c for c in answer if isinstance(c, actions.Bulk)]
    outcomes = tuple(
        events.InstallFailed("leaf1", change.rule, fault, fault, permanent=False)
        if isinstance(change, actions.Install)
        else events.RemoveFailed("leaf1", change.rule, fault, fault)
        for change in bulk.changes
    )
    world.tell(events.BulkAnswered("leaf1", outcomes))
    assert world.states() == ["failed"] * 5
    assert world.engine.book.trouble("leaf1") is not None
    world.tell(events.SwitchFailed("leaf1", fault, fault))
    world.run(3)
    assert actions.List("leaf1") in switch.requests, "asked again soon: it failed twice, not seven times"
    world.run(5)
    assert world.states() == ["active"] * 5
    assert as_stored(world, switch)


def test_a_lost_answer_leaves_no_second_rule_and_needs_no_second_commit() -> None:
    world, switch = captured(5)
    switch.mute = True
    switch.rules.clear()
    lost = actions.Bulk(
        "leaf1",
        tuple(
            actions.Install("leaf1", m.rule, m.lines, 120) for capture in world.engine.live() for m in capture.mirrors
        ),
    )
    empty = world.engine.handle(events.Listed("leaf1", {}, False, 100), world.now)
    assert lost in empty
    world.tell(switch.execute(lost, world.mono))
    assert world.states() == ["failed"] * 5
    switch.mute = False
    world.run(5)
    assert world.states() == ["active"] * 5
    assert len(switch.rules) == 5
    assert switch.writes == 1


def test_one_rule_that_does_not_fit_holds_up_no_other() -> None:
    world, switch = captured(5)
    switch.rules = {"theirs": THEIRS}
    switch.max_rules = 10
    world.tell(events.Reconcile())
    assert sorted(world.states()) == ["active"] * 4 + ["queued"]
    assert len(switch.rules) == 5
    [waits] = [c for c in world.engine.live() if c.state == "queued"]
    assert waits.note
    del switch.rules["theirs"]
    world.run(61)
    assert world.states() == ["active"] * 5


def test_a_switch_that_fails_only_at_bulk_requests_is_repaired_each_time() -> None:
    """Orphans are found by every listing: bulk and single requests take turns, so that they go in the end."""
    world, switch = captured(1)
    switch.no_bulk = True
    for _ in range(3):
        drifted(world, switch)
        world.run(5)
        assert as_stored(world, switch)


def test_more_than_one_body_may_hold_comes_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BULK_CHANGES", 3)
    world, switch = captured(5)
    drifted(world, switch)
    assert [len(c.changes) for c in changes(switch) if isinstance(c, actions.Bulk)] == [3, 3, 1]
    assert as_stored(world, switch)


def test_what_a_person_installed_with_our_token_takes_room_as_other_peoples_rules_do() -> None:
    world = World([leaf("leaf1", "10.0.1.1", max_rules=4)])
    world.switches["leaf1"].rules["by_hand"] = BY_HAND
    world.tell(events.Reconcile())
    for host in hosts(2):
        world.sight(local=host)
    assert world.states() == ["active", "queued"]
    assert not [c for c in world.switches["leaf1"].requests if isinstance(c, actions.Install)][1:]
