# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Intent on disk before the request, whatever fails; nothing lost without a count."""

import threading
import time
from collections.abc import Iterable, Iterator

import pytest

from sentinel import limits
from sentinel.capture import actions, events
from sentinel.capture.engine import CaptureEngine
from sentinel.decide import loop as loop_module
from sentinel.decide.loop import Loop
from sentinel.detect.engine import Detector
from sentinel.detect.events import DetectionEvent
from sentinel.errors import StoreError
from sentinel.model import Capture, CaptureState, Indicator, Match, Now
from tests.support.fabric import HOST, LISTED, FakeSwitch, leaf
from tests.support.policies import make_policy
from tests.support.web import capture as a_capture


class FakeEdges:
    """A store and a switch that behave; ``full`` makes the disk refuse."""

    def __init__(self) -> None:
        self.full = False
        self.stored: dict[str, Capture] = {}
        self.switch = FakeSwitch("leaf1")
        self.order: list[str] = []
        self.told: list[str] = []
        self.loop: Loop | None = None

    def save(self, captures: Iterable[Capture]) -> None:
        if self.full:
            raise StoreError("store: disk is full")
        for capture in captures:
            self.stored[capture.id] = capture
            self.order.append(f"stored {capture.state}")

    def send(self, action: actions.SwitchAction) -> None:
        self.order.append(type(action).__name__)
        assert self.loop is not None
        self.loop.post(self.switch.execute(action, time.monotonic()))

    def tell_detection(self, event: DetectionEvent) -> None:
        self.told.append(event.kind)

    def tell_capture(self, capture: Capture, previous: CaptureState) -> None:
        self.told.append(f"{previous}>{capture.state}")


@pytest.fixture
def edges() -> FakeEdges:
    return FakeEdges()


@pytest.fixture
def loop(edges: FakeEdges) -> Iterator[Loop]:
    engine = CaptureEngine(make_policy(), [leaf("leaf1", "10.0.1.1")], lambda _: False)
    made = Loop(Detector(["10.0.0.0/8"]), engine, edges)
    edges.loop = made
    made.start([])
    yield made
    made.stop()


def match(src: str = HOST, dst: str = LISTED, **changes: object) -> Match:
    values: dict[str, object] = {
        "agent": "10.0.1.1",
        "sender": "10.0.1.1",
        "source_class": 0,
        "source_index": 1,
        "input": 1,
        "output": 2,
        "sampling_rate": 100,
        "frame_length": 100,
        "src_ip": src,
        "dst_ip": dst,
        "protocol": 6,
        "src_port": 40000,
        "dst_port": 443,
        "tcp_flags": 2,
        "icmp_type": None,
        "layer": 0,
        "vni": None,
        "listed": "destination",
        "indicators": (Indicator(f"{dst}/32", "test", "c2"),),
        "seen_at": time.time(),
    }
    return Match(**{**values, **changes})  # type: ignore[arg-type]  # the table above has the types


def until(condition: object, seconds: float = 5.0) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


def test_the_intent_is_stored_before_the_request_and_the_outcome_after(loop: Loop, edges: FakeEdges) -> None:
    loop.post_matches([match()])
    until(lambda: "installing>active" in edges.told)
    order = [step for step in edges.order if step != "List"]
    assert order[:3] == ["stored installing", "Install", "stored active"]
    assert edges.told[:2] == ["opened", "wanted>installing"]
    assert len(edges.switch.rules) == 1


def test_news_is_told_after_the_request_had_time_to_be_written(
    loop: Loop, edges: FakeEdges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "REQUESTS_FIRST_S", 0.5)
    loop.post_matches([match()])
    until(lambda: "Install" in edges.order)
    assert "opened" not in edges.told
    until(lambda: "opened" in edges.told)


@pytest.mark.parametrize("ends", [(HOST, LISTED), (LISTED, HOST)])
def test_a_detection_outlives_its_quiet_time_while_a_capture_hangs_on_it(
    edges: FakeEdges, ends: tuple[str, str]
) -> None:
    """Also where the capture began with the other end as the listed one, as both are."""
    engine = CaptureEngine(make_policy(), [leaf("leaf1", "10.0.1.1")], lambda _: False)
    loop = edges.loop = Loop(Detector(["10.0.0.0/8"], quiet_s=10), engine, edges, now=lambda: Now(100.0, 1_000.0))
    local_ip, listed_ip = ends
    loop.restore([a_capture(local_ip=local_ip, listed_ip=listed_ip, evidence_at=900.0, ends_at=5_000.0)])
    loop.post_matches([match()])
    while loop.step():
        pass
    assert loop.detector.expire(111.0) == []
    assert len(loop.detector) == 1


def test_without_a_stored_intent_nothing_is_installed_and_it_is_made_good_later(loop: Loop, edges: FakeEdges) -> None:
    edges.full = True
    loop.post_matches([match()])
    until(lambda: loop.counters.installs_withheld == 1)
    assert loop.store_error
    assert edges.switch.rules == {}
    edges.full = False

    def passed() -> bool:
        loop.post(events.Tick())
        return bool(edges.switch.rules)

    until(passed)
    assert loop.store_error == ""
    assert [c.state for c in edges.stored.values()] in (["installing"], ["active"])


def test_a_rule_is_removed_even_while_the_disk_is_full(loop: Loop, edges: FakeEdges) -> None:
    loop.post_matches([match()])
    until(lambda: bool(edges.switch.rules))
    edges.full = True
    loop.wish(events.StopRequested(next(iter(edges.stored)), "ada"))
    until(lambda: not edges.switch.rules)


def test_while_the_disk_is_full_a_repair_removes_and_does_not_install(edges: FakeEdges) -> None:
    bulk = actions.Bulk(
        "leaf1", (actions.Install("leaf1", "sentinel_c1", (), 1), actions.Remove("leaf1", "sentinel_c2"))
    )

    class Repairing(CaptureEngine):
        def handle(self, event: events.Event, now: Now) -> list[actions.Action]:
            heard.append(event)
            record = actions.Record(a_capture("c1"), None)
            return [record, bulk] if isinstance(event, events.Tick) else []

    heard: list[events.Event] = []
    loop = Loop(Detector(["10.0.0.0/8"]), Repairing(make_policy(), [], lambda _: False), edges)
    edges.loop = loop
    edges.full = True
    loop.wish(events.Tick())
    while loop.step():
        pass
    assert edges.switch.requests == [actions.Remove("leaf1", "sentinel_c2")]
    failed = events.InstallFailed("leaf1", "sentinel_c1", "store", "store: disk is full", permanent=False)
    assert heard[1:] == [failed, events.Removed("leaf1", "sentinel_c2")]
    assert loop.counters.installs_withheld == 1
    edges.full = False
    loop.wish(events.Tick())
    assert edges.order[-1] == "Bulk"


def test_more_matches_than_fit_are_counted(edges: FakeEdges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_WAITING_MATCHES", 10)
    engine = CaptureEngine(make_policy(), [], lambda _: False)
    idle = Loop(Detector(["10.0.0.0/8"]), engine, edges)
    idle.post_matches(match(src=f"10.0.0.{n}") for n in range(25))
    assert idle.counters.matches_overflow == 15


class Noting(Detector):
    """Notes which hosts' matches it is given, and when time passes."""

    def __init__(self) -> None:
        super().__init__(["10.0.0.0/8"], min_samples=1)
        self.order: list[str] = []

    def observe(self, match: Match, now: float) -> list[DetectionEvent]:
        self.order.append(match.src_ip)
        return super().observe(match, now)

    def expire(self, now: float) -> list[DetectionEvent]:
        self.order.append("tick")
        return super().expire(now)


OTHERS = ["10.0.0.98", "10.0.0.99"]


@pytest.fixture
def noting() -> Noting:
    return Noting()


@pytest.fixture
def gathering(edges: FakeEdges, noting: Noting) -> Iterator[Loop]:
    """A loop that has seen HOST already, and has not started."""
    made = Loop(noting, CaptureEngine(make_policy(), [], lambda _: False), edges)
    made.post_matches([match()])
    while made.step():
        pass
    noting.order.clear()
    yield made
    made.stop()


def test_news_overtakes_what_is_expected(gathering: Loop, noting: Noting) -> None:
    gathering.post_matches([match(), match()])
    gathering.post_matches([match(src=OTHERS[0])])
    gathering.start([])
    until(lambda: noting.order == [OTHERS[0], HOST, HOST])


def test_what_is_expected_waits_until_something_else_comes_and_goes_first(
    gathering: Loop, noting: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "GATHER_S", 1e6)
    gathering.post_matches([match()])
    gathering.start([])
    for number, other in enumerate(OTHERS, 1):
        gathering.post_matches([match(src=other)])
        until(lambda number=number: len(noting.order) == number)
    gathering.post(events.Tick())
    until(lambda: noting.order == [*OTHERS, HOST, "tick"])


def test_so_many_are_taken_without_waiting_longer(
    gathering: Loop, noting: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "GATHER_S", 1e6)
    monkeypatch.setattr(loop_module, "GATHERED", 100)
    gathering.start([])
    for _ in range(100):
        gathering.post_matches([match()])
    until(lambda: len(noting.order) == 100)


def test_news_comes_between_rounds_of_what_gathered(
    gathering: Loop, noting: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "GATHERED_ROUND", 2)
    observe = noting.observe

    def news_comes(one: Match, now: float) -> list[DetectionEvent]:
        if noting.order == [HOST]:
            gathering.post_matches([match(src=OTHERS[0])])
        return observe(one, now)

    monkeypatch.setattr(noting, "observe", news_comes)
    gathering.post_matches([match()] * 5)
    gathering.start([])
    until(lambda: noting.order == [HOST, HOST, OTHERS[0], HOST, HOST, HOST])


def test_what_gathered_is_bounded_with_the_rest(gathering: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_WAITING_MATCHES", 10)
    gathering.post_matches([match()] * 8)
    gathering.post_matches(match(src=f"10.0.1.{n}") for n in range(5))
    assert gathering.counters.matches_overflow == 3
    while gathering.step():
        pass
    gathering.post_matches([match()] * 10)
    assert gathering.counters.matches_overflow == 3


def test_what_gathered_before_new_lists_does_not_survive_them(gathering: Loop, noting: Noting) -> None:
    gathering.post_matches([match()])
    gathering.post_new_lists(lambda _: ())
    while gathering.step():
        pass
    assert noting.order == [HOST]
    assert len(noting) == 0


def test_new_lists_delist_and_end_the_capture(loop: Loop, edges: FakeEdges) -> None:
    loop.post_matches([match()])
    until(lambda: bool(edges.switch.rules))
    loop.post_new_lists(lambda _: ())
    until(lambda: not edges.switch.rules)
    until(lambda: "delisted" in edges.told)
    assert [c.ending for c in edges.stored.values()] == ["delisted"]


def test_a_match_made_with_the_old_lists_does_not_survive_the_new_ones(loop: Loop, edges: FakeEdges) -> None:
    loop.post_new_lists(lambda _: ())
    loop.post_matches([match()])
    until(lambda: "opened" in edges.told)
    loop.post(events.Tick())
    until(lambda: "delisted" in edges.told)
    until(lambda: not edges.switch.rules)


def test_a_bug_in_one_round_is_counted_and_the_next_round_goes_on(
    loop: Loop, edges: FakeEdges, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(loop.detector, "observe", lambda *_: 1 / 0)
        loop.post_matches([match()])
        until(lambda: loop.counters.round_errors == 1)
    loop.post_matches([match()])
    until(lambda: bool(edges.switch.rules))


def test_a_listener_that_fails_ends_neither_the_thread_nor_the_other_reports(
    loop: Loop, edges: FakeEdges, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(edges, "tell_detection", lambda *_: 1 / 0)
        loop.post_matches([match()])
        until(lambda: bool(loop.counters.tell_errors))
    until(lambda: bool(edges.switch.rules))
    loop.post_new_lists(lambda _: ())
    until(lambda: "delisted" in edges.told)


def test_stop_leaves_no_thread(loop: Loop) -> None:
    loop.stop()
    assert "loop" not in {thread.name for thread in threading.enumerate()}
