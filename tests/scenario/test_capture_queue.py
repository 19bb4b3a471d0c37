# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What does not fit: who waits, who goes first, who must go for whom, and who is left in peace."""

from dataclasses import replace

from sentinel.capture import actions, events
from sentinel.capture.policy import Policy
from sentinel.model import Detection, Indicator
from tests.support.fabric import LISTED, FakeSwitch, World, detection, leaf, observer
from tests.support.policies import make_policy

AUTOMATIC = make_policy()
ONE_PAIR = leaf("leaf1", "10.0.1.1", max_rules=2)
MBIT = 7_500_000  # octets of a detection whose rate is estimated at 1 Mbit/s


def heavy(local: str, mbit: float, *, evidence: str = "initiated", agent: str = "10.0.1.1") -> Detection:
    return replace(detection(local=local, evidence=evidence, observers=[observer(agent, 9)]), bytes=round(mbit * MBIT))


def pairs(world: World) -> dict[str, str]:
    return {c.local_ip: c.state for c in world.engine.live()}


def test_over_budget_is_queued_visibly_and_placed_when_room_comes() -> None:
    world = World([leaf("leaf1", "10.0.1.1", max_rules=4)])
    for last in range(3):
        world.sight(local=f"10.0.0.{20 + last}")
    assert world.states() == ["active", "active", "queued"]
    assert world.engine.live()[2].note
    world.run(5)
    world.tell(events.StopRequested(world.engine.live()[0].id, "ada"))
    world.run(3)
    assert world.states() == ["active", "active"]


def test_full_behind_our_back_is_queued_and_tried_again() -> None:
    world = World([leaf("leaf1", "10.0.1.1", max_rules=10)])
    world.switches["leaf1"].max_rules = 1
    world.sight()
    assert world.states() == ["queued"]
    world.switches["leaf1"].max_rules = 10
    world.run(40)
    assert world.states() == ["active"]


def test_initiated_goes_before_answered_in_the_queue() -> None:
    world = World([leaf("leaf1", "10.0.1.1", max_rules=2)])
    world.sight(local="10.0.0.20")
    world.sight(local="10.0.0.21", evidence="answered", observers=[observer("10.0.1.1", 9)])
    world.sight(local="10.0.0.22")
    world.tell(events.StopRequested(world.engine.live()[0].id, "ada"))
    world.run(3)
    assert {c.local_ip: c.state for c in world.engine.live()} == {"10.0.0.21": "queued", "10.0.0.22": "active"}


def test_the_estimated_load_is_bounded_and_what_does_not_fit_waits_visibly() -> None:
    world = World(policy=replace(AUTOMATIC, max_bps_per_switch=2_000_000))
    for last in range(3):
        heavy = replace(detection(local=f"10.0.0.{20 + last}"), bytes=7_500_000)
        world.tell(events.Sighted(heavy))
    assert world.states() == ["active", "active", "queued"]
    assert world.engine.live()[2].note
    assert world.engine.budget.bps("leaf1") == 2_000_000


def test_a_load_that_grows_beyond_the_limit_ends_the_least_urgent() -> None:
    world = World(policy=replace(AUTOMATIC, max_bps=810_000))
    world.sight(local="10.0.0.20")
    world.sight(local="10.0.0.21", evidence="answered", observers=[observer("10.0.1.1", 9)])
    for _ in range(90):
        world.switches["leaf1"].packet("10.0.0.20", LISTED, octets=100_000)
        world.run(1)
    assert [c.local_ip for c in world.engine.live()] == ["10.0.0.20"]


def test_something_more_urgent_evicts_but_not_in_the_first_minute() -> None:
    world = World([leaf("leaf1", "10.0.1.1", max_rules=2)])
    world.sight(local="10.0.0.20", evidence="answered", observers=[observer("10.0.1.1", 9)])
    world.run(30)
    world.sight(local="10.0.0.21")
    assert [c.state for c in world.engine.live()] == ["active", "queued"]
    world.run(100)
    assert [(c.local_ip, c.state) for c in world.engine.live()] == [("10.0.0.21", "active")]
    evicted = next(c for c in world.stored.values() if c.local_ip == "10.0.0.20")
    assert evicted.ending == "evicted"
    world.sight(local="10.0.0.22")
    world.run(100)
    assert [c.state for c in world.engine.live()] == ["active", "queued"]


def test_free_tcam_bounds_what_is_placed() -> None:
    world = World()
    world.tell(events.TableSpace("10.0.1.1", 3))
    world.sight()
    world.sight(local="10.0.0.11")
    assert world.states() == ["active", "queued"]
    world.tell(events.TableSpace("10.0.1.1", 8))
    world.run(40)
    assert world.states() == ["active", "active"]


def test_of_equals_the_more_surely_listed_goes_first_but_ends_nobody() -> None:
    world = World([ONE_PAIR], policy=replace(AUTOMATIC, confidence={"sure": 90, "unsure": 10}))
    for last, feed in enumerate(("unsure", "unsure", "nobody-said", "sure")):
        seen = detection(local=f"10.0.0.2{last}")
        listing = (Indicator(seen.indicators[0].prefix, feed, "c2"),)
        world.tell(events.Sighted(replace(seen, indicators=listing)))
    world.run(100)
    order = []
    while world.states():
        [active] = [c for c in world.engine.live() if c.state == "active"]
        order.append(active.local_ip)
        world.tell(events.StopRequested(active.id, "ada"))
    assert order == ["10.0.0.20", "10.0.0.23", "10.0.0.22", "10.0.0.21"]


def test_the_room_an_eviction_makes_goes_to_whom_it_was_made_for_before_anybody_else() -> None:
    world = World([ONE_PAIR])
    world.sight(local="10.0.0.20", evidence="answered", observers=[observer("10.0.1.1", 9)])
    world.run(61)
    world.sight(local="10.0.0.21")
    # The evicted pair is sampled again in the same second.
    world.sight(local="10.0.0.20", evidence="answered", observers=[observer("10.0.1.1", 10)])
    assert pairs(world) == {"10.0.0.21": "active", "10.0.0.20": "queued"}


def test_the_first_minute_begins_when_the_mirror_does_however_long_it_was_queued() -> None:
    world = World([ONE_PAIR])
    world.sight(local="10.0.0.20")
    world.sight(local="10.0.0.21", evidence="answered", observers=[observer("10.0.1.1", 9)])
    world.run(90)
    world.tell(events.StopRequested(world.engine.live()[0].id, "ada"))
    world.sight(local="10.0.0.22")
    world.run(50)
    assert pairs(world) == {"10.0.0.21": "active", "10.0.0.22": "queued"}
    world.run(45)
    assert pairs(world) == {"10.0.0.22": "active"}


def test_equals_take_turns_of_five_minutes_and_what_a_person_asked_for_is_not_timed() -> None:
    world = World([ONE_PAIR])
    world.sight(local="10.0.0.20")
    world.run(240)
    world.sight(local="10.0.0.21")
    world.run(30)
    assert pairs(world) == {"10.0.0.20": "active", "10.0.0.21": "queued"}
    world.run(65)
    assert pairs(world) == {"10.0.0.21": "active"}
    turned = next(c for c in world.stored.values() if c.local_ip == "10.0.0.20")
    assert turned.ending == "evicted"
    world.tell(events.StopRequested(world.engine.live()[0].id, "ada"))
    for local in ("10.0.0.30", "10.0.0.31"):
        world.tell(events.StartRequested(detection(local=local), "ada"))
    world.run(400)
    assert pairs(world) == {"10.0.0.30": "active", "10.0.0.31": "queued"}


def test_the_room_of_an_orphan_that_goes_is_given_away_at_once() -> None:
    world = World([ONE_PAIR])
    orphan = events.RuleOnSwitch(0, 0, True, ())
    removal = world.engine.handle(events.Listed("leaf1", {"sentinel_cdead00000000": orphan}, False, 100), world.now)
    assert removal == [actions.Remove("leaf1", "sentinel_cdead00000000")]
    world.sight()
    assert world.states() == ["queued"]
    world.tell(events.Removed("leaf1", "sentinel_cdead00000000"))
    assert world.states() == ["active"]


def test_without_eviction_nobody_goes() -> None:
    world = World([ONE_PAIR], policy=replace(AUTOMATIC, evict=False))
    world.sight(local="10.0.0.20", evidence="answered", observers=[observer("10.0.1.1", 9)])
    world.run(400)
    world.sight(local="10.0.0.21")
    world.run(60)
    assert pairs(world) == {"10.0.0.20": "active", "10.0.0.21": "queued"}


# --- bit/s ---------------------------------------------------------------------------------------


def loaded(policy: Policy, *there: Detection) -> World:
    """A fabric that has mirrored these for just over a minute; their switches have not counted yet."""
    world = World(policy=policy)
    for one in there:
        world.tell(events.Sighted(one))
        world.mono += 1
    world.mono += 61
    world.wall += 61
    assert set(world.states()) == {"active"}
    return world


def test_something_more_urgent_evicts_for_bit_per_second_but_not_in_the_first_minute() -> None:
    world = World(policy=replace(AUTOMATIC, max_bps_per_switch=2_000_000))
    world.tell(events.Sighted(heavy("10.0.0.20", 1, evidence="answered")))
    world.tell(events.Sighted(heavy("10.0.0.21", 1)))
    world.tell(events.Sighted(heavy("10.0.0.22", 1)))
    assert pairs(world) == {"10.0.0.20": "active", "10.0.0.21": "active", "10.0.0.22": "queued"}
    world.mono += 61
    world.tell(events.Tick())
    assert pairs(world) == {"10.0.0.21": "active", "10.0.0.22": "active"}
    assert world.engine.budget.bps("leaf1") == 2_000_000


def test_as_many_go_as_are_needed_and_no_more() -> None:
    there = [heavy(f"10.0.0.2{n}", mbit, evidence="answered") for n, mbit in enumerate((0.2, 1.8, 0.9))]
    world = loaded(replace(AUTOMATIC, max_bps_per_switch=3_000_000), *there)
    world.tell(events.Sighted(heavy("10.0.0.30", 1.5)))
    assert pairs(world) == {"10.0.0.20": "active", "10.0.0.22": "active", "10.0.0.30": "active"}
    world = loaded(replace(AUTOMATIC, max_bps_per_switch=3_000_000), *there)
    world.tell(events.Sighted(heavy("10.0.0.30", 2.9)))
    assert pairs(world) == {"10.0.0.30": "active"}


def test_nobody_goes_in_vain() -> None:
    there = [heavy("10.0.0.20", 1, evidence="answered"), heavy("10.0.0.21", 1)]
    world = loaded(replace(AUTOMATIC, max_bps_per_switch=2_000_000), *there)
    world.tell(events.Sighted(heavy("10.0.0.30", 2)))
    world.tell(events.Sighted(heavy("10.0.0.31", 5)))
    assert pairs(world) == dict.fromkeys(("10.0.0.20", "10.0.0.21"), "active") | dict.fromkeys(
        ("10.0.0.30", "10.0.0.31"), "queued"
    )


def test_one_newcomer_is_not_worth_more_than_eight() -> None:
    there = [heavy(f"10.0.0.{20 + n}", 0.1, evidence="answered") for n in range(10)]
    world = loaded(replace(AUTOMATIC, max_bps_per_switch=1_000_000), *there)
    world.tell(events.Sighted(heavy("10.0.0.30", 1)))
    assert world.states() == ["active"] * 10 + ["queued"]
    world.tell(events.Sighted(heavy("10.0.0.31", 0.8)))
    assert (pairs(world)["10.0.0.31"], len(world.states())) == ("active", 4)


def test_for_the_destination_something_less_urgent_goes_on_another_switch() -> None:
    there = heavy("10.0.0.20", 2, evidence="answered", agent="10.0.1.2")
    world = loaded(replace(AUTOMATIC, max_bps=2_000_000), there)
    world.tell(events.Sighted(heavy("10.0.0.30", 2)))
    assert pairs(world) == {"10.0.0.30": "active"}
    assert list(world.rules()) == ["leaf1"]


def test_equals_take_no_turns_for_bit_per_second() -> None:
    world = World(policy=replace(AUTOMATIC, max_bps_per_switch=1_000_000, quiet_s=1e5, lease_s=1e6))
    world.tell(events.Sighted(heavy("10.0.0.20", 1)))
    world.run(400)
    world.tell(events.Sighted(heavy("10.0.0.30", 1)))
    world.run(40)
    assert pairs(world) == {"10.0.0.20": "active", "10.0.0.30": "queued"}


# --- a switch that is only just found ------------------------------------------------------------


def test_a_queued_capture_goes_to_the_unlisted_switch_that_saw_it_as_soon_as_that_answers() -> None:
    world = World([ONE_PAIR], agents=["10.0.5.5"])
    world.sight(local="10.0.0.20")
    world.sight(local="10.0.0.21", observers=[observer("10.0.1.1"), observer("10.0.5.5")])
    assert sorted(world.rules()) == ["10.0.5.5", "leaf1"]


def test_what_only_an_unknown_agent_saw_is_captured_without_another_sample() -> None:
    world = World(agents=["10.0.5.5"])
    world.sight(observers=[observer("10.0.5.5")])
    assert list(world.rules()) == ["10.0.5.5"]


def test_a_detection_that_ended_meanwhile_or_whose_agent_is_no_switch_is_not_kept() -> None:
    world = World(agents=["10.0.5.5", "10.0.5.6"])
    unheard = world.engine.handle(events.Sighted(detection(observers=[observer("10.0.5.5")])), world.now)
    assert unheard == [actions.Probe("10.0.5.5")]
    world.tell(events.DetectionEnded(detection(), delisted=True))
    world.switches["10.0.5.5"] = FakeSwitch("10.0.5.5")
    world.tell(world.switches["10.0.5.5"].execute(unheard[0], world.mono))  # type: ignore[arg-type]  # a Probe
    world.switches["10.0.5.6"] = FakeSwitch("10.0.5.6", fault="connection")
    world.sight(observers=[observer("10.0.5.6")])
    world.switches["10.0.5.6"].fault = ""
    world.tell(world.switches["10.0.5.6"].execute(actions.Probe("10.0.5.6"), world.mono))
    assert world.rules() == {}
