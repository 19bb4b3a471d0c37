# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Stores of earlier versions: opened, understood, kept as they were, and acted on as their own program would have."""

import json
import logging
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from sentinel.capture import actions
from sentinel.capture.ending import ENDINGS
from sentinel.capture.migration import ending_of_1
from sentinel.capture.store import SCHEMA_VERSION, Store, sqlite_url
from sentinel.errors import StoreError
from sentinel.model import Capture, Ending
from tests.support.fabric import FakeRule, World, detection, leaf, observer, spine
from tests.support.web import capture as a_capture

STORES = Path(__file__).parent / "stores"
INVENTORY = [leaf("leaf1", "10.0.1.1", max_rules=2), leaf("leaf2", "10.0.1.2"), spine("spine1", "10.0.1.9")]
THEN: dict[str, Any] = json.loads((STORES / "version1.json").read_text())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(STORES / "version1.db", tmp_path / "sentinel.db"))


def copy_of(path: Path) -> Path:
    return path.with_name("sentinel.db.v1")


def opened(path: Path) -> Store:
    store = Store(sqlite_url(path))
    store.open()
    return store


def captures(path: Path) -> list[Capture]:
    store = opened(path)
    found = [*store.live(), *store.ended(100)]
    store.close()
    return found


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


def go_back(path: Path) -> None:
    """As deploy/OPERATIONS.md says."""
    for name in ("sentinel.db", "sentinel.db-wal", "sentinel.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    shutil.copy(copy_of(path), path)


@pytest.fixture
def world(path: Path) -> World:
    """A new process of the present program on what the earlier one left, in the store and on the switches."""
    made = World(INVENTORY)
    made.wall = THEN["start"]
    made.stored = {capture.id: capture for capture in captures(path)}
    for name, rules in THEN["rules"].items():
        made.switches[name].rules = {rule: FakeRule(tuple(lines), 1e9) for rule, lines in rules.items()}
    made.actions.clear()
    made.start()
    return made


def writes(world: World) -> list[list[str]]:
    changes = [change for c in world.actions if not isinstance(c, actions.Record) for change in actions.one_by_one(c)]
    return [[type(c).__name__, c.switch, c.rule] for c in changes if isinstance(c, actions.Install | actions.Remove)]


# --- version 1 -----------------------------------------------------------------------------------


def test_captures_of_version_1_are_adopted_without_a_write_to_any_switch(world: World) -> None:
    assert [type(c) for c in world.actions if isinstance(c, actions.List)]
    assert writes(world) == THEN["at_once"] == []
    active = {c.local_ip for c in world.engine.live() if c.state == "active"}
    assert active == {"10.0.0.20", "10.0.0.22"}


def test_what_was_under_way_in_version_1_goes_on_as_its_own_program_would(world: World) -> None:
    world.run(60)
    assert writes(world) == THEN["later"]
    assert {c.local_ip: c.state for c in world.stored.values()} == THEN["states"]


def test_the_pairs_that_version_1_held_back_are_held_back(world: World) -> None:
    held = {}
    for local in THEN["held"]:
        world.sight(local=local, observers=[observer("10.0.1.9", 9)])
        refusal = world.engine.refusals.get(detection(local=local).id)
        held[local] = refusal.reason if refusal else None
    assert held == THEN["held"]


def test_each_ending_of_version_1_becomes_a_word_and_keeps_its_sentence(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        before = dict(db.execute("SELECT id, ending FROM capture").fetchall())
    found = {capture.id: capture for capture in captures(path)}
    assert {key: capture.ending_note for key, capture in found.items()} == before
    assert {capture.local_ip: capture.ending for capture in found.values()} == {
        "10.0.0.10": "quiet",
        "10.0.0.11": "longest",
        "10.0.0.12": "delisted",
        "10.0.0.13": "closed",
        "10.0.0.14": "stopped",
        "10.0.0.15": "evicted",
        "10.0.0.16": "flood",
        "10.0.0.17": "overload",
        "10.0.0.18": "switch_gone",
        "10.0.0.20": None,
        "10.0.0.21": None,
        "10.0.0.22": None,
        "10.0.0.23": "stopped",
        "10.0.0.24": "stopped",
        "10.0.0.25": None,
        "10.0.0.26": None,
    }


@pytest.mark.parametrize("text", ["flood1 is no longer a switch of ours: its lease ends the rule", "whatever"])
def test_a_sentence_that_only_looks_like_an_ending_holds_nothing_back(text: str) -> None:
    assert ENDINGS[ending_of_1(text)].hold is None


# --- the copy and the way back ---------------------------------------------------------------------


def test_the_file_is_kept_as_it_was_with_what_only_its_log_holds(path: Path) -> None:
    with closing(sqlite3.connect(path)) as open_still:
        open_still.execute("PRAGMA wal_autocheckpoint=0")
        open_still.execute("UPDATE capture SET reason = 'only in the log' WHERE local_ip = '10.0.0.20'")
        open_still.commit()
        assert path.with_name("sentinel.db-wal").stat().st_size > 0
        before = list(open_still.iterdump())
        opened(path).close()
    assert any("only in the log" in line for line in before)
    assert dump(copy_of(path)) == before
    assert dump(path) != before


def test_the_way_back_is_the_copy_and_the_next_upgrade_starts_from_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = dump(path)
    migrated = captures(path)
    go_back(path)
    assert dump(path) == before
    with closing(sqlite3.connect(path)) as db:
        # The earlier program is at work again.
        db.execute("UPDATE capture SET reason = 'written after going back' WHERE local_ip = '10.0.0.20'")
        db.commit()
    first = copy_of(path).read_bytes()
    with caplog.at_level(logging.WARNING):
        again = captures(path)
    assert [replace(c, reason="") for c in again] == [replace(c, reason="") for c in migrated]
    assert path.with_name("sentinel.db.v1.1").read_bytes() == first, "an earlier copy is not overwritten"
    assert any("written after going back" in line for line in dump(copy_of(path)))
    assert "sentinel.db.v1.1" in caplog.text


def test_a_migration_that_fails_leaves_everything_as_it_was_however_often_it_is_tried(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(path)
    monkeypatch.setattr("sentinel.capture.migration.ending_of_1", lambda text: [text])
    for _ in range(3):
        with pytest.raises(StoreError):
            opened(path)
    assert dump(path) == before
    assert sorted(each.name for each in path.parent.glob("*.v1*")) == ["sentinel.db.v1"]
    monkeypatch.undo()
    assert len(captures(path)) == 16


def test_without_room_for_the_copy_nothing_is_migrated(path: Path) -> None:
    before = dump(path)
    path.with_name("sentinel.db.v1.new").mkdir()
    with pytest.raises(StoreError):
        opened(path)
    assert dump(path) == before


def test_a_store_that_was_killed_before_it_named_its_version_is_of_version_1(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM meta")
        db.commit()
    assert len(captures(path)) == 16
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT schema_version FROM meta").fetchall() == [(SCHEMA_VERSION,)]


# --- versions ------------------------------------------------------------------------------------


@pytest.fixture
def newer(path: Path) -> Path:
    opened(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE meta SET schema_version = 99")
        db.execute("ALTER TABLE capture RENAME COLUMN note TO remark")
        db.commit()
    return path


def test_a_newer_schema_is_refused_with_both_versions_and_the_remedy_and_left_alone(newer: Path) -> None:
    before = dump(newer)
    with pytest.raises(StoreError, match=rf"schema version 99.* {SCHEMA_VERSION}.*newer program.*OPERATIONS"):
        opened(newer)
    assert dump(newer) == before
    assert not newer.with_name("sentinel.db.v99").exists()


@pytest.mark.parametrize("version", ["0", "-1", "'abc'"])
def test_a_version_that_no_program_wrote_is_refused(path: Path, version: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE meta SET schema_version = {version}")
    with pytest.raises(StoreError, match="none that any program wrote"):
        Store(sqlite_url(path)).open()


def test_an_ending_of_a_newer_program_holds_nothing_back_and_keeps_no_daemon_down() -> None:
    world = World(INVENTORY)
    ended = a_capture(state="ended", ended_at=world.now.wall, ending="from_the_future")
    world.engine.restore([ended], world.now)
    assert not world.engine.live()


def test_a_store_of_this_version_is_not_copied(path: Path) -> None:
    opened(path).close()
    copy_of(path).unlink()
    opened(path).close()
    assert not list(path.parent.glob("*.v*"))


# --- endings -------------------------------------------------------------------------------------


def test_each_ending_has_one_row_and_fits_its_column() -> None:
    assert set(ENDINGS) == set(get_args(Ending))
    assert max(map(len, ENDINGS)) <= 16
    assert all(rule.text for rule in ENDINGS.values())
