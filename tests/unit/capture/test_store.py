# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sentinel.capture.store import Store, sqlite_url
from sentinel.errors import StoreError
from sentinel.model import Capture, Indicator, Mirror

CAPTURE = Capture(
    id="c1",
    local_ip="10.0.0.10",
    listed_ip="198.51.100.7",
    state="active",
    reason="initiated",
    requested_by="policy",
    created_at=1.0,
    evidence_at=2.0,
    ends_at=3.0,
    indicators=(Indicator("198.51.100.0/24", "test", "c2"),),
    mirrors=(
        Mirror("c1", "leaf1", "sentinel_c1", ("[iptables]", "-A FORWARD"), "active", packets=2**40, bytes=2**50),
        Mirror("c1", "leaf2", "sentinel_c1", ("[iptables]",), "removing", error='it\'s "odd"'),
    ),
    note="ü",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sentinel.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(sqlite_url(path))
    opened.open()
    yield opened
    opened.close()


def test_what_is_saved_is_read_back_by_another_process_s_store(store: Store, path: Path) -> None:
    store.save([CAPTURE])
    other = Store(sqlite_url(path))
    other.open()
    assert other.live() == [CAPTURE]
    assert other.get("c1") == CAPTURE
    other.close()


def test_saving_again_replaces_and_forgets_mirrors_that_are_gone(store: Store) -> None:
    store.save([CAPTURE])
    newer = replace(CAPTURE, mirrors=CAPTURE.mirrors[:1], note="")
    store.save([newer])
    assert store.live() == [newer]


def test_ended_ones_are_not_live_and_come_newest_first(store: Store) -> None:
    ended = [replace(CAPTURE, id=f"c{n}", state="ended", mirrors=(), ended_at=float(n)) for n in range(5)]
    store.save([*ended, replace(CAPTURE, id="live", mirrors=())])
    assert [c.id for c in store.live()] == ["live"]
    assert [c.id for c in store.ended(3)] == ["c4", "c3", "c2"]
    assert [c.id for c in store.ended(9, since=3.0)] == ["c4", "c3"]


def test_purge_forgets_the_old_and_the_too_many_but_never_the_live(store: Store) -> None:
    ended = [replace(CAPTURE, id=f"c{n}", state="ended", mirrors=(), ended_at=float(n)) for n in range(10)]
    store.save([*ended, replace(CAPTURE, id="live", mirrors=())])
    assert store.purge(ended_before=2.0, keep=100) == 3
    assert store.purge(ended_before=0.0, keep=4) == 3
    assert [c.id for c in store.ended(99)] == ["c9", "c8", "c7", "c6"]
    assert len(store.live()) == 1


def test_all_or_nothing(store: Store) -> None:
    broken = replace(CAPTURE, id="c2", local_ip=None)  # type: ignore[arg-type]  # what the database refuses
    with pytest.raises(StoreError):
        store.save([CAPTURE, broken])
    assert store.live() == []


def test_a_newer_schema_is_refused_in_words(path: Path, store: Store) -> None:
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET schema_version = 99")
    db.close()
    with pytest.raises(StoreError, match="schema version 99"):
        Store(sqlite_url(path)).open()


def test_a_corrupt_file_is_a_store_error_and_is_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"not a database at all, but long enough to be read as one" * 100)
    with pytest.raises(StoreError, match="store:"):
        Store(sqlite_url(path)).open()
    assert path.read_bytes().startswith(b"not a database")


def test_rows_that_make_no_sense_are_a_store_error(path: Path, store: Store) -> None:
    store.save([CAPTURE])
    with sqlite3.connect(path) as db:
        db.execute("UPDATE capture SET indicators = '{'")
    db.close()
    with pytest.raises(StoreError, match="cannot be read"):
        store.live()


def test_a_locked_database_is_a_store_error_not_a_hang(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(StoreError, match="locked"):
            store.save([CAPTURE])
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    store.save([CAPTURE])
    assert store.live() == [CAPTURE]


def test_a_driver_that_is_not_installed_is_a_store_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"driver of postgresql\+psycopg://.*psycopg.*install psycopg\[binary\]"):
        Store("postgresql+psycopg://sentinel:secret@127.0.0.1:1/sentinel").open()


@pytest.mark.parametrize("url", ["nosuch://127.0.0.1/sentinel", "no url"])
def test_a_url_that_names_no_database_is_a_store_error(url: str) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(url).open()


def test_use_before_open_is_said() -> None:
    with pytest.raises(StoreError, match="not open"):
        Store("sqlite://").live()


def test_what_is_saved_outlives_this_process(path: Path) -> None:
    child = os.fork()
    if child == 0:
        store = Store(sqlite_url(path))
        store.open()
        store.save([CAPTURE])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    after = Store(sqlite_url(path))
    after.open()
    assert after.live() == [CAPTURE]
    # What was left in the log is in the file itself from the start on.
    alone = Store(sqlite_url(Path(shutil.copy(path, path.with_suffix(".copy")))))
    alone.open()
    assert alone.live() == [CAPTURE]
    alone.close()
    after.close()


def test_an_install_does_not_wait_for_the_disk(store: Store) -> None:
    with store._opened().connect() as db:
        assert db.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert db.exec_driver_sql("PRAGMA synchronous").scalar() == 1


def test_only_sync_brings_changes_to_the_file(store: Store, path: Path) -> None:
    before = path.stat().st_size
    for n in range(400):
        store.save([replace(CAPTURE, id=f"c{n}", mirrors=())])
    assert path.stat().st_size == before
    store.sync()
    assert path.stat().st_size > before


def test_what_cannot_be_synced_is_a_store_error(store: Store, path: Path) -> None:
    store.close()
    with pytest.raises(StoreError, match="not open"):
        store.sync()
