# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What the detector calls expected is no news, and what it has just taken is expected from then on.

The loop lets expected matches wait, so news called expected would be late, and what is never called so would cost a
round each.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sentinel.detect.engine import Detector
from sentinel.model import Detection, Match
from tests.property.test_detect_figures import matches
from tests.support.traffic import ACK, match, reply


def decided_by(detection: Detection) -> tuple[Any, ...]:
    """What a decision depends on, but for amounts and times."""
    observers = [(o.agent, o.source_class, o.source_index, o.capturable) for o in detection.observers]
    return detection.direction, detection.evidence, detection.indicators, observers


@given(st.lists(matches(), min_size=1, max_size=40), st.integers(1, 4))
def test_what_is_expected_changes_nothing_but_amounts_and_times(sequence: list[Match], min_samples: int) -> None:
    detector = Detector(["10.0.0.0/8"], min_samples=min_samples, sighted_interval_s=0.0)
    crossed = False
    for now, one in enumerate(sequence):
        expected = detector.expects(one)
        before = [decided_by(detection) for detection in detector.open_detections()]
        [event] = detector.observe(one, float(now))
        if expected:
            assert event.kind == "sighted"
            assert [decided_by(event.detection)] == before
        # The agent with most packets may be another later, with fewer samples.
        crossed = crossed or event.detection.samples >= min_samples
        assert detector.expects(one) == crossed


def test_news_is_not_expected() -> None:
    detector = Detector(["10.0.0.0/8"], min_samples=1)
    known = match(tcp_flags=ACK, dst_port=51000, layer=1)
    assert not detector.expects(known)
    detector.observe(known, 0.0)
    assert detector.expects(known)
    news = {
        "evidence": match(layer=1),
        "direction": reply(source_index=3, layer=1),
        "observer": match(tcp_flags=ACK, dst_port=51000, layer=1, source_index=4),
        "capturable": match(tcp_flags=ACK, dst_port=51000),
    }
    for what, one in news.items():
        assert not detector.expects(one), what
        [event] = detector.observe(one, 0.0)
        assert event.why == (what,)


def test_a_pair_that_waits_to_be_announced_is_not_expected() -> None:
    detector = Detector(["10.0.0.0/8"], min_samples=1, announce_burst=2, announce_per_s=0)
    for host in ("10.0.0.1", "10.0.0.2"):
        detector.observe(match(src_ip=host), 0.0)
    assert detector.expects(match(src_ip="10.0.0.1"))
    assert not detector.expects(match(src_ip="10.0.0.2"))
