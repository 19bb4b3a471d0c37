# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Is the ERSPAN destination reachable the way ERSPAN needs it?"""

import json
from pathlib import Path
from typing import Any

import pytest

from switch_acl_api.reach import Reach, own_addresses, read_neighbour, read_route
from tests.support import cl_acltool

MANAGEMENT = ("eth0", "mgmt")
UP = [{"dst": "10.0.0.70", "lladdr": "44:38:39:00:00:01", "state": ["REACHABLE"]}]


@pytest.mark.parametrize(
    ("route", "device", "address", "problem"),
    [
        ({"dst": "10.0.0.70", "dev": "vlan10"}, "vlan10", "10.0.0.70", ""),
        ({"dst": "10.0.0.70", "gateway": "10.1.0.1", "dev": "swp51"}, "swp51", "10.1.0.1", ""),
        ({"dst": "10.0.0.70", "via": {"family": "inet6", "host": "fe80::1"}, "dev": "swp51"}, "swp51", "fe80::1", ""),
        ({"dst": "10.0.0.70", "gateway": "192.168.0.1", "dev": "eth0"}, "eth0", "192.168.0.1", "management"),
        ({"type": "local", "dst": "10.0.0.70", "dev": "lo"}, "lo", "10.0.0.70", "address of this switch"),
        ({"type": "unreachable", "dst": "10.0.0.70", "dev": "lo"}, "", "", "no route"),
        ({}, "", "", "no route"),
    ],
)
def test_routes(route: dict[str, Any], device: str, address: str, problem: str) -> None:
    hop = read_route(json.dumps([route]), "10.0.0.70", MANAGEMENT)
    assert (hop.device, hop.address) == (device, address)
    assert problem in hop.problem
    assert bool(problem) == bool(hop.problem)


@pytest.mark.parametrize("text", ["", "[", "null", "7", '["x"]', '[{"dev": 7}]', "[" * 100_000, '{"dev": "swp1"}'])
def test_any_text_is_survived(text: str) -> None:
    read_route(text, "10.0.0.70", MANAGEMENT)
    read_neighbour(text)
    own_addresses(text)


@pytest.mark.parametrize(
    ("states", "lladdr", "resolved"),
    [(["REACHABLE"], True, True), (["STALE"], True, True), (["PERMANENT"], True, True), (["NOARP"], False, True),
     (["FAILED"], False, False), (["INCOMPLETE"], False, False), (["STALE"], False, False)],
)  # fmt: skip
def test_neighbours(states: list[str], lladdr: bool, resolved: bool) -> None:
    entry: dict[str, Any] = {"dst": "10.0.0.70", "state": states}
    if lladdr:
        entry["lladdr"] = "44:38:39:00:00:01"
    assert read_neighbour(json.dumps([entry]))[0] is resolved


def look(home: Path, **answers: Any) -> dict[str, Any]:
    cl_acltool.install(home)
    (home / "ip.json").write_text(json.dumps(answers))
    reach = Reach(["10.0.0.70"], str(home / "ip"), str(home / "ping"), MANAGEMENT)
    assert reach.now()[0]["reachable"] is False, "not looked at yet"
    reach.look()
    return reach.now()[0]


def test_a_resolved_destination_is_not_pinged(tmp_path: Path) -> None:
    row = look(tmp_path, route=[{"dst": "10.0.0.70", "dev": "swp1"}], neigh=UP)
    assert (row["reachable"], row["via"]) == (True, "swp1")
    assert "REACHABLE" in row["neighbour"]
    assert not (tmp_path / "pinged").exists()


def test_an_unresolved_one_is_pinged_once_through_its_device(tmp_path: Path) -> None:
    row = look(tmp_path, route=[{"dst": "10.0.0.70", "dev": "swp1"}], neigh=[], ping_resolves=UP)
    assert row["reachable"] is True
    assert (tmp_path / "pinged").read_text() == "-c 1 -W 1 -I swp1 10.0.0.70"


def test_one_that_does_not_answer_says_so(tmp_path: Path) -> None:
    row = look(tmp_path, route=[{"dst": "10.0.0.70", "gateway": "10.1.0.1", "dev": "swp1"}], neigh=[])
    assert row["reachable"] is False
    assert row["detail"] == "next hop 10.1.0.1 on swp1 is not resolved"


def test_one_behind_management_is_not_pinged(tmp_path: Path) -> None:
    row = look(tmp_path, route=[{"dst": "10.0.0.70", "dev": "eth0"}], neigh=UP)
    assert row["reachable"] is False
    assert not (tmp_path / "pinged").exists()


def test_without_the_ip_program_nothing_is_reachable() -> None:
    reach = Reach(["10.0.0.70"], "/nonexistent/ip", "/nonexistent/ping", MANAGEMENT)
    reach.look()
    assert reach.now()[0]["reachable"] is False


def test_own_addresses_of_a_switch() -> None:
    rows = [
        {"ifname": "lo", "addr_info": [{"local": "10.0.0.11"}, {"local": "2001:db8::11"}]},
        {"ifname": "vlan10", "addr_info": [{"local": "10.1.10.1", "prefixlen": 24, "broadcast": "10.1.10.255"}]},
        {"ifname": "swp1"},
    ]
    assert own_addresses(json.dumps(rows)) == (["10.0.0.11", "2001:db8::11", "10.1.10.1"], ["10.1.10.255"])
