# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The settings: every error at once, with key, value, expectation and the nearest key."""

import re
import tomllib
from pathlib import Path

import pytest

from switch_acl_api import config
from switch_acl_api.config import parse_settings
from switch_acl_api.drivers.table import section_of
from switch_acl_api.limits import MAX_BULK_NAMES
from tests.support.shim_world import REPO

MINIMAL = {"driver": "cumulus", "auth": [], "erspan_destinations": ["10.0.0.70"]}
SHIPPED = REPO / "deploy" / "switch" / "switch-acl-api.toml"


def test_a_minimal_file_has_the_documented_defaults() -> None:
    settings, findings = parse_settings(dict(MINIMAL))
    assert findings == []
    assert (settings.listen, settings.max_rules, settings.default_ttl_s) == (("127.0.0.1", 8080), 100, 3600.0)
    assert settings.policy_dir == "/etc/cumulus/acl/policy.d"
    assert not settings.exposed


def test_every_error_at_once() -> None:
    _, findings = parse_settings(
        {
            **MINIMAL,
            "listen": "leaf1:8443",
            "max_rules": True,
            "max_ruls": 5,
            "default_ttl": 60,
            "insecure": 1,
            "ports": ["swp 1"],
            "cumulus": {"cl_acltol": "x", "verify": "no"},
        }
    )
    text = "\n".join(findings)
    assert len(findings) == 8
    for expected in (
        'listen = "leaf1:8443": expected an address and a port',
        "max_rules = True: expected a whole number from 1 to 15000",
        'max_ruls: unknown key; did you mean "max_rules"?',
        "default_ttl = 60: expected a duration with its unit",
        "insecure = 1: expected true or false",
        "ports = ",
        'cumulus.cl_acltol: unknown key; did you mean "cl_acltool"?',
        'cumulus.verify = "no": expected true or false',
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"driver": "sonic"}, "driver"),
        ({"auth": ["password"]}, "auth"),
        ({"auth": ["token"]}, "token_file: missing"),
        ({"auth": ["mtls"]}, "client_ca: missing"),
        ({"tls_cert": "x"}, "one without the other"),
        ({"erspan_destinations": []}, "at least one"),
        ({"erspan_destinations": ["224.0.0.1"]}, "hosts"),
        ({"erspan_destinations": ["10.0.0.0/24"]}, "IPv4 addresses"),
        ({"erspan_destinations": ["127.0.0.1"]}, "front-panel"),
        ({"default_ttl": "2h"}, "at most max_ttl"),
        ({"cumulus": 3}, "expected a section"),
    ],
)
def test_contradictions_are_found(change: dict[str, object], said: str) -> None:
    _, findings = parse_settings({**MINIMAL, **change})
    assert any(said in finding for finding in findings), findings


def test_what_must_be_said() -> None:
    _, findings = parse_settings({})
    assert [finding.split(":")[0] for finding in findings] == ["driver", "erspan_destinations", "auth"]


def test_never_is_a_default_ttl() -> None:
    settings, findings = parse_settings({**MINIMAL, "default_ttl": "never"})
    assert (settings.default_ttl_s, findings) == (None, [])


def test_an_owners_part_follows_the_whole() -> None:
    settings, findings = parse_settings({**MINIMAL, "max_rules": 50})
    assert (settings.max_rules_per_owner, settings.max_names_per_owner, findings) == (50, 200, [])
    assert parse_settings({**MINIMAL, "max_rules": 15_000})[0].max_names_per_owner == MAX_BULK_NAMES
    settings, _ = parse_settings({**MINIMAL, "max_rules_per_owner": 5, "max_names_per_owner": 9})
    assert (settings.max_rules, settings.max_rules_per_owner, settings.max_names_per_owner) == (100, 5, 9)


def test_the_shipped_file_is_right_and_names_every_key() -> None:
    text = SHIPPED.read_text()
    settings, findings = parse_settings(tomllib.loads(text))
    assert findings == []
    assert settings.exposed
    documented = set(re.findall(r"^(?:# )?([a-z_]+) = ", text, re.MULTILINE))
    assert documented == set(config.KEYS) | set(section_of("cumulus").keys)


def test_the_defaults_the_shipped_file_shows_are_the_defaults() -> None:
    """A commented key, uncommented, changes nothing."""
    lines = SHIPPED.read_text().splitlines()
    quiet = parse_settings(tomllib.loads("\n".join(lines)))[0]
    loud = [
        re.sub(r"^# ([a-z_]+ = )", r"\1", line)
        for line in lines
        if not line.startswith(("# client_ca", "# erspan_sources"))
    ]
    assert parse_settings(tomllib.loads("\n".join(loud))) == (quiet, [])


def test_a_file_that_is_no_toml_or_no_file(tmp_path: Path) -> None:
    assert config.read_settings(str(tmp_path))[1]
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b"\xff = [")
    assert "not TOML" in config.read_settings(str(bad))[1][0]
