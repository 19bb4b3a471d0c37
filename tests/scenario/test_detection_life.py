# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Detections as dialogues: a sample comes, the detector says something, or nothing. Every event must be asserted."""

from collections.abc import Iterator
from typing import Any

import pytest

from sentinel import limits
from sentinel.detect.engine import Detector
from sentinel.detect.events import DetectionEvent
from sentinel.model import Detection, Indicator, Match
from tests.support.traffic import ACK, INDICATORS, LEAF1, LISTED, LOCAL, RST, SYN, match, reply

LEAF2, SPINE = "10.0.0.252", "10.0.0.254"


class Dialogue:
    """Feeds a detector and insists that everything it says is heard."""

    def __init__(self, **options: Any) -> None:
        self.detector = Detector(["10.0.0.0/8"], **options)
        self._unheard: list[DetectionEvent] = []

    def sample(self, one: Match, now: float = 0.0) -> None:
        self._take(self.detector.observe(one, now))

    def tick(self, now: float) -> None:
        self._take(self.detector.expire(now))

    def lists(self, indicators: tuple[Indicator, ...], now: float) -> None:
        self._take(self.detector.delisted(lambda ip: indicators, now))

    def says(self, kind: str, *why: str) -> Detection:
        assert self._unheard, f"nothing was said, expected {kind}"
        event = self._unheard.pop(0)
        assert (event.kind, event.why) == (kind, why)
        return event.detection

    def silent(self) -> None:
        assert not self._unheard, f"unasserted: {[(event.kind, event.why) for event in self._unheard]}"

    def _take(self, events: list[DetectionEvent]) -> None:
        self.silent()
        self._unheard = events


@pytest.fixture
def dialogue() -> Iterator[Dialogue]:
    one = Dialogue()
    yield one
    one.silent()


def test_a_scanner_is_answered_and_then_we_call_back(dialogue: Dialogue) -> None:
    scan = {"src_port": 40000, "dst_port": 22, "tcp_flags": SYN}
    dialogue.sample(reply(**scan), 0.0)
    opened = dialogue.says("opened")
    assert (opened.direction, opened.evidence, opened.state) == ("inbound", "contacted", "open")
    assert (opened.src_ip, opened.dst_ip, opened.src_port, opened.dst_port) == (LISTED, LOCAL, 40000, 22)

    dialogue.sample(reply(**scan), 0.5)
    dialogue.silent()

    dialogue.sample(match(src_port=22, dst_port=40000, tcp_flags=RST | ACK), 0.6)
    answered = dialogue.says("changed", "evidence", "direction", "observer", "capturable", "min_samples")
    assert (answered.direction, answered.evidence, answered.samples) == ("both", "answered", 3)

    dialogue.sample(match(src_port=22, dst_port=40000, tcp_flags=ACK), 0.7)
    dialogue.silent()

    dialogue.sample(match(), 0.8)
    called = dialogue.says("changed", "evidence")
    assert (called.evidence, called.id) == ("initiated", opened.id)

    dialogue.sample(match(src_port=22, dst_port=40000, tcp_flags=RST), 0.9)
    assert dialogue.detector.get(opened.id).evidence == "initiated"  # type: ignore[union-attr]  # it is open


def test_a_beacon_stays_fresh_without_an_event_per_sample(dialogue: Dialogue) -> None:
    dialogue.sample(match(), 0.0)
    dialogue.says("opened")
    dialogue.sample(match(), 0.2)
    dialogue.sample(match(seen_at=1_000.4), 0.4)
    assert dialogue.says("changed", "min_samples").samples == 3
    for tenth in range(5, 14):
        dialogue.sample(match(), tenth / 10)
        dialogue.silent()
    dialogue.sample(match(seen_at=1_001.4), 1.5)
    fresh = dialogue.says("sighted")
    assert (fresh.last_seen, fresh.first_seen, fresh.samples) == (1_001.4, 1_000.0, 13)


def test_it_closes_after_the_quiet_period_and_opens_anew(dialogue: Dialogue) -> None:
    dialogue.sample(match(seen_at=5_000.0), 100.0)
    first = dialogue.says("opened")
    dialogue.tick(3_699.9)
    dialogue.silent()
    dialogue.tick(3_700.0)
    closed = dialogue.says("closed", "quiet")
    assert (closed.id, closed.state) == (first.id, "closed")
    assert dialogue.detector.get(first.id) is None
    dialogue.tick(9_999.0)
    dialogue.silent()
    dialogue.sample(match(seen_at=15_000.0), 10_100.0)
    assert dialogue.says("opened").id != first.id


def test_a_capture_keeps_its_detection(dialogue: Dialogue) -> None:
    dialogue.sample(match(), 0.0)
    detection = dialogue.says("opened")
    assert dialogue.detector.pin(detection.id)
    assert dialogue.detector.pin(detection.id)
    dialogue.tick(10_000.0)
    dialogue.silent()
    dialogue.detector.unpin(detection.id)
    dialogue.tick(10_001.0)
    dialogue.says("closed", "quiet")
    dialogue.detector.unpin(detection.id)
    assert not dialogue.detector.pin(detection.id)


def test_new_lists(dialogue: Dialogue) -> None:
    dialogue.sample(match(), 0.0)
    dialogue.says("opened")
    dialogue.lists(INDICATORS, 1.0)
    dialogue.silent()
    dialogue.lists(INDICATORS[1:], 2.0)
    assert dialogue.says("changed", "indicators").indicators == INDICATORS[1:]
    dialogue.lists((), 3.0)
    gone = dialogue.says("delisted")
    assert (gone.state, gone.indicators) == ("delisted", INDICATORS[1:])
    assert len(dialogue.detector) == 0


def test_a_pinned_detection_is_delisted_too(dialogue: Dialogue) -> None:
    dialogue.sample(match(), 0.0)
    dialogue.detector.pin(dialogue.says("opened").id)
    dialogue.lists((), 3.0)
    dialogue.says("delisted")


def test_inside_vxlan_until_a_leaf_sees_it_bare(dialogue: Dialogue) -> None:
    dialogue.sample(match(agent=SPINE, layer=1, vni=100), 0.0)
    inside = dialogue.says("opened")
    [observer] = inside.observers
    assert (inside.layer, observer.capturable, observer.vni) == (1, False, 100)

    dialogue.sample(match(agent=SPINE, layer=1, vni=100), 0.1)
    dialogue.silent()

    dialogue.sample(match(agent=LEAF1), 0.2)
    bare = dialogue.says("changed", "observer", "capturable")
    by_agent = {observer.agent: observer for observer in bare.observers}
    assert bare.layer == 0
    assert (by_agent[SPINE].capturable, by_agent[SPINE].vni) == (False, 100)
    assert (by_agent[LEAF1].capturable, by_agent[LEAF1].vni) == (True, None)

    dialogue.sample(match(agent=SPINE, layer=0), 0.3)
    spine = dialogue.says("changed", "capturable", "min_samples").observers[1]
    assert (spine.agent, spine.capturable, spine.vni) == (SPINE, True, None)


def test_five_hops_are_not_five_times_the_traffic(dialogue: Dialogue) -> None:
    for number, agent in enumerate(["10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14", "10.0.0.15"]):
        dialogue.sample(match(agent=agent, sampling_rate=1000 + number), 0.0)
        detection = dialogue.says("opened") if number == 0 else dialogue.says("changed", "observer", "capturable")
    assert len(detection.observers) == 5
    assert (detection.packets, detection.bytes, detection.samples) == (1004, 100_400, 1)


def test_ingress_and_egress_sampling_of_one_switch_count_once(dialogue: Dialogue) -> None:
    dialogue.sample(match(source_index=3, input=3, output=5), 0.0)
    dialogue.says("opened")
    dialogue.sample(match(source_index=5, input=3, output=5), 0.0)
    both = dialogue.says("changed", "observer", "capturable")
    assert (both.packets, both.samples) == (1000, 1)
    # The answer comes in where the question went out: other packets, so both data sources of the ingress side count.
    dialogue.sample(reply(source_index=5, input=5, output=3), 0.0)
    assert dialogue.says("changed", "direction").packets == 2000


def test_a_sender_that_is_not_the_agent_shows(dialogue: Dialogue) -> None:
    dialogue.sample(match(sender="192.0.2.1"), 0.0)
    assert [observer.sender_is_agent for observer in dialogue.says("opened").observers] == [False]


def test_both_sides_listed_are_two_detections(dialogue: Dialogue) -> None:
    dialogue.sample(match(src_ip="198.51.100.1", listed="destination"), 0.0)
    dialogue.says("opened")
    dialogue.sample(match(src_ip="198.51.100.1", listed="source"), 0.0)
    dialogue.says("opened")
    pairs = {(d.local_ip, d.listed_ip) for d in dialogue.detector.open_detections()}
    assert pairs == {("198.51.100.1", LISTED), (LISTED, "198.51.100.1")}


def test_the_same_recording_gives_the_same_names() -> None:
    names = {Detector([]).observe(match(), now)[0].detection.id for now in (0.0, 77.0)}
    assert len(names) == 1
    [name] = names
    assert len(name) == 13
    assert name[0] == "d"


def test_observers_are_bounded_and_what_is_over_is_counted() -> None:
    detector = Detector(["10.0.0.0/8"])
    for index in range(100):
        detector.observe(match(agent="10.0.0.1", source_index=index, output=0), 0.0)
    [detection] = detector.open_detections()
    assert len(detection.observers) == detection.samples == limits.MAX_OBSERVERS_PER_AGENT
    for number in range(100):
        detector.observe(match(agent=f"10.0.1.{number}"), 0.0)
    [detection] = detector.open_detections()
    assert len(detection.observers) == limits.MAX_OBSERVERS_PER_DETECTION
    rows_left = limits.MAX_OBSERVERS_PER_DETECTION - limits.MAX_OBSERVERS_PER_AGENT
    assert detector.counters.refused["agent_observers"] == 100 - limits.MAX_OBSERVERS_PER_AGENT
    assert detector.counters.refused["observers"] == 100 - rows_left
