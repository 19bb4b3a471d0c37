# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The table of drivers: a new driver is one package and one row; one that is left out is reported by name."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from switch_acl_api.config import parse_settings
from switch_acl_api.drivers.base import Driver
from switch_acl_api.drivers.table import DRIVERS, is_installed, make_driver, section_of
from switch_acl_api.settings import DEFAULT_DRIVER
from tests.support.shim_world import REPO, Shim, acl
from tests.unit.switch_acl_api.test_shim_packaging import builder

COMMON = {"auth": [], "erspan_destinations": ["10.0.0.70"]}

SETTINGS = """
from typing import List, NamedTuple

from switch_acl_api.settings import Section, Settings
from switch_acl_api.values import number, text


class ToySettings(NamedTuple):
    colour: str = "red"
    room: int = 5


def check(settings: Settings) -> List[str]:
    return ["toy.room: expected at least max_rules"] if settings.own.room < settings.max_rules else []


SECTION = Section(ToySettings, {"colour": ("colour", text), "room": ("room", number(1, 99))}, check)
"""
DRIVER = """
from switch_acl_api.drivers.base import Count, Driver


def make(settings, clock):
    return ToyDriver(settings.own)


class ToyDriver(Driver):
    name = "toy"

    def __init__(self, own):
        self._own = own
        self._keys = set()

    def commit(self, targets, keep_fds=()):
        self._keys = {rule.key for target in targets for rule in target.rules}

    def installed(self):
        return {key: Count(1, 64) for key in self._keys}

    def problems(self):
        return ["everything is {}".format(self._own.colour)]
"""
# The row: the only thing outside the package.
ROW = "from switch_acl_api.drivers.table import DRIVERS; DRIVERS['toy'] = 'toy_of_a_test'"
MAIN = f"{ROW}; import sys; from switch_acl_api.cli import main; sys.exit(main())"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A driver in a package of its own, with its row."""
    package = tmp_path / "site" / "toy_of_a_test"
    package.mkdir(parents=True)
    for name, text in (("__init__", ""), ("settings", SETTINGS), ("driver", DRIVER)):
        (package / f"{name}.py").write_text(text)
    monkeypatch.setitem(DRIVERS, "toy", package.name)
    monkeypatch.syspath_prepend(package.parent)
    yield package.parent
    for name in [name for name in sys.modules if name.partition(".")[0] == package.name]:
        del sys.modules[name]


@pytest.mark.usefixtures("toy")
def test_a_new_drivers_section_is_read_as_the_others_are() -> None:
    settings, findings = parse_settings({"driver": "toy", "max_rules": 3, **COMMON, "toy": {"room": 4}})
    assert findings == []
    assert (settings.own.colour, settings.own.room) == ("red", 4)
    assert settings.policy_dir == "/var/lib/switch-acl-api/policy.d"


@pytest.mark.usefixtures("toy")
def test_a_new_drivers_mistakes_are_reported_as_the_others_are() -> None:
    _, findings = parse_settings({"driver": "toy", **COMMON, "toy": {"color": "blue", "room": 0}})
    assert findings == [
        'toy.color: unknown key; did you mean "colour"?',
        "toy.room = 0: expected a whole number from 1 to 99",
        "toy.room: expected at least max_rules",
    ]
    _, findings = parse_settings({"driver": "tory", **COMMON})
    assert '"toy"' in findings[0]


@pytest.mark.usefixtures("toy")
def test_the_checks_of_a_driver_that_is_not_configured_are_not_made() -> None:
    table = {"driver": "cumulus", **COMMON, "toy": {"room": 1}}
    assert parse_settings(table)[1] == []
    assert parse_settings({**table, "toy": {"rom": 1}})[1] == ['toy.rom: unknown key; did you mean "room"?']


def test_a_new_driver_serves_rules(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class ToyShim(Shim):
        def command(self, *arguments: str) -> list[str]:
            return [sys.executable, "-c", MAIN, "-c", str(self.config), *arguments]

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(toy), str(REPO)]))
    shim = ToyShim(tmp_path / "switch", "toy", {"max_rules": 5})
    try:
        shim.start()
        assert shim.put("one", acl("10.0.0.1")).status_code == 201
        detail = shim.detail()
        one = detail["acls"]["one"]
        assert (detail["driver"], one["installed"], one["bytes"]) == ("toy", True, 64)
        assert "everything is red" in shim.call("GET", "/healthz").text
        assert shim.call("DELETE", "/acl/one").status_code == 204
        assert shim.names() == []
        shim.stop()
        assert shim.expire() == 0
    finally:
        shim.stop()


# --- the rows that are there ------------------------------------------------------------------------


@pytest.mark.parametrize("name", DRIVERS)
def test_each_row_leads_to_a_driver_of_that_name(name: str) -> None:
    settings, findings = parse_settings({"driver": name, **COMMON})
    assert findings == []

    class Clock:
        boot_id = "this"

    driver = make_driver(settings, Clock())  # type: ignore[arg-type]
    assert isinstance(driver, Driver)
    assert driver.name == name


@pytest.mark.parametrize("name", DRIVERS)
def test_every_field_of_a_section_has_one_key_and_a_default(name: str) -> None:
    section = section_of(name)
    assert sorted(field for field, _ in section.keys.values()) == sorted(section.make()._fields)


@pytest.mark.parametrize("verify", [True, False])
def test_cumulus_reads_back_if_it_is_told_to(verify: bool) -> None:
    settings, _ = parse_settings({"driver": "cumulus", **COMMON, "cumulus": {"verify": verify}})
    assert make_driver(settings, None).reads_back is verify  # type: ignore[arg-type]


# --- an installation with fewer drivers -------------------------------------------------------------


def test_a_row_without_its_package_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DRIVERS, "absent", "switch_acl_api.drivers.absent")
    assert [name for name in DRIVERS if not is_installed(name)] == ["absent"]
    settings, findings = parse_settings({"driver": "absent", **COMMON, "absent": {"x": 1}})
    assert len(findings) == 1
    assert '"absent" is not part of this installation' in findings[0]
    # The hand that removes rules goes on with the default.
    assert settings.driver == DEFAULT_DRIVER


@pytest.fixture(scope="module")
def smaller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that go into the zipapp, as a folder."""
    folder = tmp_path_factory.mktemp("smaller")
    for name, content in builder().own_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def run(folder: Path, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "switch_acl_api", "-c", str(config), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_what_the_zipapp_carries_names_the_driver_that_it_lacks(smaller: Path, tmp_path: Path) -> None:
    shim = Shim(tmp_path, "linux")
    done = run(smaller, shim.config)
    assert done.returncode == 2
    assert 'driver = "linux": expected one of "cumulus"; "linux" is not part of this installation' in done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_zipapp_carries_accepts_sections_of_other_drivers(smaller: Path, tmp_path: Path) -> None:
    shim = Shim(tmp_path, "cumulus")
    assert "[ovs]" in shim.config.read_text()
    done = run(smaller, shim.config, "expire")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_driver_that_is_lacking_does_not_keep_expired_rules(smaller: Path, tmp_path: Path) -> None:
    """The settings of a running switch were changed: what is installed there is removed all the same."""
    shim = Shim(tmp_path, "cumulus")
    try:
        shim.start()
        assert shim.put("one", acl("10.0.0.1")).status_code == 201
    finally:
        shim.stop()
    shim.boot("another-boot")
    shim.config.write_text(shim.config.read_text().replace('driver = "cumulus"', 'driver = "linux"'))
    done = run(smaller, shim.config, "expire")
    assert done.returncode == 2, done.stderr
    assert "not part of this installation" in done.stderr
    assert shim.files() == []
