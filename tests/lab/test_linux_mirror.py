# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The linux driver for real: a router namespace, the real shim in it, frames in, ERSPAN out."""

import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import dpkt
import pytest

from tests.support.linux_lab import H1, H1_6, H2, H2_6, PACE, Ear, Sender, Switch, linux_switch, mirror_rules, until
from tests.support.netns import require_lab

require_lab("nft", "ethtool")
pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Switch]:
    with linux_switch(tmp_path_factory.mktemp("switch")) as switch:
        yield switch


@pytest.fixture
def switch(world: Switch) -> Iterator[Switch]:
    yield world
    assert world.call("DELETE", "/acl/").status_code == 204
    assert (world.table(), world.devices()) == ("", []), "something of a removed rule stays"


@pytest.fixture
def ear(world: Switch) -> Iterator[Ear]:
    ear = Ear(world.mon)
    yield ear
    ear.close()


@pytest.fixture
def h1(world: Switch) -> Iterator[Sender]:
    sender = Sender(world.h1, world.mac("swp1"))
    yield sender
    sender.close()


@pytest.fixture
def h2(world: Switch) -> Iterator[Sender]:
    sender = Sender(world.h2, world.mac("swp2"))
    yield sender
    sender.close()


def test_exactly_the_pair_in_both_directions(switch: Switch, ear: Ear, h1: Sender, h2: Sender) -> None:
    switch.put("m", mirror_rules())
    there = h1.send(h1.frame(H1, H2))
    h1.send(h1.frame(H1, "10.1.2.3"))
    h1.send(h1.frame("10.1.1.3", H2))
    back = h2.send(h2.frame(H2, H1))
    heard = ear.hear()
    assert [mirrored.frame for mirrored in heard] == [there, back]
    assert {(m.kind, m.outer_src, m.outer_dst) for m in heard} == {("II", "10.9.0.1", "10.9.0.2")}
    # As iptables counts: octets from the IP header on.
    assert switch.counts() == (2, len(there) - 14 + len(back) - 14)


def test_ipv6_and_frames_with_a_vlan_tag(switch: Switch, ear: Ear, h1: Sender) -> None:
    switch.put("m", mirror_rules())
    switch.put("m6", mirror_rules(H1_6, H2_6, section="[ip6tables]"))
    tagged = bytes.fromhex("8100a00a")  # priority 5, VLAN 10
    sent = [
        h1.send(h1.frame(H1_6, H2_6)),
        h1.send(h1.frame(H1, H2, tags=tagged)),
        h1.send(h1.frame(H1_6, H2_6, tags=bytes.fromhex("88a80014"))),
    ]
    h1.send(h1.frame(H1_6, "fd00:2::3"))
    h1.send(h1.frame(H1, "10.1.2.3", tags=tagged))
    heard = ear.hear()
    assert [mirrored.frame for mirrored in heard] == sent
    if switch.encapsulators():
        # The kernel's own erspan device leaves these fields empty for some tags; the frame itself has them anyway.
        assert [(m.vlan, m.cos) for m in heard] == [(0, 0), (10, 5), (20, 0)]
    assert switch.counts("m6")[0] == 2


def test_foreign_rules_are_never_touched(switch: Switch) -> None:
    switch.router.run(
        "nft", "add table netdev theirs { chain c { type filter hook ingress device swp1 priority 0; }; }"
    )
    switch.router.run("nft", "add table inet filter { chain f { type filter hook forward priority 0; }; }")
    foreign = [switch.router.run("nft", "list", "table", *words.split()) for words in ("netdev theirs", "inet filter")]
    switch.put("m", mirror_rules())
    switch.call("DELETE", "/acl/m")
    again = [switch.router.run("nft", "list", "table", *words.split()) for words in ("netdev theirs", "inet filter")]
    assert again == foreign
    assert (switch.table(), switch.devices(), switch.encapsulators()) == ("", [], [])
    switch.router.run("nft", "delete table netdev theirs; delete table inet filter")


def test_a_frame_that_two_rules_match_is_copied_once(switch: Switch, ear: Ear, h1: Sender) -> None:
    switch.put("wide", mirror_rules())
    switch.put("narrow", mirror_rules(port="swp1", ttl="9"))
    sent = h1.send(h1.frame(H1, H2))
    assert [mirrored.frame for mirrored in ear.hear()] == [sent]


def test_one_of_two_rules_goes_and_the_other_keeps_its_counters(switch: Switch, ear: Ear, h1: Sender) -> None:
    switch.put("m", mirror_rules())
    switch.put("other", mirror_rules(other="10.1.2.9"))
    for _ in range(3):
        h1.send(h1.frame(H1, H2))
    assert switch.call("DELETE", "/acl/other").status_code == 204
    h1.send(h1.frame(H1, "10.1.2.9"))
    assert len(ear.hear()) == 3
    assert switch.counts()[0] == 3
    assert "10.1.2.9" not in switch.table()


def test_ports_come_and_go(switch: Switch, ear: Ear, h1: Sender) -> None:
    switch.put("m", mirror_rules())
    switch.nets.link(switch.router, "swp3", switch.mon, "extra")
    until(lambda: "port/swp3/" in switch.table(), 5, "a hook on the new port")
    late = Sender(switch.mon, switch.mac("swp3"), "extra")
    sent = [late.send(late.frame(H1, H2)), h1.send(h1.frame(H1, H2))]
    late.close()
    assert [mirrored.frame for mirrored in ear.hear()] == sent
    switch.router.ip("link", "del", "swp3")
    until(lambda: "port/swp3/" not in switch.table(), 5, "no hook on the port that went")
    h1.send(h1.frame(H1, H2))
    assert len(ear.hear()) == 1
    assert switch.detail()["acls"]["m"]["installed"]


def test_a_killed_encapsulator_is_started_again(switch: Switch, ear: Ear, h1: Sender) -> None:
    switch.put("m", mirror_rules())
    if not switch.encapsulators():
        pytest.skip("the kernel has erspan devices, so there is no encapsulator")
    (pid,) = switch.encapsulators()
    os.kill(pid, signal.SIGKILL)
    until(lambda: [other for other in switch.encapsulators() if other != pid], 5, "another encapsulator")
    until(lambda: h1.send(h1.frame(H1, H2)) and ear.hear(0.2), 5, "mirrored again")


def test_a_lost_table_is_restored_with_the_next_commit(switch: Switch, ear: Ear, h1: Sender) -> None:
    switch.put("m", mirror_rules())
    switch.router.run("nft", "flush", "ruleset")
    assert switch.detail()["acls"]["m"]["installed"] is False
    switch.put("m2", mirror_rules(other="10.1.2.7"))
    h1.send(h1.frame(H1, H2))
    assert len(ear.hear()) == 1


def test_an_erspan_source_that_is_not_ours_is_refused(switch: Switch) -> None:
    answer = switch.call("PUT", "/acl/m?ttl=60", json=mirror_rules(source="10.9.0.77"))
    assert answer.status_code == 502
    assert "10.9.0.77 is no address of this machine" in answer.json()["error"]
    assert switch.call("GET", "/acl/").json() == []


def test_it_says_how_it_works_and_that_it_is_well(switch: Switch) -> None:
    health = until(lambda: (h := switch.call("GET", "/healthz").json())["status"] == "ok" and h, 10, "healthy")
    assert (health["driver"], health["ipv6"], health["problems"]) == ("linux", True, [])
    assert "ERSPAN by " in health["erspan"][0]["detail"]
    assert "rules: nftables, table netdev; mirrors: " in switch.log.read_text()


def test_five_thousand_packets_a_second_without_loss(switch: Switch, ear: Ear, h1: Sender) -> None:
    switch.put("m", mirror_rules())
    rate, seconds = round(5_000 / PACE), 2
    frames = [h1.frame(H1, H2, struct.pack("!I", number) + bytes(508)) for number in range(rate * seconds)]
    begin = time.monotonic()
    for number, frame in enumerate(frames):
        h1.send(frame)
        if number % 50 == 0:
            time.sleep(max(0.0, begin + number / rate - time.monotonic()))
    heard = ear.hear(1.0)
    assert [mirrored.frame for mirrored in heard] == frames
    assert [m.sequence for m in heard] == list(range(len(frames)))
    assert switch.counts()[0] == len(frames)


def test_tcp_with_offloads_is_mirrored_as_a_wire_would_carry_it(switch: Switch, ear: Ear) -> None:
    for namespace, device in (
        (switch.h1, "eth0"),
        (switch.h2, "eth0"),
        (switch.router, "swp1"),
        (switch.router, "swp2"),
    ):
        namespace.run("ethtool", "-K", device, "tx", "on", "tso", "on", "gso", "on", "gro", "on")
    switch.put("m", mirror_rules())
    size = 4 << 20
    with switch.h2.socket(socket.AF_INET, socket.SOCK_STREAM) as server, ThreadPoolExecutor(1) as pool:
        server.bind((H2, 8000))
        server.listen()
        received = pool.submit(receive_all, server)
        with switch.h1.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.connect((H2, 8000))
            client.sendall(bytes(size))
        assert received.result(20) == size
    frames = [mirrored.frame for mirrored in ear.hear(1.0)]
    assert max(len(frame) for frame in frames) <= 1514
    assert [frame for frame in frames if not tcp_checksum_is_right(frame)] == []
    payload = sum(len(dpkt.ethernet.Ethernet(frame).data.data.data) for frame in frames)
    assert payload >= size


def receive_all(server: socket.socket) -> int:
    connection, _ = server.accept()
    with connection:
        return sum(iter(lambda: len(connection.recv(1 << 20)), 0))


def tcp_checksum_is_right(frame: bytes) -> bool:
    packet = dpkt.ethernet.Ethernet(frame).data
    segment = bytes(packet.data)
    pseudo = packet.src + packet.dst + struct.pack("!BBH", 0, 6, len(segment))
    return bool(dpkt.in_cksum(pseudo + segment) == 0)
