# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Captures as dialogues between detections, time and switches that execute their rules."""

from dataclasses import replace

import pytest

from sentinel.capture import actions, events
from sentinel.model import Indicator, Switch
from tests.support.fabric import DESTINATION, HOST, LISTED, World, detection, leaf, observer, spine
from tests.support.policies import make_policy, make_threshold

AUTOMATIC = make_policy()


def only_rule(world: World, switch: str = "leaf1") -> tuple[str, ...]:
    [rule] = world.switches[switch].rules.values()
    return rule.lines


def test_first_initiated_sample_puts_one_rule_on_the_observing_switch() -> None:
    world = World()
    world.sight()
    for _ in range(20):
        world.sight(observers=[observer("10.0.1.1", 5), observer("10.0.1.9", 50)])
    assert world.rules() == {"leaf1": [world.engine.live()[0].mirrors[0].rule]}
    target = "-j ERSPAN --src-ip 10.0.1.1 --dst-ip 10.0.0.70 --ttl 64"
    assert only_rule(world) == (
        "[iptables]",
        f"-A FORWARD --in-interface swp+ -s 10.0.0.10 -d 198.51.100.7 {target}",
        f"-A FORWARD --in-interface swp+ -s 198.51.100.7 -d 10.0.0.10 {target}",
    )
    assert world.switches["leaf1"].writes == 1
    assert world.states() == ["active"]


def test_contacted_is_never_captured_and_answered_only_from_min_samples_on() -> None:
    world = World()
    world.sight(evidence="contacted", observers=[observer("10.0.1.1", 1000)])
    world.sight(evidence="answered", observers=[observer("10.0.1.1", 2)])
    assert world.rules() == {}
    assert world.engine.refusals[detection().id].reason == "min_samples"
    world.sight(evidence="answered", observers=[observer("10.0.1.1", 3)])
    assert list(world.rules()) == ["leaf1"]
    assert detection().id not in world.engine.refusals


def test_bare_on_the_leaf_and_inside_vxlan_on_the_spine_is_mirrored_on_the_leaf() -> None:
    world = World()
    inside = observer("10.0.1.9", 99, capturable=False, vni=10)
    world.sight(observers=[inside])
    assert world.engine.refusals[detection().id].reason == "only_inside"
    world.sight(observers=[inside, observer("10.0.1.1")])
    assert list(world.rules()) == ["leaf1"]


def test_leaf_before_spine_then_most_samples() -> None:
    world = World()
    world.sight(observers=[observer("10.0.1.9", 99), observer("10.0.1.1", 2), observer("10.0.1.2", 3)])
    assert list(world.rules()) == ["leaf2"]


def test_it_lasts_while_sampled_and_is_gone_after_quiet() -> None:
    world = World()
    for _ in range(5):
        world.sight()
        world.run(500)
        assert world.states() == ["active"]
    world.run(120)
    assert world.rules() == {}
    assert world.engine.live() == []
    [capture] = world.stored.values()
    assert (capture.state, capture.ending) == ("ended", "quiet")


def test_it_lasts_while_the_rules_counter_rises_without_a_single_sample() -> None:
    world = World()
    world.sight()
    for _ in range(5):
        world.run(550)
        world.switches["leaf1"].packet(HOST, LISTED)
        assert world.states() == ["active"]
    world.run(700)
    assert world.rules() == {}


def test_the_counter_is_read_once_more_before_a_capture_ends_as_quiet() -> None:
    world = World()
    world.sight()
    world.run(599)
    world.switches["leaf1"].packet(LISTED, HOST)
    world.run(30)
    assert world.states() == ["active"]


def test_a_counter_that_was_reset_and_counts_again_is_evidence() -> None:
    world = World()
    world.sight()
    for _ in range(100):
        world.switches["leaf1"].packet(HOST, LISTED)
    world.run(60)
    [rule] = world.switches["leaf1"].rules.values()
    rule.packets = 1
    world.run(590)
    assert world.states() == ["active"]


def test_longest_ends_it_and_holds_the_pair_back() -> None:
    world = World(policy=replace(AUTOMATIC, longest_s=900.0))
    for _ in range(19):
        world.sight()
        world.run(50)
    assert world.rules() == {}
    world.sight()
    assert world.engine.refusals[detection().id].reason == "held"
    world.run(900)
    world.sight()
    assert list(world.rules()) == ["leaf1"]


def test_the_hold_survives_a_restart() -> None:
    world = World()
    world.sight()
    world.tell(events.StopRequested(world.engine.live()[0].id, "ada"))
    world.start()
    world.sight()
    assert world.rules() == {}
    assert world.engine.refusals[detection().id].reason == "held"


def test_extended_lasts_longer() -> None:
    world = World(policy=replace(AUTOMATIC, longest_s=900.0))
    world.sight()
    world.tell(events.Extended(world.engine.live()[0].id, 600.0, "ada"))
    for _ in range(28):
        world.sight()
        world.run(50)
    assert world.states() == ["active"]
    world.run(101)
    assert world.states() == []


def test_delisted_ends_it_but_not_what_a_person_started() -> None:
    world = World()
    world.sight()
    world.tell(events.DetectionEnded(detection(), delisted=True))
    assert world.rules() == {}
    world.tell(events.StartRequested(detection(evidence="contacted"), "ada"))
    world.tell(events.DetectionEnded(detection(), delisted=True))
    assert list(world.rules()) == ["leaf1"]


def test_a_restart_with_live_captures_writes_nothing() -> None:
    world = World()
    world.sight()
    world.sight(local="10.0.0.11", observers=[observer("10.0.1.2")])
    before = {name: (s.writes, dict(s.rules)) for name, s in world.switches.items()}
    world.run(30)
    actions_before = len(world.actions)
    world.start()
    world.run(60)
    assert {name: (s.writes, dict(s.rules)) for name, s in world.switches.items()} == before
    assert not [c for c in world.actions[actions_before:] if isinstance(c, actions.Install | actions.Remove)]
    assert world.states() == ["active", "active"]


def test_a_restart_long_after_removes_what_it_should_and_forgets_nothing() -> None:
    world = World()
    world.sight()
    world.mono += 3000
    world.wall += 3000
    world.start()
    world.run(5)
    assert world.rules() == {}
    assert [c.state for c in world.stored.values()] == ["ended"]


@pytest.mark.parametrize("state", ["installing", "removing"])
def test_died_between_intent_and_outcome(state: str) -> None:
    world = World()
    world.sight()
    [capture] = world.stored.values()
    ending = "quiet" if state == "removing" else None
    mirrors = tuple(replace(m, state=state) for m in capture.mirrors)  # type: ignore[arg-type]
    world.stored[capture.id] = replace(capture, state=state, mirrors=mirrors, ending=ending)  # type: ignore[arg-type]
    writes = world.switches["leaf1"].writes
    world.start()
    world.run(3)
    if state == "installing":
        assert (world.states(), world.switches["leaf1"].writes) == (["active"], writes)
    else:
        assert (world.states(), world.rules()) == ([], {})


def test_rules_flushed_behind_our_back_come_back_and_orphans_go() -> None:
    world = World()
    world.sight()
    switch = world.switches["leaf1"]
    [(name, rule)] = switch.rules.items()
    switch.rules = {
        "sentinel_cdead00000000": replace(rule),
        "theirs": replace(rule, owner="other", deadline=1e12),
        "by_hand": replace(rule, deadline=1e12),
    }
    world.run(60)
    assert sorted(switch.rules) == ["by_hand", name, "theirs"]
    assert world.engine.counters["orphans_removed"] == 1
    assert world.engine.counters["drift_restored"] == 1
    assert world.states() == ["active"]


def test_an_altered_rule_is_put_right_at_reconciliation() -> None:
    world = World()
    world.sight()
    [rule] = world.switches["leaf1"].rules.values()
    right, rule.lines = rule.lines, ("[iptables]", "-A FORWARD -j DROP")
    world.tell(events.Reconcile())
    assert only_rule(world) == right


def test_a_dead_switch_is_asked_again_with_growing_pauses_and_installed_when_it_is_back() -> None:
    world = World()
    world.switches["leaf1"].fault = "connection"
    world.sight()
    world.run(120)
    assert world.states() in (["failed"], ["installing"])
    installs = [c for c in world.switches["leaf1"].requests if isinstance(c, actions.Install)]
    assert 4 <= len(installs) <= 9
    world.switches["leaf1"].fault = ""
    world.run(61)
    assert world.states() == ["active"]


def test_a_lost_answer_leaves_no_second_rule_and_no_orphan() -> None:
    world = World()
    world.switches["leaf1"].mute = True
    world.sight()
    world.run(10)
    world.switches["leaf1"].mute = False
    world.run(60)
    assert len(world.switches["leaf1"].rules) == 1
    world.run(700)
    assert world.rules() == {}


def test_a_switch_that_refuses_the_rule_is_not_asked_again_and_another_observer_takes_over() -> None:
    world = World()
    world.switches["leaf1"].fault = "http_400"
    world.sight(observers=[observer("10.0.1.1", 9), observer("10.0.1.9", 5)])
    world.switches["leaf1"].fault = ""
    world.run(3)
    assert list(world.rules()) == ["spine1"]
    assert world.states() == ["active"]


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"local": DESTINATION}, "protected"),
        ({"local": "10.0.1.2"}, "protected"),
        ({"local": "10.9.0.1"}, "never_capture"),
        ({"local": "127.0.0.1"}, "not_a_host"),
        ({"local": "fd00::1", "listed": "2001:db8::1"}, "no_ipv6"),
        ({"observers": [observer("10.0.7.7")]}, "no_switch"),
    ],
)
def test_what_cannot_be_captured_says_why(kwargs: dict[str, object], reason: str) -> None:
    world = World(policy=replace(AUTOMATIC, never_capture=("10.9.0.0/16",)))
    world.sight(**kwargs)
    assert world.rules() == {}
    [refusal] = world.engine.refusals.values()
    assert refusal.reason == reason
    assert world.engine.counters[f"refused_{reason}"] == 1


def test_ipv6_pairs_go_where_the_switch_takes_them() -> None:
    world = World([leaf("leaf1", "10.0.1.1", ipv6=True)])
    world.sight(local="fd00::1", listed="2001:db8::1")
    assert only_rule(world)[0] == "[ip6tables]"


def test_an_unreachable_erspan_destination_is_said_and_another_switch_is_taken() -> None:
    world = World([leaf("leaf1", "10.0.1.1"), spine("spine1", "10.0.1.9")])
    world.switches["leaf1"].unreachable = "no neighbour for 10.0.0.70"
    world.tell(events.Reconcile())
    world.sight()
    assert world.engine.refusals[detection().id].reason == "unreachable"
    world.sight(observers=[observer("10.0.1.1"), observer("10.0.1.9")])
    assert list(world.rules()) == ["spine1"]


def test_a_switch_that_reaches_the_destination_again_is_used_within_seconds() -> None:
    world = World([leaf("leaf1", "10.0.1.1")])
    world.switches["leaf1"].unreachable = "no neighbour for 10.0.0.70"
    world.tell(events.Reconcile())
    world.sight()
    assert world.engine.refusals[detection().id].reason == "unreachable"
    world.switches["leaf1"].unreachable = None
    world.run(7)
    world.sight()
    assert list(world.rules()) == ["leaf1"]


def test_manual_waits_for_approval_and_shows_the_exact_rule() -> None:
    world = World(policy=replace(AUTOMATIC, mode="manual"))
    world.sight()
    [capture] = world.engine.live()
    assert (capture.state, world.rules()) == ("pending", {})
    assert "--src-ip 10.0.1.1" in capture.mirrors[0].lines[1]
    world.tell(events.Approved(capture.id, "ada"))
    assert list(world.rules()) == ["leaf1"]
    world.tell(events.DetectionEnded(detection(), delisted=True))
    assert world.rules() == {}


def test_dry_run_pushes_nothing_whoever_asks() -> None:
    world = World(policy=replace(AUTOMATIC, mode="dry-run"))
    world.sight()
    [capture] = world.engine.live()
    world.tell(events.Approved(capture.id, "ada"))
    world.tell(events.StartRequested(detection(local="10.0.0.11"), "ada"))
    world.run(700)
    assert not [c for s in world.switches.values() for c in s.requests if isinstance(c, actions.Install)]
    assert {c.state for c in world.stored.values()} == {"ended"}


def test_new_captures_per_minute_are_bounded_per_switch() -> None:
    world = World(policy=replace(AUTOMATIC, max_new_per_minute=5))
    for last in range(50):
        world.sight(local=f"10.0.2.{last}")
    world.sight(local="10.0.3.1", observers=[observer("10.0.1.2")])
    assert {name: len(rules) for name, rules in world.rules().items()} == {"leaf1": 5, "leaf2": 1}
    assert world.engine.counters["refused_rate"] == 45
    world.run(61)
    world.sight(local="10.0.2.49")
    assert len(world.rules()["leaf1"]) == 6


def test_an_agent_outside_the_inventory_becomes_a_switch_when_its_shim_answers() -> None:
    world = World(agents=["10.0.5.5"])
    world.sight(observers=[replace(observer("10.0.5.5"), sender_is_agent=False)])
    assert not [c for c in world.actions if isinstance(c, actions.Probe)]
    world.sight(observers=[observer("10.0.5.5")])
    world.sight(observers=[observer("10.0.5.5")])
    assert [c for c in world.actions if isinstance(c, actions.Probe)] == [actions.Probe("10.0.5.5")]
    assert list(world.rules()) == ["10.0.5.5"]


def test_a_removal_that_fails_is_repeated_and_shown_until_the_lease_has_ended_it() -> None:
    world = World()
    world.sight()
    world.switches["leaf1"].fault = "timeout"
    world.tell(events.StopRequested(world.engine.live()[0].id, "ada"))
    assert world.states() == ["failed"]
    world.run(250)
    assert world.states() == []
    assert world.engine.counters["ended_by_lease"] == 1
    assert world.rules() == {}


def test_a_silent_switch_does_not_keep_a_quiet_capture_for_ever() -> None:
    world = World()
    world.sight()
    world.switches["leaf1"].fault = "timeout"
    world.run(1200)
    assert world.states() == []


def test_a_switch_that_left_the_inventory_ends_its_captures() -> None:
    world = World()
    world.sight()
    world.inventory = [Switch("leaf9", ("10.0.1.99",), "https://leaf9:8443", "10.0.1.99")]
    world.start()
    world.run(2)
    [capture] = world.stored.values()
    assert capture.state == "ended"
    assert capture.ending == "switch_gone"
    assert world.engine.counters["ended_switch_gone"] == 1


def test_leases_are_renewed_in_bulk_every_third_of_them() -> None:
    world = World()
    for last in range(10):
        world.sight(local=f"10.0.2.{last}")
    world.switches["leaf1"].requests.clear()
    world.run(240)
    asked = [type(c).__name__ for c in world.switches["leaf1"].requests]
    assert set(asked) == {"Renew"}
    assert 6 <= len(asked) <= 7


def test_thresholds_and_priorities_are_by_feed_and_group() -> None:
    thresholds = (
        make_threshold(group="c2", evidence="initiated", priority=5),
        make_threshold(feed="test", min_samples=10, min_bytes=50, directions=("both",)),
    )
    world = World([leaf("leaf1", "10.0.1.1", max_rules=2)], policy=make_policy(thresholds=thresholds))
    other = (Indicator("198.51.100.7/32", "test", "spam"),)
    reasons = []
    for changes in ({"samples": 3}, {"samples": 10, "bytes": 1}, {"samples": 10, "direction": "outbound"}):
        few = replace(detection(local="10.0.0.20"), indicators=other, **changes)
        world.tell(events.Sighted(few))
        reasons.append(world.engine.refusals[few.id].reason)
    assert reasons == ["min_samples", "min_bytes", "direction"]
    enough = replace(detection(local="10.0.0.20"), indicators=other, samples=10, direction="both")
    world.tell(events.Sighted(enough))
    assert world.states() == ["active"]
    world.run(61)
    world.sight(local="10.0.0.21")
    world.run(40)
    assert [(c.local_ip, c.state) for c in world.engine.live()] == [("10.0.0.21", "active")]
    world.sight(local="10.0.0.22", evidence="answered", observers=[observer("10.0.1.1", 99)])
    assert world.engine.refusals[detection(local="10.0.0.22").id].reason == "evidence"


def test_a_flood_seen_by_the_counter_ends_its_mirror_and_one_seen_by_sflow_is_refused() -> None:
    world = World(policy=replace(AUTOMATIC, flood_bps=1_000_000))
    world.sight()
    for _ in range(90):
        world.switches["leaf1"].packet(HOST, LISTED, octets=1_000_000)
        world.run(1)
    assert world.rules() == {}
    world.sight()
    assert world.engine.refusals[detection().id].reason == "flood"
    many = replace(detection(local="10.0.0.11"), samples=100, bytes=10**9, last_seen=10.0)
    world.tell(events.Sighted(many))
    assert world.engine.refusals[many.id].reason == "flood"
    assert world.rules() == {}


def test_a_clock_set_forward_during_a_restart_does_not_end_what_still_talks() -> None:
    world = World()
    world.sight()
    world.run(60)
    world.wall += 1e7
    stored = world.stored[world.engine.live()[0].id]
    world.stored[stored.id] = replace(stored, ends_at=world.wall + 1000)
    world.start()
    world.run(30)
    assert world.states() == ["active"]


def test_nothing_is_installed_on_a_switch_before_it_told_what_it_holds() -> None:
    """After the store was lost, its orphan may be of the very pair that is wanted: never two rules for one pair."""
    world = World()
    world.sight()
    world.run(1)
    world.stored.clear()
    world.switches["leaf1"].fault = "nonsense"
    world.start()
    world.sight()
    assert world.states() == ["queued"]
    assert world.engine.live()[0].note
    world.switches["leaf1"].fault = ""
    world.run(40)
    assert world.states() == ["active"]
    assert len(world.rules()["leaf1"]) == 1
