# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The linux driver where its tools fail, and how leases become timeouts. What it does with real ones: tests/lab."""

from pathlib import Path

import pytest

from switch_acl_api.clock import BootClock
from switch_acl_api.config import parse_settings
from switch_acl_api.drivers.base import Target
from switch_acl_api.drivers.linux.driver import LinuxDriver
from switch_acl_api.drivers.linux.nft import Nft
from switch_acl_api.drivers.linux.nft_table import ABSENT, group_of
from switch_acl_api.drivers.linux.settings import LinuxSettings
from switch_acl_api.errors import CommitError, ListingError
from switch_acl_api.grammar import read_rules
from switch_acl_api.leases import Deadline
from switch_acl_api.policy import Acl
from tests.support.shim_world import acl


def program(folder: Path, text: str) -> str:
    path = folder / "nft"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'Error: Operation not permitted'; exit 1", "Operation not permitted"),
        ("echo nonsense", "Expecting value"),
        ("exit 3", "no output"),
        ("sleep 5", "did not end within"),
    ],
)
def test_a_listing_that_fails_is_told(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(ListingError, match=words):
        Nft(program(tmp_path, script), 0.3).table()


def test_no_table_is_an_empty_one(tmp_path: Path) -> None:
    script = "echo 'Error: No such file or directory'; echo 'list table netdev switch_acl_api'; exit 1"
    assert Nft(program(tmp_path, script)).table() == ABSENT


def test_no_nft_at_all(tmp_path: Path) -> None:
    nft = Nft(str(tmp_path / "absent"))
    assert not nft.is_there
    with pytest.raises(ListingError, match="cannot be run"):
        nft.table()
    with pytest.raises(CommitError, match="cannot be run"):
        nft.apply("")


def test_nft_reads_the_script_and_its_complaint_is_told_without_the_place(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    text = f"cat \"$2\" > {seen}; echo '/proc/self/fd/3:1:1-9: Error: syntax error'; echo detail; exit 1"
    with pytest.raises(CommitError) as caught:
        Nft(program(tmp_path, text)).apply("add table netdev x\n")
    assert seen.read_text() == "add table netdev x\n"
    assert (caught.value.kind, caught.value.error) == ("rejected", "error: syntax error")


def test_start_needs_nft(tmp_path: Path) -> None:
    driver = LinuxDriver(LinuxSettings(nft=str(tmp_path / "absent")), clock(tmp_path), ["swp+"])
    with pytest.raises(FileNotFoundError, match="nft"):
        driver.start()


def test_start_says_what_the_kernel_would_not_take(tmp_path: Path) -> None:
    nft = program(tmp_path, "echo 'Error: no dup'; exit 1")
    driver = LinuxDriver(LinuxSettings(nft=nft), clock(tmp_path), ["swp+"])
    with pytest.raises(OSError, match="this kernel takes no such rules: error: no dup"):
        driver.start()


def clock(folder: Path) -> BootClock:
    file = folder / "boot_id"
    file.write_text("this\n")
    return BootClock(str(file))


def target(name: str, lease: Deadline | None, *sources: str) -> Target:
    lines = tuple(acl(*sources))
    return Target(Acl(name, "anonymous", lines, lease, "n"), tuple(read_rules(lines)))


def test_leases_become_seconds_and_the_longer_of_two_counts(tmp_path: Path) -> None:
    driver = LinuxDriver(LinuxSettings(), clock(tmp_path), ["swp+"])
    now = clock(tmp_path).now().at
    targets = [
        target("a", Deadline("this", now + 60), "10.0.0.1", "10.0.0.2"),
        target("b", Deadline("this", now + 90), "10.0.0.2"),
        target("c", Deadline("another boot", now + 90), "10.0.0.3"),
    ]
    wanted, ends = driver._wishes(targets)
    group = group_of(targets[0].rules[0])
    pairs = {source: left for (source, _), left in wanted[group][4].items()}
    assert pairs["10.0.0.1"] == pytest.approx(60, abs=1)
    assert pairs["10.0.0.2"] == pytest.approx(90, abs=1)
    assert pairs["10.0.0.3"] == 0.0
    assert ends[group.mirror] == pytest.approx(now + 92, abs=1)


def test_one_rule_without_end_keeps_its_mirror_without_end(tmp_path: Path) -> None:
    driver = LinuxDriver(LinuxSettings(), clock(tmp_path), ["swp+"])
    now = clock(tmp_path).now().at
    for order in (1, -1):
        targets = [target("a", None, "10.0.0.1"), target("b", Deadline("this", now + 9), "10.0.0.1")][::order]
        wanted, ends = driver._wishes(targets)
        assert list(ends.values()) == [0.0]
        assert list(wanted[group_of(targets[0].rules[0])][4].values()) == [None]


def test_settings() -> None:
    table = {"driver": "linux", "auth": [], "erspan_destinations": ["10.9.0.2"], "ports": ["eth+"]}
    settings, findings = parse_settings({**table, "linux": {"realisation": "veth"}})
    assert (findings, settings.own.realisation) == ([], "veth")
    assert settings.policy_dir == "/var/lib/switch-acl-api/policy.d"
    _, findings = parse_settings({**table, "linux": {"realization": "veth", "nft": 5}})
    assert len(findings) == 2
    assert any('did you mean "realisation"' in finding for finding in findings)
