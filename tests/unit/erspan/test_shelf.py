# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import os
import time
from pathlib import Path

import dpkt
import pytest

from sentinel.erspan.decapsulate import Mirrored
from sentinel.erspan.files import CaptureFiles, Kept
from sentinel.erspan.shelf import Deleted
from sentinel.packets.pcap import packets
from tests.support.mirroring import ethernet

FRAME = ethernet(payload=b"x" * 900)
MIRRORED = Mirrored("10.0.0.1", "10.0.0.70", "II", FRAME)


def frames(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return [bytes(data) for _, data in dpkt.pcapng.Reader(file)]


def test_files_become_only_so_old_and_that_is_said(tmp_path: Path) -> None:
    deleted: list[Deleted] = []
    files = CaptureFiles(tmp_path, 1 << 20, max_age_s=60.0, on_deleted=deleted.append)
    (tmp_path / "old.0001.pcapng").write_bytes(bytes(100))
    os.utime(tmp_path / "old.0001.pcapng", (0, time.time() - 100))
    (tmp_path / "recent.0001.pcapng").write_bytes(bytes(100))
    files.start()
    assert deleted == [Deleted("old", "old.0001.pcapng", 100, "age")]
    files.write("c1", "leaf1", MIRRORED, 1)
    files.expire(time.time() + 100)
    assert [each.capture_id for each in deleted] == ["old", "recent"], "what is being written stays"
    files.end("c1")
    files.expire(time.time() + 100)
    assert [each.capture_id for each in deleted] == ["old", "recent", "c1"]
    assert (files.counters.deleted_for_age, files.held_bytes, list(tmp_path.iterdir())) == (3, 0, [])


def test_files_are_only_so_many_and_ended_captures_go_first(tmp_path: Path) -> None:
    deleted: list[Deleted] = []
    files = CaptureFiles(tmp_path, 1 << 20, max_file_bytes=500, max_files=3, on_deleted=deleted.append)
    files.start()
    files.write("live", "leaf1", MIRRORED, 1)
    for name in ("a", "b", "c", "d"):
        files.write(name, "leaf1", MIRRORED, 1)
        files.end(name)
    assert [(each.capture_id, each.reason) for each in deleted] == [("a", "number"), ("b", "number")]
    assert files.paths("live") != []
    files.stop()


def test_whoever_is_told_of_a_deletion_may_ask(tmp_path: Path) -> None:
    files = CaptureFiles(
        tmp_path, 3000, max_file_bytes=900, on_deleted=lambda each: asked.append(files.paths(each.capture_id))
    )
    asked: list[list[Path]] = []
    files.start()
    for name in ("a", "b", "c"):
        files.write(name, "leaf1", MIRRORED, 1)
        files.end(name)
    assert asked
    assert all(paths == [] for paths in asked)


def test_more_captures_than_open_files_are_written_all_the_same(tmp_path: Path) -> None:
    files = CaptureFiles(tmp_path, 1 << 20, max_open=2)
    files.start()
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(3):
        for name in ("a", "b", "c", "d", "e"):
            assert files.write(name, "leaf1", MIRRORED, 1)
            assert not before or len(os.listdir("/proc/self/fd")) <= before + 2
    for name in ("a", "b", "c", "d", "e"):
        [part], written = files.parts(name)
        assert written
        assert part.size == part.path.stat().st_size
        files.end(name)
        [path] = files.paths(name)
        assert frames(path) == [FRAME] * 3


def test_a_refused_first_frame_of_a_switch_leaves_no_interface_without_its_block(tmp_path: Path) -> None:
    files = CaptureFiles(tmp_path, 2000)
    files.start()
    assert files.write("c1", "leaf1", MIRRORED, 1)
    assert not files.write("c1", "leaf2", MIRRORED, 1)
    assert files.write("c1", "leaf2", MIRRORED._replace(frame=FRAME[:60]), 1)
    files.stop()
    [path] = files.paths("c1")
    # This reader knows which interfaces have been announced.
    assert [each.data for each in packets(path)] == [FRAME, FRAME[:60]]


def test_what_was_received_is_known_by_capture(tmp_path: Path) -> None:
    files = CaptureFiles(tmp_path, 1 << 20)
    files.start()
    assert files.received("c1") is None
    files.write("c1", "leaf1", MIRRORED, 1, dropped=4)
    files.write("c1", "leaf2", MIRRORED._replace(truncated=True), 1, packet_id=1, duplicate_of="by leaf1")
    files.count_left_out("c1")
    files.write("c2", "leaf2", MIRRORED, 1)
    files.stop()
    assert files.received("c1") == Kept(frames=2, bytes=2 * len(FRAME), duplicates=2, truncated=1, lost=4)
    [path] = files.paths("c1")
    assert b"duplicate: the same packet as mirrored by leaf1" in path.read_bytes()


def test_a_full_disk_costs_frames_and_not_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = CaptureFiles(tmp_path, 1 << 20)
    files.start()
    files.write("c1", "leaf1", MIRRORED, 1)

    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

    part = files._open["c1"]
    file, part.file = part.file, Full()  # type: ignore[assignment]  # as much of a file as is asked for
    with pytest.raises(OSError, match="No space"):
        files.write("c1", "leaf1", MIRRORED, 1)
    part.file = file
    files.write("c1", "leaf1", MIRRORED, 1)
    files.stop()
    [path] = files.paths("c1")
    assert frames(path) == [FRAME, FRAME]
    assert files.held_bytes == path.stat().st_size
