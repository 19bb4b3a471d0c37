# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A thousand switches, ten thousand live captures, a hundred new ones a second; and a restart that writes nothing."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from sentinel import limits
from sentinel.capture import actions, events
from sentinel.capture.engine import CaptureEngine
from sentinel.capture.store import Store, sqlite_url
from sentinel.model import Capture, Now, Switch
from tests.support.fabric import FakeSwitch, detection, leaf, observer
from tests.support.policies import make_policy

SWITCHES = 1_000
CAPTURES = 10_000


def agent(number: int) -> str:
    return f"10.200.{number // 250}.{number % 250 + 1}"


def inventory() -> list[Switch]:
    return [leaf(f"leaf{n}", agent(n), max_rules=200) for n in range(SWITCHES)]


def sighting(number: int) -> events.Sighted:
    local = f"10.{100 + number // 65_536}.{number // 256 % 256}.{number % 256}"
    return events.Sighted(detection(local=local, observers=[observer(agent(number % SWITCHES))]))


class Fleet:
    """Fake switches that answer at once, and the clock."""

    def __init__(self) -> None:
        self.engine = CaptureEngine(make_policy(max_new_per_minute=10_000), inventory(), lambda _: False)
        self.switches = {s.name: FakeSwitch(s.name, 400) for s in inventory()}
        self.now = Now(1000.0, 1.7e9)
        self.stored: dict[str, Capture] = {}
        self.unsaved: dict[str, Capture] = {}

    def pass_time(self, seconds: float) -> None:
        self.now = Now(self.now.mono + seconds, self.now.wall + seconds)

    def carry_out(self, todo: list[actions.Action]) -> None:
        waiting = list(todo)
        while waiting:
            action = waiting.pop()
            if isinstance(action, actions.Record):
                self.stored[action.capture.id] = self.unsaved[action.capture.id] = action.capture
            elif not isinstance(action, actions.Probe):
                event = self.switches[action.switch].execute(action, self.now.mono)
                waiting += self.engine.handle(event, self.now)

    def tell(self, event: events.Event) -> None:
        self.carry_out(self.engine.handle(event, self.now))


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    """Ten thousand active captures."""
    patch = pytest.MonkeyPatch()
    patch.setattr(limits, "MAX_NEW_CAPTURES_PER_MINUTE", 1_000_000)
    patch.setattr(limits, "MAX_LIVE_CAPTURES", 2 * CAPTURES)
    made = Fleet()
    made.carry_out(made.engine.restore([], made.now))
    for number in range(CAPTURES):
        made.tell(sighting(number))
    assert {c.state for c in made.engine.live()} == {"active"}
    patch.undo()
    return made


def test_a_quiet_second_costs_next_to_nothing(fleet: Fleet) -> None:
    spent = 0.0
    for _ in range(200):
        fleet.pass_time(1.0)
        began = time.process_time()
        todo = fleet.engine.handle(events.Tick(), fleet.now)
        spent += time.process_time() - began
        fleet.carry_out(todo)
    assert {c.state for c in fleet.engine.live()} == {"active"}
    assert spent / 200 < 0.02


def test_a_hundred_new_captures_a_second_leave_most_of_a_core_free(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_NEW_CAPTURES_PER_MINUTE", 1_000_000)
    monkeypatch.setattr(limits, "MAX_LIVE_CAPTURES", 2 * CAPTURES)
    store = Store(sqlite_url(tmp_path / "sentinel.db"))
    store.open()
    fleet.unsaved.clear()
    began = time.process_time()
    for second in range(10):
        fleet.pass_time(1.0)
        fleet.tell(events.Tick())
        for number in range(100):
            fleet.tell(sighting(20_000 + second * 100 + number))
        store.save(list(fleet.unsaved.values()))
        fleet.unsaved.clear()
    per_second = (time.process_time() - began) / 10
    store.close()
    assert per_second < 0.5
    for capture in list(fleet.engine.live())[CAPTURES:]:
        fleet.tell(events.StopRequested(capture.id, "ada"))


def test_a_restart_with_ten_thousand_live_captures_is_ready_in_three_seconds_and_writes_nothing(
    fleet: Fleet, tmp_path: Path
) -> None:
    url = sqlite_url(tmp_path / "sentinel.db")
    store = Store(url)
    store.open()
    live = [replace(c) for c in fleet.engine.live()]
    store.save(live)
    store.close()
    writes = {name: switch.writes for name, switch in fleet.switches.items()}

    began = time.process_time()
    again = Store(url)
    again.open()
    stored = again.live()
    fleet.engine = CaptureEngine(fleet.engine.policy, inventory(), lambda _: False)
    todo = fleet.engine.restore(stored, fleet.now)
    ready = time.process_time() - began
    again.close()

    assert len(stored) == len(live) >= CAPTURES
    assert ready < 3.0
    assert {type(action) for action in todo} == {actions.List}
    for switch in fleet.switches.values():
        switch.requests.clear()
    fleet.carry_out(todo)
    for _ in range(50):
        fleet.pass_time(1.0)
        fleet.tell(events.Tick())
    asked = {type(c) for switch in fleet.switches.values() for c in switch.requests}
    assert asked == {actions.List, actions.Renew}
    assert {name: switch.writes for name, switch in fleet.switches.items()} == writes
    assert {c.state for c in fleet.engine.live()} == {"active"}
