# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The detector's figures against sums written down the slow way, and their independence of the order of matches."""

from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sentinel import limits
from sentinel.detect import evidence
from sentinel.detect.engine import Detector
from sentinel.model import Detection, Match
from tests.support.traffic import match, reply

AGENTS = ["10.0.0.1", "10.0.0.2", "fd00::3"]


@st.composite
def matches(draw: st.DrawFn) -> Match:
    make = draw(st.sampled_from([match, reply]))
    one: Match = make(
        agent=draw(st.sampled_from(AGENTS)),
        source_class=draw(st.sampled_from([0, 0, 0, 2])),
        source_index=draw(st.integers(0, 3)),
        input=draw(st.sampled_from([0, 1, 2, 3, 0x3FFFFFFF])),
        output=draw(st.sampled_from([0, 1, 2, 3, 0x3FFFFFFF])),
        sampling_rate=draw(st.sampled_from([0, 1, 256, 1000, 2**32 - 1])),
        frame_length=draw(st.integers(0, 2**32 - 1)),
        tcp_flags=draw(st.integers(0, 255)),
        layer=draw(st.integers(0, 2)),
        seen_at=draw(st.floats(0, 1e6)),
    )
    return one


def final(sequence: list[Match]) -> Detection:
    detector = Detector(["10.0.0.0/8"])
    for now, one in enumerate(sequence):
        detector.observe(one, float(now))
    [detection] = detector.open_detections()
    return detection


def slow_figures(sequence: list[Match]) -> tuple[int, int, int]:
    """(packets, samples, bytes) of the better-seeing side of the agent with most packets."""
    sums: dict[tuple[str, bool], list[int]] = defaultdict(lambda: [0, 0, 0])
    for one in sequence:
        egress = one.source_class == 0 and one.source_index == one.output and one.source_index not in (0, one.input)
        rate = one.sampling_rate or 1
        total = sums[one.agent, egress]
        total[0] += rate
        total[1] += 1
        total[2] += rate * one.frame_length
    return max((min(p, limits.MAX_FIGURE), s, min(b, limits.MAX_FIGURE)) for p, s, b in sums.values())


@given(st.lists(matches(), min_size=1, max_size=40))
def test_figures_equal_the_slow_sums(sequence: list[Match]) -> None:
    detection = final(sequence)
    packets, samples, octets = slow_figures(sequence)
    assert (detection.packets, detection.samples, detection.bytes) == (packets, samples, octets)
    assert detection.packets_error_pct == round(196 * (1 / samples) ** 0.5, 1)
    for observer in detection.observers:
        seen = [
            one
            for one in sequence
            if (one.agent, one.source_class, one.source_index)
            == (observer.agent, observer.source_class, observer.source_index)
        ]
        assert observer.samples == len(seen) == observer.outbound + observer.inbound
        assert observer.packets == sum(one.sampling_rate or 1 for one in seen)
        assert observer.bytes == min(
            sum((one.sampling_rate or 1) * one.frame_length for one in seen), limits.MAX_FIGURE
        )
        assert observer.capturable == any(one.layer == 0 for one in seen)
    assert sum(observer.samples for observer in detection.observers) == len(sequence)


@given(st.lists(matches(), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_order_does_not_matter(sequence: list[Match], random: Any) -> None:
    shuffled = sequence[:]
    random.shuffle(shuffled)
    assert promised(final(sequence)) == promised(final(shuffled))


def promised(detection: Detection) -> tuple[Any, ...]:
    """All but the name of the opening, the first packet, and an observer's ports, which are the first packet's."""
    observers = [
        (o.agent, o.source_class, o.source_index, o.samples, o.packets, o.bytes, o.capturable, o.outbound, o.inbound)
        for o in detection.observers
    ]
    figures = (detection.samples, detection.packets, detection.bytes, detection.packets_error_pct)
    times = (detection.first_seen, detection.last_seen)
    return detection.direction, detection.evidence, detection.layer, observers, figures, times


@given(st.lists(matches(), min_size=1, max_size=20))
def test_evidence_only_grows_and_events_tell_the_latest(sequence: list[Match]) -> None:
    detector = Detector(["10.0.0.0/8"], sighted_interval_s=0.0)
    rank = -1
    for now, one in enumerate(sequence):
        [event] = detector.observe(one, float(now))
        assert evidence.RANK[event.detection.evidence] >= rank
        rank = evidence.RANK[event.detection.evidence]
        assert event.detection == detector.get(event.detection.id)
        assert event.kind == ("opened" if now == 0 else "changed" if event.why else "sighted")
    assert rank == max(evidence.RANK[evidence.of(one, one.listed == "destination")] for one in sequence)
