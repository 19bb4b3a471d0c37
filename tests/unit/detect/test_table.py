# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Order of being forgotten: the longest unseen first, within each worth and in all."""

from sentinel.detect.announce import Announcer
from sentinel.detect.engine import Detector
from tests.support.traffic import match, reply


def test_the_longest_unseen_expires_first() -> None:
    detector = Detector(["10.0.0.0/8"], quiet_s=10.0)
    detector.observe(match(src_ip="10.1.0.1"), 0.0)
    detector.observe(match(src_ip="10.1.0.2"), 1.0)
    detector.observe(match(src_ip="10.1.0.1"), 9.0)
    assert [event.detection.local_ip for event in detector.expire(11.0)] == ["10.1.0.2"]
    assert [event.detection.local_ip for event in detector.expire(19.0)] == ["10.1.0.1"]


def test_of_equal_worth_the_longest_unseen_is_replaced() -> None:
    detector = Detector(["10.0.0.0/8"], max_open_per_agent=2)
    detector.observe(reply(dst_ip="10.1.0.1"), 0.0)
    detector.observe(reply(dst_ip="10.1.0.2"), 1.0)
    detector.observe(reply(dst_ip="10.1.0.1"), 2.0)
    events = detector.observe(match(src_ip="10.1.0.3"), 3.0)
    assert [(event.kind, event.detection.local_ip) for event in events] == [
        ("closed", "10.1.0.2"),
        ("opened", "10.1.0.3"),
    ]


def test_unpinned_it_can_be_replaced_again() -> None:
    detector = Detector(["10.0.0.0/8"], max_open_per_agent=1)
    first = detector.observe(match(src_ip="10.1.0.1"), 0.0)[0].detection
    detector.pin(first.id)
    assert detector.observe(match(src_ip="10.1.0.2"), 1.0) == []
    assert detector.counters.refused["agent_share"] == 1
    detector.observe(match(src_ip="10.1.0.1"), 2.0)
    detector.unpin(first.id)
    kinds = [event.kind for event in detector.observe(match(src_ip="10.1.0.2"), 3.0)]
    assert kinds == ["closed", "opened"]


def test_allowances_that_are_full_again_are_forgotten() -> None:
    announcer = Announcer(burst=4, per_s=2.0)
    assert [announcer.may("a", "initiated", 1, 0.0) for _ in range(3)] == [True, True, False]
    announcer.forget_idle(1.0)
    assert len(announcer) == 1
    assert announcer.may("a", "initiated", 1, 1.0)
    announcer.forget_idle(3.0)
    assert len(announcer) == 0
