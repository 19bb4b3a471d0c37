# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A store whose file is deleted or replaced under it: noticed, and written anew."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import pytest

from sentinel.capture.store import Store, sqlite_url
from sentinel.errors import StoreError
from sentinel.model import Capture
from tests.unit.capture.test_store import CAPTURE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "sentinel.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    path.parent.mkdir()
    opened = Store(sqlite_url(path))
    opened.open()
    opened.save([CAPTURE])
    yield opened
    opened.close()


def other(name: str) -> Capture:
    return replace(CAPTURE, id=name, mirrors=())


def parts(path: Path) -> list[Path]:
    return [Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm")]


def read_anew(path: Path) -> list[str]:
    reader = Store(sqlite_url(path))
    reader.open()
    try:
        return sorted(capture.id for capture in reader.live())
    finally:
        reader.close()


@pytest.mark.parametrize("deleted", [1, 3])
@pytest.mark.parametrize("synced", [False, True])
def test_a_deleted_file_is_noticed_and_written_anew(store: Store, path: Path, deleted: int, synced: bool) -> None:
    assert not store.gone()
    if synced:
        store.sync()
    for part in parts(path)[:deleted]:
        part.unlink()
    store.save([other("c2")])
    assert store.gone()
    store.renew([CAPTURE, other("c3")])
    assert not store.gone()
    store.save([other("c4")])
    assert sorted(store.live(), key=attrgetter("id")) == [CAPTURE, other("c3"), other("c4")]
    assert read_anew(path) == ["c1", "c3", "c4"]


def test_a_file_put_in_its_place_is_kept_aside_and_not_believed(store: Store, path: Path) -> None:
    store.sync()
    shutil.copy(path, copy := path.with_name("copy"))
    copy.replace(path)
    assert store.gone()
    store.renew([other("c2")])
    assert not store.gone()
    assert read_anew(path) == ["c2"]
    assert Path(f"{path}.replaced").exists()


def test_while_it_cannot_be_written_anew_nothing_is_saved_and_it_stays_gone(store: Store, path: Path) -> None:
    shutil.rmtree(path.parent)
    assert store.gone()
    for _ in range(2):
        with pytest.raises(StoreError):
            store.renew([CAPTURE])
        assert store.gone()
        with pytest.raises(StoreError):
            store.save([CAPTURE])
    path.parent.mkdir()
    store.renew([CAPTURE])
    assert not store.gone()
    assert read_anew(path) == ["c1"]


def test_captures_that_cannot_be_written_leave_it_gone(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.unlink()
    with monkeypatch.context() as broken:

        def full(*_: object) -> None:
            raise StoreError("store: full")

        broken.setattr(store, "save", full)
        with pytest.raises(StoreError):
            store.renew([CAPTURE])
    assert store.gone()
    store.renew([CAPTURE])
    assert read_anew(path) == ["c1"]
