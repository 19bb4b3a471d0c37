# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import stat
from pathlib import Path

import dpkt
import pytest

from sentinel.erspan.decapsulate import Mirrored
from sentinel.erspan.files import UNAUTHENTICATED, CaptureFiles, CaptureNotes
from tests.support.mirroring import ethernet

FRAME = ethernet(payload=b"x" * 900)
MIRRORED = Mirrored("10.0.0.1", "10.0.0.70", "II", FRAME)


def started(path: Path, max_bytes: int = 1 << 20, max_file_bytes: int = 1 << 20) -> CaptureFiles:
    files = CaptureFiles(path, max_bytes, max_file_bytes=max_file_bytes)
    files.start()
    return files


def frames(paths: list[Path]) -> list[bytes]:
    found = []
    for path in paths:
        with path.open("rb") as file:
            found += [bytes(data) for _, data in dpkt.pcapng.Reader(file)]
    return found


def test_frames_names_and_comments_end_in_a_file_nobody_else_may_read(tmp_path: Path) -> None:
    notes = CaptureNotes(("192.0.2.10 talks with 198.51.100.7",), (("192.0.2.10", ("host.example",)),))
    files = CaptureFiles(tmp_path / "captures", 1 << 20, lambda capture: notes)
    files.start()
    assert files.write("c1", "leaf1", MIRRORED, 1_000_000_000)
    assert files.write("c1", "leaf2", MIRRORED, 2_000_000_000)
    files.end("c1")
    (path,) = files.paths("c1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert frames([path]) == [FRAME, FRAME]
    content = path.read_bytes()
    assert b"talks with" in content
    assert UNAUTHENTICATED.encode() in content
    assert path.stat().st_size == files.held_bytes


def test_what_is_written_is_readable_while_the_capture_lives(tmp_path: Path) -> None:
    files = started(tmp_path)
    files.write("c1", "leaf1", MIRRORED, 1)
    assert frames(files.paths("c1")) == [FRAME]
    files.stop()


def test_a_capture_goes_on_in_a_part_of_its_own_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        files = started(tmp_path)
        files.write("c1", "leaf1", MIRRORED, 1)
        files.stop()
    assert [path.name for path in files.paths("c1")] == ["c1.0001.pcapng", "c1.0002.pcapng"]
    assert frames(files.paths("c1")) == [FRAME, FRAME]
    assert files.paths("c") == []


def test_parts_end_at_a_size(tmp_path: Path) -> None:
    files = started(tmp_path, max_file_bytes=5000)
    for at in range(20):
        assert files.write("c1", "leaf1", MIRRORED, at)
    files.stop()
    assert len(files.paths("c1")) == 4
    assert len(frames(files.paths("c1"))) == 20


def test_room_is_made_by_dropping_the_oldest_ended_capture_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = started(tmp_path, max_bytes=12_000, max_file_bytes=3000)
    for capture in ("live", "old", "new"):
        for _ in range(3):
            files.write(capture, "leaf1", MIRRORED, 1)
    files.end("old")
    files.end("new")
    for _ in range(3):
        assert files.write("live", "leaf1", MIRRORED, 1)
    assert files.paths("old") == []
    assert files.paths("new") != []
    assert "old.0001.pcapng" in caplog.text
    assert files.counters.deleted_for_room == 1
    files.stop()


def test_without_any_room_frames_are_refused_and_counted(tmp_path: Path) -> None:
    files = started(tmp_path, max_bytes=3000)
    written = [files.write("c1", "leaf1", MIRRORED, 1) for _ in range(10)]
    files.stop()
    assert written == [True, True] + [False] * 8
    assert files.counters.refused_full == 8
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 3000 + 200


def test_files_of_earlier_runs_count_and_are_the_first_to_go(tmp_path: Path) -> None:
    (tmp_path / "gone.0001.pcapng").write_bytes(bytes(9000))
    (tmp_path / "somebody-elses.txt").write_bytes(bytes(9000))
    files = started(tmp_path, max_bytes=10_000)
    assert files.held_bytes == 9000
    assert files.write("c1", "leaf1", MIRRORED, 1)
    files.stop()
    assert not (tmp_path / "gone.0001.pcapng").exists()
    assert (tmp_path / "somebody-elses.txt").exists()


def test_ids_that_are_no_file_names_are_refused(tmp_path: Path) -> None:
    files = started(tmp_path)
    with pytest.raises(ValueError, match="file's name"):
        files.write("../x", "leaf1", MIRRORED, 1)


def test_late_frames_do_not_open_an_ended_capture_again(tmp_path: Path) -> None:
    files = started(tmp_path)
    files.write("c1", "leaf1", MIRRORED, 1)
    files.end("c1")
    assert not files.write("c1", "leaf1", MIRRORED, 2)
    assert files.counters.refused_ended == 1
    assert frames(files.paths("c1")) == [FRAME]
