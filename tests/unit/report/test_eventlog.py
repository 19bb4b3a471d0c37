# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The event log: whole lines, private, bounded, and alive when the disk is not."""

import errno
import json
import logging
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.limits import MAX_EVENT_BYTES
from sentinel.report.eventlog import EventLog, EventRing


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "eve.json"


def test_lines_are_appended_to_a_private_file(path: Path) -> None:
    old = os.umask(0)
    try:
        log = EventLog(path)
        log.start()
        assert log.append({"event_type": "alert", "group": "a\nb\u2028\ud800"})
        log.stop()
        log.start()
        assert log.append({"n": 2})
        log.stop()
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert lines(path)[1] == {"n": 2}
    assert path.read_bytes().count(b"\n") == 2
    assert log.counters.lines == 2


def test_a_path_that_cannot_work_is_known_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        EventLog(tmp_path / "none" / "eve.json").start()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        EventLog(tmp_path / "link").start()


def test_it_is_rotated_by_size_and_old_files_are_bounded(path: Path) -> None:
    log = EventLog(path, max_bytes=100, old_files=2)
    for n in range(40):
        assert log.append({"n": n, "x": "y" * 20})
    log.stop()
    assert sorted(each.name for each in path.parent.iterdir()) == ["eve.json", "eve.json.1", "eve.json.2"]
    kept = [each["n"] for name in ("eve.json.2", "eve.json.1", "eve.json") for each in lines(path.parent / name)]
    assert kept == list(range(40 - len(kept), 40))
    assert all(each.stat().st_size <= 100 for each in path.parent.iterdir())
    assert log.counters.rotations > 10


def test_without_old_files_the_log_starts_anew(path: Path) -> None:
    log = EventLog(path, max_bytes=50, old_files=0)
    for n in range(10):
        log.append({"n": n, "x": "y" * 20})
    log.stop()
    assert [each.name for each in path.parent.iterdir()] == ["eve.json"]
    assert [each["n"] for each in lines(path)] == [9]


def test_a_rotation_that_fails_costs_no_line(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Path(f"{path}.1").mkdir()
    log = EventLog(path, max_bytes=50, old_files=1)
    for n in range(10):
        assert log.append({"n": n, "x": "y" * 20})
    log.stop()
    assert [each["n"] for each in lines(path)] == list(range(10))
    assert log.counters.rotation_errors == 9
    assert len(caplog.records) == 1


def test_a_file_moved_or_deleted_under_it_is_made_anew(path: Path) -> None:
    log = EventLog(path)
    log.append({"n": 1})
    path.rename(path.with_name("moved"))
    log.append({"n": 2})
    path.unlink()
    log.append({"n": 3})
    log.stop()
    assert lines(path.with_name("moved")) == [{"n": 1}]
    assert lines(path) == [{"n": 3}]


def test_half_a_line_of_an_earlier_life_does_not_spoil_the_next(path: Path) -> None:
    path.write_bytes(b'{"n": 1}\n{"n"')
    log = EventLog(path)
    log.append({"n": 2})
    log.stop()
    assert path.read_bytes() == b'{"n": 1}\n{"n"\n{"n":2}\n'


def test_a_full_disk_costs_whole_lines_and_is_told_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, room = os.write, [40]

    def write(file: int, content: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        some = min(len(content), room[0])
        room[0] -= some
        return real(file, bytes(content)[:some])

    log = EventLog(path)
    monkeypatch.setattr(os, "write", write)
    with caplog.at_level(logging.WARNING, "sentinel.report.eventlog"):
        taken = [log.append({"n": n, "x": "y" * 15}) for n in range(5)]
        assert taken == [True, False, False, False, False]
        assert lines(path) == [{"n": 0, "x": "y" * 15}]
        room[0] = 10**6
        assert log.append({"n": 9})
    log.stop()
    assert lines(path) == [{"n": 0, "x": "y" * 15}, {"n": 9}]
    assert (log.counters.lines, log.counters.lines_lost, log.counters.write_errors) == (2, 4, 4)
    assert ["lines are lost" in each.message for each in caplog.records] == [True, False]


def test_a_real_full_device_is_survived() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    log = EventLog(full)
    assert not log.append({"n": 1})
    assert not log.append({"n": 2})
    log.stop()
    assert log.counters.lines_lost == 2


def test_a_log_that_fails_shows_it_until_it_works(path: Path) -> None:
    log = EventLog(path)
    path.mkdir()
    log.append({"n": 1})
    assert log.failing
    path.rmdir()
    log.append({"n": 2})
    shown = log.failing
    log.stop()
    assert not shown


def test_a_line_too_large_is_left_out_and_counted(path: Path) -> None:
    log = EventLog(path)
    assert not log.append({"x": "y" * MAX_EVENT_BYTES})
    assert log.append({"x": 1})
    log.stop()
    assert lines(path) == [{"x": 1}]
    assert log.counters.lines_lost == 1


def test_many_threads_write_whole_lines(path: Path) -> None:
    log = EventLog(path, max_bytes=5_000, old_files=100)
    threads = [
        threading.Thread(target=lambda k=k: [log.append({"k": k, "n": n}) for n in range(200)]) for k in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    log.stop()
    found = [(each["k"], each["n"]) for file in path.parent.iterdir() for each in lines(file)]
    assert sorted(found) == [(k, n) for k in range(4) for n in range(200)]


def test_a_ring_gives_what_came_after(path: Path) -> None:
    ring = EventRing(3, first_id=100)
    assert ring.after(0) == []
    assert [ring.append({"n": n, "id": "mine"}) for n in range(5)] == [100, 101, 102, 103, 104]
    assert [each["id"] for each in ring.after(0)] == [102, 103, 104]
    assert [each["n"] for each in ring.after(103)] == [4]
    assert ring.after(104) == []
    assert [each["id"] for each in ring.after(105)] == [102, 103, 104]


@given(capacity=st.integers(1, 10), count=st.integers(0, 30), first=st.integers(1, 50), after=st.integers(0, 100))
def test_a_ring_agrees_with_a_list(capacity: int, count: int, first: int, after: int) -> None:
    """What a ring gives after an id is what a list filtered by id gives, of its last ``capacity`` entries."""
    ring = EventRing(capacity, first)
    everything = [ring.append({}) for _ in range(count)]
    asked = after if after < first + count else 0
    assert [each["id"] for each in ring.after(after)] == [each for each in everything[-capacity:] if each > asked]


@pytest.mark.parametrize(("capacity", "first"), [(0, 1), (1, 0), (-1, 1)])
def test_a_ring_of_nothing_is_a_mistake(capacity: int, first: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        EventRing(capacity, first)


@pytest.mark.parametrize("close", [False, True])
def test_a_waiter_wakes_with_the_event_or_the_end(close: bool) -> None:
    ring, found = EventRing(), list[list[dict[str, object]]]()
    waiter = threading.Thread(target=lambda: found.append(ring.after(0, 30)))
    waiter.start()
    if close:
        ring.close()
    else:
        ring.append({"n": 1})
    waiter.join(5)
    assert not waiter.is_alive()
    assert found == [[] if close else [{"id": 1, "n": 1}]]


def test_what_a_ring_gave_can_be_changed_without_harm() -> None:
    ring = EventRing()
    ring.append({"n": 1})
    ring.after(0)[0]["n"] = 2
    assert ring.after(0) == [{"id": 1, "n": 1}]


def test_a_deleted_file_is_noticed_with_and_without_a_write_and_begun_anew(path: Path) -> None:
    for write in (True, False):
        log = EventLog(path)
        log.start()
        assert log.append({"n": 1})
        assert not log.deleted(60)
        path.unlink()
        if write:
            assert log.append({"n": 2})
            assert lines(path) == [{"n": 2}]
        assert log.deleted(60)
        assert path.exists()
        assert not log.deleted(0)
        log.stop()
        path.unlink()


def test_a_file_that_was_rotated_by_another_program_is_not_taken_for_deleted(path: Path) -> None:
    log = EventLog(path, max_bytes=100, old_files=0)
    log.start()
    path.rename(f"{path}.1")
    assert log.append({"n": 1})
    path.rename(f"{path}.2")
    assert not log.deleted(60)
    for n in range(20):
        assert log.append({"n": n, "x": "y" * 20})
    assert not log.deleted(60)
    log.stop()
