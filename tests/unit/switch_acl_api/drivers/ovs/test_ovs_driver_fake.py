# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The Open vSwitch driver over a switch that is a dictionary; the real one is in tests/lab."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from switch_acl_api.clock import BootClock
from switch_acl_api.drivers.base import Count, Target
from switch_acl_api.drivers.ovs.driver import OvsDriver
from switch_acl_api.drivers.ovs.settings import OvsSettings
from switch_acl_api.errors import CommitError, ListingError
from switch_acl_api.grammar import Rule, read_rules
from switch_acl_api.leases import Deadline
from switch_acl_api.policy import Acl

A, B, C = "10.1.0.10", "198.51.100.7", "198.51.100.9"
SET_UP = {
    "erspan_ver": "flow",
    "in_key": "4294967295",
    "local_ip": "flow",
    "out_key": "flow",
    "remote_ip": "flow",
    "ttl": "64",
}


class FakeSwitch:
    """Executes what the tools are asked for; ``flows_by_match`` is its table, in which a match stands once."""

    def __init__(self) -> None:
        self.flows_by_match: dict[str, tuple[str, str]] = {}
        self.counted: dict[str, int] = {}
        self.ports_by_name = {"swp1": 1, "swp2": 2}
        self.interfaces: dict[str, dict[str, Any]] = {}
        self.bundles: list[list[str]] = []
        self.no_flood: list[str] = []
        self.dead = False

    def _alive(self) -> None:
        if self.dead:
            raise CommitError("broken", "ovs-ofctl: connecting to br0.mgmt (Connection refused)")

    def flows(self, _: str) -> str:
        self._alive()
        lines = []
        names = {number: name for name, number in self.ports_by_name.items()}
        for match, (head, actions) in self.flows_by_match.items():
            packets = self.counted[match]
            matched = re.sub(r"in_port=(\d+)", lambda m: f'in_port="{names[int(m.group(1))]}"', head)
            done = re.sub(r"output:(\d+)", lambda m: f"output:{names[int(m.group(1))]}", actions)
            done = done.replace("load:1->", "load:0x1->")
            lines.append(f" {matched}, n_packets={packets}, n_bytes={packets * 100}, duration=0.0s actions={done}")
        return "\n".join(lines)

    def ports(self) -> str:
        self._alive()
        return "".join(f" {number}({name}): addr:02:00:00:00:00:01\n" for name, number in self.ports_by_name.items())

    def do_not_flood(self, port: str) -> None:
        self.no_flood.append(port)

    def bundle(self, lines: Sequence[str], keep_fds: tuple[int, ...]) -> None:
        self._alive()
        self.bundles.append(list(lines))
        for line in lines:
            word, rest = line.split(" ", 1)
            cookie = rest.split(",")[0].split("/")[0]
            if word == "delete":
                gone = [match for match, (head, _) in self.flows_by_match.items() if head.startswith(cookie)]
                for match in gone:
                    del self.flows_by_match[match], self.counted[match]
                continue
            head, actions = rest.split(",actions=")
            match = re.sub(r"cookie=[^,]+,|hard_timeout=[^,]+,", "", head)
            self.flows_by_match[match] = (head, actions)
            self.counted.setdefault(match, 0)

    def table(self, *question: str) -> list[dict[str, Any]]:
        self._alive()
        name = question[-1].partition("=")[2]
        return [self.interfaces[name]] if name in self.interfaces else []

    def vsctl(self, *words: str) -> str:
        self._alive()
        name = words[words.index("Interface") + 1]
        options = dict(w.removeprefix("options:").split("=") for w in words if w.startswith("options:"))
        owner = next(w.partition("=")[2] for w in words if w.startswith("external_ids:"))
        self.interfaces[name] = {"type": "erspan", "external_ids": {"owner": owner}, "options": options}
        self.ports_by_name[name] = 9
        return ""


@pytest.fixture
def switch() -> FakeSwitch:
    return FakeSwitch()


@pytest.fixture
def driver(switch: FakeSwitch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OvsDriver:
    (tmp_path / "boot_id").write_text("boot\n")
    made = OvsDriver(OvsSettings(), BootClock(str(tmp_path / "boot_id")), 5.0, ["10.9.0.2"])
    monkeypatch.setattr(made, "_tools", switch)
    return made


@pytest.fixture
def target(driver: OvsDriver, tmp_path: Path) -> Callable[..., Target]:
    clock = BootClock(str(tmp_path / "boot_id"))

    def make(destination: str = B, left_s: float = 60.0, port: str = "swp+") -> Target:
        target = "-j ERSPAN --src-ip 10.9.0.1 --dst-ip 10.9.0.2"
        texts = ("[iptables]", f"-A FORWARD -i {port} -s {A} -d {destination} {target}")
        lease = Deadline("boot", clock.now().at + left_s)
        return Target(Acl(destination, "me", texts, lease, "nonce"), tuple(read_rules(texts)))

    return make


Make = Callable[..., Target]


def key(target: Target) -> Any:
    return target.rules[0].key


def test_what_was_committed_is_installed_and_what_is_left_out_goes(
    driver: OvsDriver, switch: FakeSwitch, target: Make
) -> None:
    one, two = target(B), target(C)
    driver.commit([one, two])
    assert driver.installed() == {key(one): Count(0, 0), key(two): Count(0, 0)}
    driver.commit([two])
    assert driver.installed() == {key(two): Count(0, 0)}
    driver.commit([])
    assert (driver.installed(), switch.flows_by_match) == ({}, {})


def test_a_commit_that_changes_nothing_says_nothing_to_the_switch(
    driver: OvsDriver, switch: FakeSwitch, target: Make
) -> None:
    driver.commit([target()])
    driver.commit([target()])
    assert len(switch.bundles) == 1


def test_a_renewal_is_one_flow_added_again_and_counts_on(driver: OvsDriver, switch: FakeSwitch, target: Make) -> None:
    driver.commit([target(left_s=10)])
    [match] = switch.counted
    switch.counted[match] = 7
    one = target(left_s=100)
    driver.renew([one])
    [line] = switch.bundles[-1]
    assert line.startswith("add ")
    assert "hard_timeout=100," in line
    assert driver.installed() == {key(one): Count(7, 700)}
    assert len(switch.no_flood) == 1


def test_a_switch_that_was_restarted_gets_its_rules_and_they_count_on(
    driver: OvsDriver, switch: FakeSwitch, target: Make
) -> None:
    one = target()
    driver.commit([one])
    [match] = switch.counted
    switch.counted[match] = 7
    assert driver.installed() == {key(one): Count(7, 700)}
    switch.dead = True
    with pytest.raises(ListingError):
        driver.installed()
    with pytest.raises(CommitError, match="Connection refused"):
        driver.renew([one])
    switch.dead = False
    for table in (switch.flows_by_match, switch.counted):
        table.clear()
    assert driver.installed() == {}
    driver.renew([one])
    switch.counted[match] = 2
    assert driver.installed() == {key(one): Count(9, 900)}
    assert len(switch.no_flood) == 2
    # A rule that comes anew begins anew.
    driver.commit([])
    driver.commit([one])
    assert driver.installed() == {key(one): Count(0, 0)}


def test_the_erspan_port_takes_nothing_in_and_is_made_once(driver: OvsDriver, switch: FakeSwitch, target: Make) -> None:
    driver.commit([target()])
    assert switch.interfaces["erspan-acl"] == {
        "type": "erspan", "external_ids": {"owner": "switch-acl-api"}, "options": SET_UP
    }  # fmt: skip
    switch.interfaces["erspan-acl"]["options"] = {**SET_UP, "in_key": "flow"}
    driver.commit([target(), target(C)])
    assert switch.interfaces["erspan-acl"]["options"] == SET_UP


def test_somebody_else_s_port_of_that_name_is_not_touched(driver: OvsDriver, switch: FakeSwitch, target: Make) -> None:
    theirs = {"type": "gre", "external_ids": {}, "options": {}}
    switch.interfaces["erspan-acl"] = dict(theirs)
    switch.ports_by_name["erspan-acl"] = 9
    with pytest.raises(CommitError, match="is not ours"):
        driver.commit([target()])
    assert switch.interfaces["erspan-acl"] == theirs
    assert switch.bundles == []


def test_a_port_that_left_the_bridge_keeps_nobody_else_from_being_renewed(
    driver: OvsDriver, switch: FakeSwitch, target: Make
) -> None:
    named, other = target(B, port="tap3"), target(C)
    driver.commit([named, other])
    assert driver.installed() == {key(other): Count(0, 0)}
    assert driver.problems() == ["bridge br0 has no port tap3"]
    switch.ports_by_name["tap3"] = 5
    driver.commit([named, other])
    assert set(driver.installed()) == {key(named), key(other)}
    assert driver.problems() == []


def test_what_it_cannot_do_it_objects_to(driver: OvsDriver) -> None:
    rule = Rule(2, 4, "swp+", A, B, "10.9.0.1", "10.9.0.2", None)
    assert driver.objection(rule) is None
    assert driver.objection(rule._replace(port="swp1", ttl=64)) is None
    assert driver.objection(rule._replace(ttl=9)) == ("9", "ERSPAN leaves this switch with ttl 64")
    objection = driver.objection(rule._replace(port="tap+"))
    assert objection is not None
    assert objection[0] == "tap+"


def test_without_the_programs_it_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "boot_id").write_text("boot\n")
    settings = OvsSettings(ovs_ofctl=str(tmp_path / "ovs-ofctl"))
    with pytest.raises(FileNotFoundError, match="no such program"):
        OvsDriver(settings, BootClock(str(tmp_path / "boot_id")), 5.0).start()
