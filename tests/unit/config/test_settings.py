# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import tomllib
from pathlib import Path

import pytest

from sentinel.config import units
from sentinel.config.settings import load, parse
from sentinel.errors import ConfigError

MINIMAL = """
[network]
local = ["10.0.0.0/8"]
[capture]
mode = "manual"
erspan_destination = "10.0.0.70"
"""


def findings(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        parse(tomllib.loads(text), "sentinel.toml")
    return raised.value.findings


def test_minimal_settings_get_the_documented_defaults() -> None:
    settings = parse(tomllib.loads(MINIMAL), "x")
    assert settings.capture.quiet_s == 600
    assert settings.capture.longest_s == 3600
    assert settings.capture.switch_lease_s == 120
    assert settings.sflow.listen == (("::", 6343),)
    assert settings.web.listen == ("127.0.0.1", 8008)


def test_every_error_at_once_with_nearest_key() -> None:
    found = findings(
        """
        [network]
        local = ["10.0.0.0/8", "banana"]
        [capture]
        mod = "automatic"
        quiet = 10
        erspan_destination = "224.0.0.1"
        [sflw]
        listen = []
        [[switch]]
        name = "leaf 1"
        agents = ["x"]
        url = "https://leaf1:8443"
        rol = "leaf"
        """
    )
    assert [line.partition(":")[0].partition(" =")[0] for line in found] == [
        "network.local[1]",
        "capture.mode",
        "capture.erspan_destination",
        "capture.quiet",
        "capture.mod",
        "switch[0].name",
        "switch[0].agents[0]",
        "switch[0].rol",
        "sflw",
    ]
    assert 'did you mean "mode"' in found[4]
    assert 'did you mean "role"' in found[7]
    assert 'did you mean "sflow"' in found[8]
    assert '"automatic", "manual" or "dry-run"' in found[1]


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ('[web]\nlisten = "0.0.0.0:8008"', "web: listen must be a loopback address"),
        ('[switches]\nagents = ["10.0.0.0/24"]', "switches: agents needs url"),
        ('[[switch]]\nname = "a"\nagents = ["10.0.0.1"]\nurl = "http://10.0.0.1:8080"', "expected https"),
        ('[switches]\nurl = "http://{agent}:8080"\ninsecure = true\ntoken_file = "/t"', "only over verified TLS"),
        (
            '[[switch]]\nname = "a"\nagents = ["10.0.0.1"]\nurl = "https://a:1"\n' * 2,
            "the name stands twice",
        ),
    ],
)
def test_unsafe_or_contradictory_settings_are_refused(extra: str, expected: str) -> None:
    assert any(expected in line for line in findings(MINIMAL + extra))


def test_quiet_longer_than_longest_is_refused() -> None:
    assert any("quiet must not be longer" in line for line in findings(MINIMAL + 'quiet = "2h"'))


def test_inventory_rows_become_switches_and_their_errors_name_the_row(tmp_path: Path) -> None:
    inventory = tmp_path / "switches.csv"
    inventory.write_text(
        "name,agent,url,role\nleaf1,10.0.0.1 10.0.1.1,https://leaf1:8443,leaf\n,10.0.0.2,https://b:1,\n"
    )
    document = MINIMAL + f'[switches]\ninventory = "{inventory}"'
    assert findings(document) == ["inventory row 2.name: missing; it must be said"]
    inventory.write_text("name,agent,url,role\nleaf1,10.0.0.1 10.0.1.1,https://leaf1:8443,spine\n")
    switch = parse(tomllib.loads(document), "x").switch[0]
    assert (switch.agents, switch.role) == (("10.0.0.1", "10.0.1.1"), "spine")


def test_inventory_with_unknown_column_or_short_row_says_the_line(tmp_path: Path) -> None:
    inventory = tmp_path / "switches.csv"
    inventory.write_text("name,agent,uri\nx,y,z\n")
    document = MINIMAL + f'[switches]\ninventory = "{inventory}"'
    assert any("unknown column 'uri'" in line for line in findings(document))
    inventory.write_text("name,agent,url\nleaf1,10.0.0.1\n")
    assert any("line 2: expected 3 cells" in line for line in findings(document))


def test_unreadable_and_malformed_files_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[network\n")
    with pytest.raises(ConfigError, match="is not TOML"):
        load(broken)


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("1.5h", 5400), ("250ms", 0.25), ("2d", 172800)])
def test_durations(text: str, seconds: float) -> None:
    assert units.duration_s(text) == seconds


@pytest.mark.parametrize("wrong", [10, "10", "m", "10 minutes", "-1s", "", None, "1e3s"])
def test_durations_without_a_clear_unit_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="with its unit"):
        units.duration_s(wrong)


def test_sizes_and_rates() -> None:
    assert units.size_bytes("32MiB") == 32 * 2**20
    assert units.rate_bps("1Gbps") == 10**9
