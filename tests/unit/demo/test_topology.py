# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import itertools

import dpkt
import pytest

from sentinel.demo.topology import HARMLESS, HOSTS, LISTED, LOCAL_PREFIX, SWITCHES, VNI, Host, hops, node
from tests.support.mirroring import ethernet

WEB1, WEB2, DB1 = HOSTS[0], HOSTS[1], HOSTS[3]
FRAME = ethernet("192.0.2.11", "198.51.100.7")


def way(source: Host, destination: Host) -> list[tuple[str, str, str]]:
    return [(hop.switch, hop.in_port, hop.out_port) for hop in hops(source, destination, FRAME)]


def test_neighbours_meet_at_their_leaf() -> None:
    assert way(WEB1, WEB2) == [("leaf1", "swp1", "swp2")]


def test_leaf_to_leaf_and_to_the_internet_crosses_the_spine() -> None:
    assert way(WEB1, DB1) == [("leaf1", "swp1", "swp51"), ("spine", "swp1", "swp2"), ("leaf2", "swp51", "swp1")]
    assert way(WEB1, LISTED[0]) == [("leaf1", "swp1", "swp51"), ("spine", "swp1", "swp31")]
    assert way(LISTED[0], DB1) == [("spine", "swp31", "swp2"), ("leaf2", "swp51", "swp1")]


@pytest.mark.parametrize(("source", "destination"), [(WEB1, LISTED[0]), (LISTED[0], WEB1), (WEB1, DB1)])
def test_the_spine_sees_the_pair_only_inside_the_vni(source: Host, destination: Host) -> None:
    (spine,) = [hop for hop in hops(source, destination, FRAME) if hop.switch == "spine"]
    outer = dpkt.ethernet.Ethernet(spine.on_wire)
    assert outer.data.data.dport == 4789
    assert outer.data.sum == dpkt.ethernet.Ethernet(bytes(outer)).data.sum != 0
    payload = outer.data.data.data
    assert int.from_bytes(payload[4:7]) == VNI
    assert payload[8:] == FRAME
    assert spine.in_acl == spine.on_wire


def test_where_the_tunnel_ends_the_access_lists_see_the_bare_frame() -> None:
    (_, arrival) = hops(LISTED[0], WEB1, FRAME)
    assert arrival.in_acl == FRAME
    assert arrival.on_wire != FRAME
    assert FRAME in arrival.on_wire


def test_every_port_named_on_a_way_belongs_to_its_switch() -> None:
    for source, destination in itertools.permutations((*HOSTS, *LISTED, HARMLESS), 2):
        if source.switch == destination.switch == "edge":
            continue
        for hop in hops(source, destination, FRAME):
            assert {hop.in_port, hop.out_port} <= set(node(hop.switch).ports)


def test_addresses_are_documentation_prefixes_and_loopback() -> None:
    assert all(host.address.startswith(LOCAL_PREFIX.removesuffix("0/24")) for host in HOSTS)
    assert all(host.address.startswith(("198.51.100.", "203.0.113.")) for host in (*LISTED, HARMLESS))
    assert all(switch.agent.startswith("127.") for switch in SWITCHES)
