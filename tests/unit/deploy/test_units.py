# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The daemon's systemd unit and its drop-in: understood by systemd, naming commands that exist, nothing to spare."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sentinel.cli import cli
from sentinel.commands.options import PLACES
from sentinel.config.settings import CaptureSettings, Settings
from sentinel.limits import SWITCH_ANSWER_TIMEOUT_S

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "deploy" / "sentinel.service"
DROP_IN = ROOT / "deploy" / "sentinel-erspan.conf"
SECTIONS = {"Unit", "Service", "Install"}


def directives(path: Path) -> dict[str, list[str]]:
    """``Section.Key`` to its values, in order; a unit may repeat a key."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line.strip("[]")
            assert section in SECTIONS
            continue
        key, equals, value = line.partition("=")
        assert equals
        assert re.fullmatch(r"[A-Z][A-Za-z]+", key), line
        found.setdefault(f"{section}.{key}", []).append(value)
    return found


def test_it_runs_a_command_that_exists_on_the_settings_that_are_looked_for() -> None:
    [command] = directives(UNIT)["Service.ExecStart"]
    program, word, option, settings = command.split()
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert Path(program).name in scripts
    assert word in cli.commands
    assert any(option in parameter.opts for parameter in cli.commands[word].params)
    assert Path(settings) in PLACES


def test_a_broken_switch_does_not_keep_the_daemon_from_starting() -> None:
    assert "Service.ExecStartPre" not in directives(UNIT)


def test_it_comes_back_before_a_lease_runs_out_but_not_with_wrong_settings() -> None:
    unit = directives(UNIT)
    lease_s = CaptureSettings(mode="dry-run", erspan_destination="192.0.2.1").switch_lease_s
    assert unit["Service.Restart"] == ["always"]
    assert float(unit["Service.RestartSec"][0]) + float(unit["Service.TimeoutStopSec"][0]) < lease_s
    assert float(unit["Service.TimeoutStopSec"][0]) > SWITCH_ANSWER_TIMEOUT_S
    assert unit["Service.RestartPreventExitStatus"] == ["2"]
    assert unit["Unit.StartLimitIntervalSec"] == ["0"]


def test_what_it_may_write_is_its_state() -> None:
    unit = directives(UNIT)
    assert Settings.model_fields["state_dir"].default == Path("/var/lib") / unit["Service.StateDirectory"][0]
    assert unit["Service.ProtectSystem"] == ["strict"]
    assert "Service.ReadWritePaths" not in unit


def test_it_has_no_privilege_and_the_drop_in_one() -> None:
    unit, drop_in = directives(UNIT), directives(DROP_IN)
    assert unit["Service.User"] == ["sentinel"]
    assert unit["Service.NoNewPrivileges"] == ["yes"]
    assert unit["Service.CapabilityBoundingSet"] == unit["Service.AmbientCapabilities"] == [""]
    assert drop_in == {
        "Service.CapabilityBoundingSet": ["CAP_NET_RAW"],
        "Service.AmbientCapabilities": ["CAP_NET_RAW"],
    }


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("with_drop_in", [False, True])
def test_systemd_understands_it(tmp_path: Path, with_drop_in: bool) -> None:
    text = UNIT.read_text(encoding="utf-8").replace("/opt/sentinel/bin/sentinel", sys.executable)
    unit = tmp_path / UNIT.name
    unit.write_text(text, encoding="utf-8")
    if with_drop_in:
        folder = tmp_path / "sentinel.service.d"
        folder.mkdir()
        shutil.copy(DROP_IN, folder / "erspan.conf")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line or UNIT.name in line]
    assert complaints == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_calls_it_well_confined() -> None:
    """Exposure 0 to 10; a unit without any hardening has 9.6, and what this one needs (network, files) leaves 1.5."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(UNIT)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for sentinel\.service: ([0-9.]+)", done.stdout)
    if found is None:
        pytest.skip("this systemd cannot judge a unit offline")
    assert float(found[1]) < 2.5
