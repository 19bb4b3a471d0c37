# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The texts of the capture room: each sentence a person reads, asserted here and nowhere else."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from sentinel.capture import events
from sentinel.model import Capture, Mirror, Switch
from tests.support.fabric import DESTINATION, HOST, LISTED, World, detection, leaf, observer
from tests.support.policies import make_policy, make_threshold

AUTOMATIC = make_policy()
ONE_PAIR = leaf("leaf1", "10.0.1.1", max_rules=2)


def latest(world: World) -> Capture:
    return list(world.stored.values())[-1]


def first(world: World) -> Capture:
    return next(iter(world.stored.values()))


# --- endings -------------------------------------------------------------------------------------


def quiet() -> World:
    world = World()
    world.sight()
    world.run(700)
    return world


def quiet_and_silent() -> World:
    world = World()
    world.sight()
    world.switches["leaf1"].fault = "timeout"
    world.run(1200)
    return world


def longest() -> World:
    world = World(policy=replace(AUTOMATIC, longest_s=60.0))
    world.sight()
    world.run(70)
    return world


def delisted() -> World:
    world = World()
    world.sight()
    world.tell(events.DetectionEnded(detection(), delisted=True))
    return world


def closed() -> World:
    world = World(policy=replace(AUTOMATIC, mode="manual"))
    world.sight()
    world.tell(events.DetectionEnded(detection(), delisted=False))
    return world


def stopped() -> World:
    world = World()
    world.sight()
    world.tell(events.StopRequested(world.engine.live()[0].id, "ada"))
    return world


def evicted() -> World:
    world = World([ONE_PAIR])
    world.sight(local="10.0.0.20", evidence="answered", observers=[observer("10.0.1.1", 9)])
    world.run(61)
    world.sight(local="10.0.0.21")
    return world


def evicted_in_turn() -> World:
    world = World([ONE_PAIR])
    world.sight(local="10.0.0.20")
    world.run(301)
    world.sight(local="10.0.0.21")
    return world


def flooded() -> World:
    world = World(policy=replace(AUTOMATIC, flood_bps=1_000_000))
    world.sight()
    for _ in range(90):
        world.switches["leaf1"].packet(HOST, LISTED, octets=1_000_000)
        world.run(1)
    return world


def overloaded() -> World:
    world = World(policy=replace(AUTOMATIC, max_bps_per_switch=1_000_000))
    world.sight()
    for _ in range(90):
        world.switches["leaf1"].packet(HOST, LISTED, octets=1_000_000)
        world.run(1)
    return world


def without_its_switch() -> World:
    world = World()
    world.sight()
    world.inventory = [Switch("leaf9", ("10.0.1.99",), "https://leaf9:8443", "10.0.1.99")]
    world.start()
    world.run(2)
    return world


@pytest.mark.parametrize(
    ("play", "text"),
    [
        (quiet, "quiet"),
        (quiet_and_silent, "quiet, and leaf1 does not answer: its lease ends the rule"),
        (longest, "longest reached"),
        (delisted, "delisted"),
        (closed, "the detection closed"),
        (stopped, "stopped by ada"),
        (evicted, f"evicted for 10.0.0.21 - {LISTED}, which is more urgent"),
        (evicted_in_turn, f"evicted for 10.0.0.21 - {LISTED}, which was not mirrored yet"),
        (flooded, "flood of some 8 Mbit/s: sFlow shows it, a mirror only repeats it"),
        (overloaded, "overload: leaf1 would mirror more than 1 Mbit/s"),
        (without_its_switch, "leaf1 is no longer a switch of ours: its lease ends the rule"),
    ],
)
def test_an_ended_capture_says_why(play: Callable[[], World], text: str) -> None:
    capture = first(play())
    assert (capture.state, capture.note) == ("ended", text)


# --- states --------------------------------------------------------------------------------------


def installed() -> World:
    world = World()
    world.sight()
    return world


def crowded() -> World:
    world = World([ONE_PAIR])
    world.sight()
    world.sight(local="10.0.0.21")
    return world


def heavy() -> World:
    world = World(policy=replace(AUTOMATIC, max_bps_per_switch=1_000_000))
    for last in range(2):
        world.tell(events.Sighted(replace(detection(local=f"10.0.0.{20 + last}"), bytes=7_500_000)))
    return world


def unlisted_switch() -> World:
    world = World()
    world.switches["leaf1"].fault = "nonsense"
    world.start()
    world.sight()
    return world


def failing() -> World:
    world = installed()
    world.switches["leaf1"].fault = "timeout"
    world.sight(local="10.0.0.21")
    return world


def not_removed() -> World:
    world = installed()
    world.switches["leaf1"].fault = "timeout"
    world.tell(events.StopRequested(world.engine.live()[0].id, "ada"))
    return world


def adopted() -> World:
    world = installed()
    world.stored = {c.id: replace(c, state="installing", mirrors=_installing(c)) for c in world.stored.values()}
    world.start()
    return world


def _installing(capture: Capture) -> tuple[Mirror, ...]:
    return tuple(replace(mirror, state="installing") for mirror in capture.mirrors)


def extended() -> World:
    world = installed()
    world.tell(events.Extended(world.engine.live()[0].id, 60.0, "ada"))
    return world


def manual() -> World:
    world = World(policy=replace(AUTOMATIC, mode="manual"))
    world.sight()
    return world


def dry_run() -> World:
    world = World(policy=replace(AUTOMATIC, mode="dry-run"))
    world.sight()
    return world


@pytest.mark.parametrize(
    ("play", "state", "text"),
    [
        (installed, "active", "mirrored by leaf1"),
        (crowded, "queued", "leaf1 has no room for 2 more entries"),
        (heavy, "queued", "leaf1 would mirror more than 1 Mbit/s"),
        (unlisted_switch, "queued", "leaf1 has not told yet what it holds"),
        (failing, "failed", "timeout"),
        (not_removed, "failed", "stopped by ada; not removed yet: timeout"),
        (adopted, "active", "adopted on leaf1"),
        (extended, "active", "extended by ada"),
        (manual, "pending", "waits for approval; rule for leaf1"),
        (dry_run, "pending", "dry run: nothing is installed; rule for leaf1"),
    ],
)
def test_a_live_capture_says_why_it_is_in_its_state(play: Callable[[], World], state: str, text: str) -> None:
    capture = latest(play())
    assert (capture.state, capture.note) == (state, text)


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "reason", "text"),
    [
        ({"evidence": "contacted"}, "evidence", "10.0.0.10 was only contacted and never answered"),
        ({"evidence": "answered"}, "min_samples", "answered, but only 1 of 3 samples yet"),
        ({"listed": "10.0.1.1"}, "protected", "10.0.1.1 is an agent of leaf1"),
        ({"listed": DESTINATION}, "protected", "10.0.0.70 is the ERSPAN destination"),
        ({"listed": "10.9.0.1"}, "never_capture", "10.9.0.1 is in never_capture (10.9.0.0/16)"),
        ({"local": "127.0.0.1"}, "not_a_host", "127.0.0.1 is not the address of one machine"),
        ({"local": "fd00::1", "listed": "2001:db8::1"}, "no_ipv6", "leaf1 takes no IPv6 rules"),
        (
            {"observers": [observer("10.0.7.7")]},
            "no_switch",
            "agent 10.0.7.7 is not a switch we can configure",
        ),
        (
            {"observers": [observer("10.0.1.9", 99, capturable=False, vni=10)]},
            "only_inside",
            "not capturable: only inside vni 10 at spine1",
        ),
    ],
)
def test_a_refusal_says_why(kwargs: dict[str, object], reason: str, text: str) -> None:
    world = World(policy=replace(AUTOMATIC, never_capture=("10.9.0.0/16",)))
    world.sight(**kwargs)
    [refusal] = world.engine.refusals.values()
    assert (refusal.reason, refusal.detail) == (reason, text)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"evidence": "answered", "samples": 99}, "answered, where initiated is asked for"),
        ({"bytes": 1}, "some 1 octets yet, 50 are asked for"),
        ({"direction": "inbound"}, "inbound, where outbound, both is asked for"),
    ],
)
def test_a_threshold_says_what_it_asks_for(changes: dict[str, object], text: str) -> None:
    threshold = make_threshold(evidence="initiated", min_bytes=50, directions=("outbound", "both"))
    world = World(policy=make_policy(thresholds=(threshold,)))
    world.tell(events.Sighted(replace(detection(), **changes)))  # type: ignore[arg-type]  # tables in tests give any type
    assert [refusal.detail for refusal in world.engine.refusals.values()] == [text]


@pytest.mark.parametrize(
    ("play", "reason", "text"),
    [
        (stopped, "held", "stopped by ada; not captured again for 60 min"),
        (
            flooded,
            "flood",
            "flood of some 8 Mbit/s: sFlow shows it, a mirror only repeats it; not captured again for ",
        ),
    ],
)
@pytest.mark.parametrize("restart", [False, True])
def test_a_pair_held_back_says_why_and_how_long(
    play: Callable[[], World], reason: str, text: str, restart: bool
) -> None:
    world = play()
    if restart:
        world.start()
    world.sight()
    [refusal] = world.engine.refusals.values()
    assert refusal.reason == reason
    assert refusal.detail.startswith(text)


def test_a_flood_says_how_much_it_is() -> None:
    world = World(policy=replace(AUTOMATIC, flood_bps=1_000_000))
    world.tell(events.Sighted(replace(detection(), samples=100, bytes=10**7, last_seen=10.0)))
    [refusal] = world.engine.refusals.values()
    assert refusal.detail == "a flood of some 8 Mbit/s; sFlow shows it, a mirror would only repeat it"


def test_too_many_new_ones_in_a_minute_are_refused_in_words() -> None:
    world = World(policy=replace(AUTOMATIC, max_new_per_minute=1))
    world.sight()
    world.sight(local="10.0.0.21")
    [refusal] = world.engine.refusals.values()
    assert (refusal.reason, refusal.detail) == ("rate", "leaf1, or the fabric, had all its new captures of this minute")


# --- reasons -------------------------------------------------------------------------------------


def test_a_capture_says_what_began_it_and_who_approved_it() -> None:
    world = manual()
    world.tell(events.Approved(world.engine.live()[0].id, "ada"))
    assert latest(world).reason == f"initiated, {LISTED}/32 in test (c2); approved by ada"
