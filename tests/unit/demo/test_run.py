# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import io
import logging
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from sentinel.demo.run import run_demo
from sentinel.demo.settings import Pace
from sentinel.demo.story import Teller

PACE = Pace(talk_s=4.0, quiet_s=2, lease_s=3)


def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exit_after_s: float) -> tuple[int, str]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    out = io.StringIO()
    code = run_demo(exit_after_s, Teller(Console(file=out, width=80, highlight=False)), PACE)
    assert not logging.getLogger("sentinel").handlers
    return code, out.getvalue()


def test_the_whole_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, story = played(tmp_path, monkeypatch, 25.0)
    assert code == 0, story
    parts = ["begins to fetch", "DETECTED web1", "asks leaf1, and no other", "mirrors web1", "stops", "no rule is left"]
    places = [story.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)
    assert all(len(row) <= 80 for row in story.splitlines() if not row.startswith(("captured:", "settings")))
    (path,) = tmp_path.glob("*/pcap/*.pcapng")
    if shutil.which("tshark"):
        done = subprocess.run(["tshark", "-r", path, "-q"], capture_output=True, text=True, timeout=60, check=True)
        assert [line for line in done.stderr.splitlines() if "Running as user" not in line] == []


def test_too_little_time_is_told_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, story = played(tmp_path, monkeypatch, 3.5)
    assert code == 1
    assert "no time for the host to stop" in " ".join(story.split())
