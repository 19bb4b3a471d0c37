# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One daemon per folder of state, however the one before ended."""

import os
import signal
from pathlib import Path

import pytest

from sentinel.components.statedir import StateDir
from sentinel.errors import ConfigError


def test_the_second_is_refused_by_the_name_of_the_folder_until_the_first_stops(tmp_path: Path) -> None:
    path = tmp_path / "var" / "state"
    first, second = StateDir(path), StateDir(path)
    first.start()
    assert path.stat().st_mode & 0o777 == 0o700
    for _ in range(3):
        with pytest.raises(ConfigError, match=f"{path} is in use"):
            second.start()
    # By another name it is the same folder.
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ConfigError):
        StateDir(tmp_path / "link").start()
    other = StateDir(tmp_path / "other")
    other.start()
    other.stop()
    first.stop()
    second.start()
    second.stop()


def test_the_lock_is_no_file_that_could_be_deleted(tmp_path: Path) -> None:
    first = StateDir(tmp_path)
    first.start()
    assert list(tmp_path.iterdir()) == []
    first.stop()


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            part = StateDir(tmp_path)
            part.start()
            os.write(tell, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.read(ready, 1)
    with pytest.raises(ConfigError):
        StateDir(tmp_path).start()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    part = StateDir(tmp_path)
    part.start()
    part.stop()
    for each in (ready, tell):
        os.close(each)


def test_what_is_no_folder_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        StateDir(tmp_path / "file").start()
