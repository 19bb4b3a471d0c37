# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What leaves the repository: Python 3.7, an interface as documented, a zipapp without compiled code, sound units."""

import configparser
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import requests

from switch_acl_api.app import create_app
from switch_acl_api.auth import Authenticator
from switch_acl_api.budget import Shares
from switch_acl_api.counters import Counters
from switch_acl_api.service import notify
from switch_acl_api.version import VERSION
from tests.support.shim_world import REPO, Shim, acl

PACKAGE = REPO / "switch_acl_api"
SWITCH = REPO / "deploy" / "switch"
BUILT = REPO / "dist" / "switch-acl-api.pyz"
UNITS = sorted(SWITCH.glob("*.service")) + sorted(SWITCH.glob("*.timer"))


def test_vermin_finds_nothing_newer_than_python_3_7() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("vermin")), "--target=3.7-", "--no-tips", "--violations", str(PACKAGE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_documented_interface_is_the_implemented_one() -> None:
    app = create_app(_Unused(), Authenticator([], None), Counters())  # type: ignore[arg-type]
    implemented = {
        (re.sub(r"<(\w+)>", r"{\1}", str(rule.rule)), method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in {"HEAD", "OPTIONS"}
    }
    assert implemented == _documented()


def _documented() -> set[tuple[str, str]]:
    """Paths and methods of ``openapi.yaml``, by indentation: there is no YAML parser among our libraries."""
    found: set[tuple[str, str]] = set()
    path = ""
    for line in (PACKAGE / "openapi.yaml").read_text().splitlines():
        if match := re.fullmatch(r"  (/\S*):", line):
            path = match[1]
        elif match := re.fullmatch(r"    (get|put|post|patch|delete):", line):
            found.add((path, match[1]))
    return found


def test_the_wheel_has_every_package() -> None:
    listed = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {".".join(path.parent.relative_to(REPO).parts) for path in PACKAGE.rglob("__init__.py")}
    assert {name for name in listed if name.split(".")[0] == "switch_acl_api"} == there


def test_versions_agree() -> None:
    assert f"version: {VERSION}\n" in (PACKAGE / "openapi.yaml").read_text()


class _Unused:
    """An engine whose routes are only listed."""

    shares = Shares(1, 1, 1, 1)


# --- the zipapp -----------------------------------------------------------------------------------


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_zipapp", SWITCH / "build_zipapp.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_requirement_is_pinned_by_hash() -> None:
    lines = [line for line in (SWITCH / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)


def test_only_core_and_the_cumulus_driver_go_in() -> None:
    names = {name for name, _ in builder().own_files()}
    drivers = {name.partition("drivers/")[2] for name in names if "/drivers/" in name}
    assert drivers >= {"__init__.py", "base.py", "table.py", "cumulus/__init__.py", "cumulus/driver.py"}
    assert {name.partition("/")[0] for name in drivers if "/" in name} == {"cumulus"}
    assert {"switch_acl_api/engine.py", "switch_acl_api/openapi.yaml"} <= names


def built() -> Path:
    """The zipapp of these very sources, or a skip."""
    if not BUILT.exists():
        pytest.skip("no zipapp; `make shim` builds it")
    with zipfile.ZipFile(BUILT) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if name.startswith("switch_acl_api/")}
    if held != dict(builder().own_files()):
        pytest.skip("the zipapp is of other sources; `make shim` builds it anew")
    return BUILT


def test_the_zipapp_has_no_compiled_code() -> None:
    with zipfile.ZipFile(built()) as archive:
        assert {Path(name).suffix for name in archive.namelist()} <= {".py", ".yaml", "", ".txt", ".rst"}


def python37() -> str | None:
    """A real Python 3.7; a pyenv shim that only says what it would need is none."""
    found = [str(path) for path in Path.home().glob(".pyenv/versions/3.7.*/bin/python")]
    for candidate in [*found, shutil.which("python3.7")]:
        if (
            candidate
            and subprocess.run([candidate, "-c", "import ssl"], capture_output=True, check=False).returncode == 0
        ):
            return candidate
    return None


@pytest.mark.parametrize("version", ["this", "3.7"])
def test_the_zipapp_serves_and_expires(version: str, tmp_path: Path) -> None:
    zipapp = built()
    python = sys.executable if version == "this" else python37()
    if python is None:
        pytest.skip("no Python 3.7 here")

    class Zipped(Shim):
        def command(self, *arguments: str) -> list[str]:
            return [str(python), "-I", "-W", "error::SyntaxWarning", str(zipapp), "-c", str(self.config), *arguments]

    shim = Zipped(tmp_path, "cumulus")
    try:
        shim.start()
        assert shim.put("one", acl("10.0.0.1"), ttl=60).status_code == 201
        assert shim.put("two", acl("10.0.0.2"), ttl=1).status_code == 201
        assert shim.detail()["acls"]["one"]["installed"] is True
        assert requests.get(shim.url + "/openapi.yaml", timeout=5).text.startswith("# SPDX")
        shim.kill()
        time.sleep(1)
        assert shim.expire() == 0
        assert shim.files() == ["one"]
        assert shim.expire("--boot") == 0
    finally:
        shim.stop()


# --- units ----------------------------------------------------------------------------------------


def unit(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    return parser


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_are_understood_by_systemd(path: Path, tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze here")
    for each in UNITS:
        text = each.read_text().replace("/usr/bin/python3", sys.executable)
        (tmp_path / each.name).write_text(text)
    done = subprocess.run(
        [tool, "verify", "--man=no", str(tmp_path / path.name)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    ours = [line for line in done.stderr.splitlines() if "switch-acl-api" in line]
    assert ours == []


def test_the_three_hands_do_not_need_each_other() -> None:
    timer, expire = unit(SWITCH / "switch-acl-api-expire.timer"), unit(SWITCH / "switch-acl-api-expire.service")
    assert timer["Timer"]["OnUnitActiveSec"] == "30s"
    assert "OnCalendar" not in timer["Timer"]
    for one in (timer, expire):
        assert not set(one["Unit"]) & {"Requires", "BindsTo", "PartOf"}
    boot = (SWITCH / "switch-acl-api-boot.service").read_text()
    assert "Before=aclinit.service acltool.service switchd.service" in boot
    assert "expire --boot" in boot


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_cumulus_vrf_generator_finds_commands_only_in_exec_lines(path: Path) -> None:
    """It rewrites every line that looks like ``Exec…=…/``, comments included: each must be a command."""
    for line in path.read_text().splitlines():
        if re.search(r"Exec[^=]+=[^/]*/", line):
            assert line.startswith("ExecStart=/"), line


def test_systemd_is_told_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        notify("WATCHDOG=1")
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        notify("READY=1")
        sock.settimeout(2)
        assert sock.recv(100) == b"READY=1"
