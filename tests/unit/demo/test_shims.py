# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import tomllib
from pathlib import Path

import pytest

from sentinel.config.settings import parse
from sentinel.demo.settings import Pace, Ports, settings_text
from sentinel.demo.shims import Shim
from sentinel.demo.topology import SWITCHES


def test_the_demo_writes_a_settings_file_that_the_daemon_takes(tmp_path: Path) -> None:
    shims = [Shim(node, tmp_path, "127.0.1.70", 4754, 12) for node in SWITCHES]
    settings = parse(tomllib.loads(settings_text(tmp_path, Ports(6343, 4754, 8008), shims, Pace())), "sentinel.toml")
    assert [switch.name for switch in settings.switch] == ["leaf1", "leaf2", "spine"]
    assert settings.erspan.gre_in_udp == ("127.0.1.70", 4754)
    assert settings.capture.quiet_s == 6
    assert not settings.erspan.receive


def test_a_shim_starts_answers_and_stops(tmp_path: Path) -> None:
    shim = Shim(SWITCHES[0], tmp_path, "127.0.1.70", 4754, 12)
    assert shim.rules() is None
    shim.start()
    try:
        shim.wait()
        assert shim.rules() == []
    finally:
        shim.stop()
    assert shim.rules() is None


def test_a_shim_that_does_not_start_says_why(tmp_path: Path) -> None:
    shim = Shim(SWITCHES[0], tmp_path, "not-an-address", 4754, 12)
    shim.start()
    try:
        with pytest.raises(RuntimeError, match=r"(?s)leaf1 did not start.*erspan_destinations"):
            shim.wait()
    finally:
        shim.stop()
