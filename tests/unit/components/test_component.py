# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The order of starts and stops, jobs, and what one more component costs."""

import importlib.util
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest
import requests

from sentinel.components.component import Component, Job, Lifecycle
from sentinel.components.jobs import Jobs
from sentinel.config.settings import Settings, parse
from sentinel.errors import OutsideError
from tests.support.ports import free_port
from tests.support.running import until

DAEMON = Path(__file__).parents[3] / "sentinel" / "daemon.py"
TOY = '''
from collections.abc import Iterable

from sentinel.components.component import Component, Job
from sentinel.problems import Problem
from sentinel.readings import Reading


class Toy(Component):
    """Counts seconds and complains."""

    def __init__(self) -> None:
        self.turns = 0

    def _turn(self) -> None:
        self.turns += 1

    def jobs(self) -> Iterable[Job]:
        return (Job("toy", 1, self._turn, at_start=True),)

    def readings(self) -> Iterable[Reading]:
        yield "sentinel_toy_turns_total", {}, float(self.turns), "counter", "Turns"

    def problems(self) -> Iterable[Problem]:
        yield Problem("toy_squeaks", "degraded", "wheel", "the wheel squeaks", "oil it")
'''


class Part(Component):
    def __init__(self, name: str, log: list[str], *, fails: bool = False, fails_to_stop: bool = False) -> None:
        self.name = name
        self.log = log
        self.fails = fails
        self.fails_to_stop = fails_to_stop
        self.turned = threading.Event()

    def start(self) -> None:
        if self.fails:
            raise OutsideError(f"{self.name} cannot start")
        self.log.append(f"+{self.name}")

    def stop(self) -> None:
        self.log.append(f"-{self.name}")
        if self.fails_to_stop:
            raise RuntimeError(self.name)

    def jobs(self) -> Iterable[Job]:
        return (Job(self.name, 3600, self.turned.set, at_start=True),)


def test_components_stop_in_reverse() -> None:
    log: list[str] = []
    life = Lifecycle([Part(name, log) for name in "abc"])
    life.start()
    life.stop()
    assert log == ["+a", "+b", "+c", "-c", "-b", "-a"]
    life.stop()
    assert len(log) == 6


def test_one_that_cannot_start_stops_those_before_it() -> None:
    log: list[str] = []
    life = Lifecycle([Part("a", log), Part("b", log), Part("c", log, fails=True), Part("d", log)])
    with pytest.raises(OutsideError, match="c cannot start"):
        life.start()
    assert log == ["+a", "+b", "-b", "-a"]


def test_an_error_while_stopping_does_not_spare_the_others() -> None:
    log: list[str] = []
    life = Lifecycle([Part("a", log), Part("b", log, fails_to_stop=True), Part("c", log)])
    life.start()
    with pytest.raises(RuntimeError):
        life.stop()
    assert log[3:] == ["-c", "-b", "-a"]


def test_jobs_run_while_it_runs_and_leave_no_thread() -> None:
    before = set(threading.enumerate())
    part = Part("a", [])
    life = Lifecycle([part, Jobs([part])])
    life.start()
    assert part.turned.wait(5)
    life.stop()
    assert {thread for thread in threading.enumerate() if not thread.daemon} <= before


# --- a whole daemon ----------------------------------------------------------------------------------


def settings_in(folder: Path) -> Settings:
    return parse(
        {
            "state_dir": str(folder),
            "network": {"local": ["192.0.2.0/24"]},
            "capture": {"mode": "dry-run", "erspan_destination": "198.51.100.70"},
            "sflow": {"listen": ["127.0.0.1:0"]},
            "web": {"listen": f"127.0.0.1:{free_port()}"},
        },
        "test",
    )


def loaded(name: str, source: str, folder: Path) -> ModuleType:
    path = folder / f"{name.rpartition('.')[2]}.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_a_component_more_is_its_own_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "toy", ModuleType("toy"))
    loaded("toy", TOY, tmp_path)
    source, anchor = DAEMON.read_text(encoding="utf-8"), "        parts.append(self.sflow)\n"
    assert source.count(anchor) == 1
    line = '        parts.append(__import__("toy").Toy())\n'
    monkeypatch.setitem(sys.modules, "daemon_with_toy", ModuleType("daemon_with_toy"))
    daemon = loaded("daemon_with_toy", source.replace(anchor, anchor + line), tmp_path)
    settings = settings_in(tmp_path / "state")
    running = daemon.Daemon(settings)
    running.start()
    try:
        root = f"http://127.0.0.1:{settings.web.listen[1]}"
        until(lambda: "sentinel_toy_turns_total 0.0" not in requests.get(f"{root}/metrics", timeout=5).text)
        health = requests.get(f"{root}/healthz", timeout=5).json()
        metrics = requests.get(f"{root}/metrics", timeout=5).text
    finally:
        running.stop()
    [problem] = [each for each in health["problems"] if each["code"] == "toy_squeaks"]
    assert (problem["subject"], problem["remedy"], health["status"]) == ("wheel", "oil it", "degraded")
    assert 'sentinel_problems{code="toy_squeaks",severity="degraded"} 1.0' in metrics
