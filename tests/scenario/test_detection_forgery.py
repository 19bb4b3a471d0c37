# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A forger who speaks as an agent makes up pairs without end; the detector stays small and still sees the real one."""

import os
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator

import pytest

from sentinel import limits
from sentinel.detect.engine import Detector
from sentinel.model import Match
from tests.support.traffic import ACK, LEAF1, LISTED, LOCAL, SYN, match, reply

FORGED_AS = "10.0.0.66"
# A million takes two minutes (memory is traced); the bounds are the same ones, reached after 8,192.
PAIRS = int(os.environ.get("SENTINEL_FORGED_PAIRS", "30000"))


def forged(count: int, agent: str = FORGED_AS, seed: int = 1) -> Iterator[Match]:
    """Random local × listed pairs of any direction and evidence."""
    rng = random.Random(seed)
    for _ in range(count):
        local = f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}"
        listed = f"203.0.{rng.randrange(256)}.{rng.randrange(256)}"
        if rng.random() < 0.5:
            yield reply(agent=agent, src_ip=listed, dst_ip=local)
        else:
            flags = rng.choice([SYN, ACK, SYN | ACK])
            yield match(agent=agent, src_ip=local, dst_ip=listed, tcp_flags=flags, source_index=rng.randrange(2**24))


@pytest.mark.timeout(600)
def test_a_flood_takes_its_own_agents_share_and_the_real_one_is_seen() -> None:
    detector = Detector(["10.0.0.0/8"])
    told: Counter[str] = Counter()
    tracemalloc.start()
    try:
        for number, lie in enumerate(forged(PAIRS)):
            now = number / 10_000
            told.update(event.kind for event in detector.observe(lie, now))
            if number % 10_000 == 0:
                told.update(event.kind for event in detector.expire(now))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert detector.open_by_agent() == {FORGED_AS: limits.MAX_OPEN_DETECTIONS_PER_AGENT}
    assert held < limits.MAX_OPEN_DETECTIONS_PER_AGENT * 4_000
    seconds = PAIRS / 10_000
    assert told["opened"] <= 3 * (limits.ANNOUNCE_BURST + limits.ANNOUNCE_PER_S * seconds) + 3
    assert told["closed"] <= told["opened"]
    assert detector.counters.refused["agent_share"] > 0

    [event] = detector.observe(match(agent=LEAF1), PAIRS / 10_000)
    assert (event.kind, event.detection.local_ip, event.detection.evidence) == ("opened", LOCAL, "initiated")


def test_even_of_the_agent_that_is_forged() -> None:
    """The same agent's own samples of the real pair come in between, one in a thousand."""
    detector = Detector(["10.0.0.0/8"])
    told = []
    for number, lie in enumerate(forged(30_000, agent=LEAF1)):
        detector.observe(lie, number / 10_000)
        if number > 10_000 and number % 1_000 == 0:
            told += detector.observe(match(), number / 10_000)
            assert detector.find(LOCAL, LISTED) is not None
    assert [event.kind for event in told if event.detection.local_ip == LOCAL][:1] == ["opened"]
    [real] = [detection for detection in detector.open_detections() if detection.local_ip == LOCAL]
    assert real.samples == 19


def test_contacts_never_push_anything_out() -> None:
    detector = Detector(["10.0.0.0/8"], max_open_per_agent=3)
    for host in range(5):
        detector.observe(reply(dst_ip=f"10.1.0.{host}", tcp_flags=SYN), 0.0)
    assert (len(detector), detector.counters.refused["agent_share"]) == (3, 2)
    # One that dials out takes the place of the contact that was longest unseen.
    events = detector.observe(match(), 1.0)
    assert [(event.kind, event.detection.local_ip) for event in events] == [("closed", "10.1.0.0"), ("opened", LOCAL)]
    assert events[0].why == ("evicted",)


def test_what_is_worth_less_goes_first_and_a_capture_never() -> None:
    detector = Detector(["10.0.0.0/8"], max_open_per_agent=4)
    captured = detector.observe(match(src_ip="10.1.0.1"), 0.0)[0].detection
    detector.pin(captured.id)
    again = match(src_ip="10.1.0.2")
    detector.observe(again, 0.0)
    detector.observe(again, 0.0)
    detector.observe(match(src_ip="10.1.0.3"), 0.0)
    answered = {"src_port": 443, "dst_port": 50000, "tcp_flags": ACK}
    detector.observe(match(src_ip="10.1.0.4", **answered), 0.0)

    gone = []
    for host in range(10, 14):
        newcomer = match(src_ip=f"10.1.0.{host}")
        for _ in range(2):
            gone += [event.detection.local_ip for event in detector.observe(newcomer, 0.0) if event.kind == "closed"]
    assert gone == ["10.1.0.4", "10.1.0.3", "10.1.0.2", "10.1.0.10"]
    assert detector.get(captured.id) is not None
    # An answer replaces no conversation that we began.
    assert detector.observe(match(src_ip="10.1.0.99", **answered), 0.0) == []
    assert detector.counters.evicted == {"contacted": 0, "answered": 1, "initiated": 3}


def test_the_fullest_share_pays_when_the_table_is_full() -> None:
    detector = Detector(["10.0.0.0/8"], max_open=6, max_open_per_agent=5)
    for host in range(5):
        detector.observe(match(agent=FORGED_AS, src_ip=f"10.1.0.{host}"), 0.0)
    detector.observe(match(agent="10.0.0.1", src_ip="10.2.0.1"), 0.0)
    detector.observe(match(agent="10.0.0.2", src_ip="10.2.0.2"), 0.0)
    assert detector.open_by_agent() == {FORGED_AS: 4, "10.0.0.1": 1, "10.0.0.2": 1}
    assert detector.observe(reply(agent="10.0.0.3", dst_ip="10.2.0.3"), 0.0) == []
    assert detector.counters.refused["total"] == 1


def test_what_could_not_be_told_at_once_is_told_later() -> None:
    detector = Detector(["10.0.0.0/8"], announce_burst=4, announce_per_s=2.0)
    kinds: Counter[str] = Counter()
    for host in range(6):
        kinds.update(event.kind for event in detector.observe(match(src_ip=f"10.1.0.{host}"), 0.0))
    assert (kinds["opened"], len(detector), detector.waiting) == (2, 6, 4)
    # Another kind of evidence has its own allowance, and so has a pair that is seen again.
    assert [e.kind for e in detector.observe(reply(dst_ip="10.2.0.1", tcp_flags=SYN), 0.0)] == ["opened"]
    assert [e.kind for e in detector.observe(match(src_ip="10.1.0.5"), 0.0)] == ["opened"]
    assert detector.expire(0.5) == []
    for second in (1.0, 2.0, 3.0):
        [event] = detector.expire(second)
        assert event.kind == "opened"
    assert (detector.waiting, detector.counters.announced) == (0, 7)


def test_what_closes_before_it_was_told_is_counted() -> None:
    detector = Detector(["10.0.0.0/8"], announce_burst=0, announce_per_s=0.0)
    detector.observe(match(), 0.0)
    assert detector.expire(5_000.0) == []
    assert (len(detector), detector.waiting, detector.counters.unannounced) == (0, 0, 1)
    assert detector.counters.closed["quiet"] == 1


@pytest.mark.parametrize("rate", [2**32 - 1])
def test_absurd_rates_fit_a_64_bit_column(rate: int) -> None:
    detector = Detector(["10.0.0.0/8"])
    for _ in range(4):
        detector.observe(match(sampling_rate=rate, frame_length=2**32 - 1), 0.0)
    [detection] = detector.open_detections()
    assert detection.bytes == detection.observers[0].bytes == 2**63 - 1
