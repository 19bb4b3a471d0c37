# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""`kill -9` at random moments of a running system: daemon, two shims with a Cumulus-like tool, and the store.

A dozen kills here; ``SENTINEL_KILLS=500`` plays as many as it says (some ten minutes).
"""

import json
import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import shim_world
from tests.support.running import LISTED, Agent, Sentinel, tcp_frame, until

KILLS = int(os.environ.get("SENTINEL_KILLS", "12"))
SEED = int(os.environ.get("SENTINEL_SEED", "1"))
LEASE_S, QUIET_S, EXPIRE_EVERY_S = 6, 5, 2.0


class Switch:
    """A shim over the stand-in tool, whose "hardware" outlives every process."""

    def __init__(self, name: str, agent: str, directory: Path) -> None:
        self.name, self.agent, self.erspan_source = name, agent, f"10.0.0.25{agent[-1]}"
        self.shim = shim_world.Shim(directory / name, "cumulus", {"max_rules": 100})
        self.url = self.shim.url
        way = {
            "route": [{"dst": shim_world.ERSPAN_DESTINATION, "dev": "swp1"}],
            "neigh": [{"dst": shim_world.ERSPAN_DESTINATION, "lladdr": "44:38:39:00:00:01", "state": ["REACHABLE"]}],
        }
        (self.shim.home / "ip.json").write_text(json.dumps(way))
        self._expired_at = 0.0

    def expire(self) -> None:
        """The systemd timer's hand, which needs no shim."""
        if time.monotonic() - self._expired_at > EXPIRE_EVERY_S:
            self._expired_at = time.monotonic()
            subprocess.run(self.shim.command("expire"), check=False, capture_output=True, timeout=30)

    def hardware(self) -> list[dict[str, Any]]:
        """The ERSPAN rules in force, whatever processes live."""
        path = self.shim.home / "state.json"
        rules: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
        return [rule for rule in rules if rule["target"] == "ERSPAN"]

    def pairs(self) -> list[tuple[str, str]]:
        return [(rule["-s"], rule["-d"]) for rule in self.hardware()]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[SimpleNamespace]:
    switches = [Switch("leaf1", "127.0.1.1", tmp_path), Switch("leaf2", "127.0.1.2", tmp_path)]
    sentinel = Sentinel(
        tmp_path,
        switches,  # type: ignore[arg-type]  # it takes their names, agents and URLs
        erspan_destination='"10.0.0.70"',
        quiet=f'"{QUIET_S}s"',
        switch_lease=f'"{LEASE_S}s"',
        max_new_per_minute="6000",
    )
    agents = [Agent(s.agent, sentinel.collector) for s in switches]
    for switch in switches:
        switch.shim.start()
    sentinel.start()
    yield SimpleNamespace(switches=switches, sentinel=sentinel, agents=agents)
    sentinel.process.kill()
    for switch in switches:
        switch.shim.kill()
    for agent in agents:
        agent.close()


def stored(sentinel: Sentinel) -> dict[str, str]:
    with sqlite3.connect(f"file:{sentinel.directory / 'state' / 'sentinel.db'}?mode=ro", uri=True) as db:
        rows = dict(db.execute("SELECT id, state FROM capture").fetchall())
    db.close()
    return rows


@pytest.mark.timeout(120 + KILLS * 4)
def test_nothing_is_lost_doubled_or_left_behind(system: SimpleNamespace) -> None:
    rng = random.Random(SEED)
    seen: set[str] = set()

    def look() -> None:
        for switch in system.switches:
            pairs = switch.pairs()
            assert len(pairs) == len(set(pairs)), f"two rules for one pair and direction on {switch.name}"
            seen.update(p.stem.removeprefix("50rest-sentinel_") for p in switch.shim.policy_dir.glob("50rest-*.rules"))
            switch.expire()

    for kill in range(KILLS):
        for number in range(rng.randint(1, 4)):
            host = f"10.{1 + kill // 250}.{kill % 250}.{number + 1}"
            rng.choice(system.agents).send(tcp_frame(host, LISTED))
        time.sleep(rng.uniform(0.0, 0.6))
        victim = rng.choice([system.sentinel, system.sentinel, *system.switches])
        if victim is system.sentinel:
            victim.process.kill()
            look()
            victim.start()
        else:
            victim.shim.kill()
            look()
            victim.shim.start()
        look()
        assert system.sentinel.process.running, system.sentinel.log()[-3000:]

    def over() -> bool:
        look()
        return not any(switch.hardware() for switch in system.switches)

    until(over, seconds=LEASE_S + QUIET_S + 40, what="every rule is gone")
    until(lambda: set(stored(system.sentinel).values()) == {"ended"}, seconds=60, what="every capture has ended")
    rows = stored(system.sentinel)
    assert seen
    assert seen <= set(rows), "a rule whose capture nobody remembers"
    log = system.sentinel.log()
    assert "Traceback" not in log, log[log.index("Traceback") :][:3000]
