# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The whole loop with nothing emulated: Open vSwitch samples and mirrors, `sentinel run` decides, tshark reads.

    h1 ── swp1 ┐                                                           ┌ sentinel
               leaf (br0, br-up) ── uplink ── spine (br0) ── pmon ── eth0 mon
    h2 ── swp2 ┘                                                           └ ERSPAN destination

Both switches sample everything that passes them, the spine therefore also the mirrored packets.
"""

import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab_programs import LabSentinel, LabShim, Recorder, Talker, as_pcap, fetch, serve, tshark
from tests.support.netns import Namespaces, require_lab
from tests.support.ovs_switch import OpenVSwitch
from tests.support.running import until

require_lab("ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-ofctl", "ethtool", "tcpdump", "tshark", "ping")
pytestmark = pytest.mark.lab

HOST, LISTED, HARMLESS = "10.1.0.10", "198.51.100.7", "198.51.100.9"
HOST6, LISTED6 = "fd00:1::10", "2001:db8::7"
LEAF, SPINE, MONITOR = "10.9.0.1", "10.9.0.3", "10.9.0.2"
PAIR = {(HOST, LISTED), (LISTED, HOST)}
# How long the host fetches in the main test; "LAB_FETCH_S=60" for a minute.
FETCH_S = float(os.environ.get("LAB_FETCH_S", "2"))
LEASE_S, QUIET_S = 3.0, 3.0
ONE_IN = 8


class Fabric:
    def __init__(self, namespaces: Namespaces, directory: Path) -> None:
        self.namespaces = namespaces
        self.directory = directory
        self.leaf_host, self.spine_host = namespaces.add("leaf"), namespaces.add("spine")
        self.host, self.server, self.monitor = namespaces.add("h1"), namespaces.add("h2"), namespaces.add("mon")
        namespaces.link(self.leaf_host, "swp1", self.host, "eth0")
        namespaces.link(self.leaf_host, "swp2", self.server, "eth0")
        namespaces.link(self.leaf_host, "uplink", self.spine_host, "downlink", mtu=1700)
        namespaces.link(self.spine_host, "pmon", self.monitor, "eth0", mtu=1700)
        self.host.address("eth0", f"{HOST}/24", f"{HOST6}/64")
        self.server.address("eth0", f"{LISTED}/24", f"{HARMLESS}/24", f"{LISTED6}/64")
        self.monitor.address("eth0", f"{MONITOR}/24")
        self.host.ip("route", "add", "198.51.100.0/24", "dev", "eth0")
        self.host.ip("route", "add", "2001:db8::/64", "dev", "eth0")
        self.server.ip("route", "add", "10.1.0.0/24", "dev", "eth0")
        self.server.ip("route", "add", "fd00:1::/64", "dev", "eth0")
        self.leaf = OpenVSwitch(namespaces, self.leaf_host, directory / "leaf")
        self.spine = OpenVSwitch(namespaces, self.spine_host, directory / "spine")
        for switch in (self.leaf, self.spine):
            switch.start()
        self.leaf.bridge("br0", "swp1", "swp2")
        self.leaf.bridge("br-up", "uplink")
        self.spine.bridge("br0", "downlink", "pmon")
        self.leaf_host.address("br-up", f"{LEAF}/24")
        self.spine_host.address("br0", f"{SPINE}/24")
        for address in (LISTED, HARMLESS, LISTED6):
            serve(namespaces, self.server, address)
        self.shims = {
            "leaf": self._shim(self.leaf_host, "leaf", LEAF, self.leaf),
            "spine": self._shim(self.spine_host, "spine", SPINE, self.spine),
        }
        self.sentinel = LabSentinel(
            self.monitor,
            directory / "sentinel",
            MONITOR,
            [LISTED, LISTED6],
            ["10.0.0.0/8", "fd00::/8"],
            {"leaf": LEAF, "spine": SPINE},
            quiet=f"{QUIET_S:g}s",
            switch_lease=f"{LEASE_S:g}s",
        )

    def _shim(self, namespace: Any, name: str, address: str, switch: OpenVSwitch) -> LabShim:
        return LabShim(namespace, self.directory / f"{name}-shim", address, "ovs", [MONITOR], {"rundir": switch.rundir})

    def start(self) -> None:
        # Neighbours are known before the first test, so that none begins with ARP.
        for namespace, address in ((self.host, LISTED), (self.host, HARMLESS), (self.leaf_host, MONITOR)):
            namespace.run("ping", "-q", "-c", "1", "-W", "2", address)
        self.spine_host.run("ping", "-q", "-c", "1", "-W", "2", MONITOR)
        for shim in self.shims.values():
            shim.start()
        self.sentinel.start()
        # Only now is there a listener: OVS loses every second datagram to a collector's port that is closed.
        self.leaf.sample("br0", "br-up", f"{MONITOR}:6343", ONE_IN)
        self.spine.sample("br0", "br0", f"{MONITOR}:6343", ONE_IN)

    def close(self) -> None:
        self.sentinel.process.kill()
        for shim in self.shims.values():
            shim.process.kill()

    def active(self) -> dict[str, Any]:
        [capture] = until(lambda: self.sentinel.captures("active"), 10, "a capture is active")
        return dict(capture)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fabric]:
    namespaces = Namespaces()
    made: list[Fabric] = []
    try:
        made.append(Fabric(namespaces, tmp_path_factory.mktemp("loop")))
        made[0].start()
        yield made[0]
    finally:
        for fabric in made:
            fabric.close()
        namespaces.close()
    assert namespaces.left() == []


def test_a_host_that_fetches_from_a_listed_address_is_mirrored_until_it_stops(lab: Fabric) -> None:
    # What leaves a port is what the switch has handled; what it was too busy to take in, nobody could mirror.
    at_ports = [
        Recorder(lab.namespaces, lab.leaf_host, port, lab.directory / f"{port}.pcap", f"ip host {LISTED}", only="out")
        for port in ("swp1", "swp2")
    ]
    at_monitor = Recorder(lab.namespaces, lab.monitor, "eth0", lab.directory / "monitor.pcap", "ip proto 47 or icmp")
    started = time.monotonic()
    with Talker(lab.host, HARMLESS, rate=50), Talker(lab.host, LISTED, rate=20):
        fetch(lab.host, LISTED)
        until(lambda: lab.leaf.pairs() == PAIR, 10, "the rule is on its switch")
        installed_s = time.monotonic() - started
        capture = lab.active()
        active_at = time.time()
        end = time.monotonic() + FETCH_S
        while time.monotonic() < end:
            fetch(lab.host, LISTED)
            fetch(lab.host, HARMLESS)
            time.sleep(0.02)
    whole_bursts = [burst(lab)]
    while not any(whole_bursts) and len(whole_bursts) < 3:
        whole_bursts.append(burst(lab))
    until(lambda: not lab.leaf.flows(), QUIET_S + 8, "the rule goes when the host stops")
    stopped_at = time.time()
    with Talker(lab.host, HARMLESS, rate=50):
        time.sleep(0.5)
    until(lambda: lab.sentinel.captures("ended"), 10)
    frames, outer = [frame for recorder in at_ports for frame in recorder.stop()], at_monitor.stop()

    # OVS keeps a sample for up to a second before it sends it.
    print(f"installed {installed_s:.2f} s after the first packet")

    # What tshark reads at the ERSPAN destination is that pair, in both directions, and no other.
    rows = tshark(at_monitor.file, "ip.src", "ip.dst", only="erspan")
    # Outer and inner address; a third would be what an ICMP error of the pair quotes.
    pairs = {tuple(tuple(column.split(",")[:2]) for column in row) for row in rows}
    assert pairs == {((LEAF, source), (MONITOR, destination)) for source, destination in PAIR}
    # Nobody said "protocol unreachable", and when the rule had gone the mirror stopped.
    assert tshark(at_monitor.file, "icmp.type", only="icmp.type == 3 && !erspan") == []
    assert all(at <= stopped_at for at, _ in outer)

    [file] = lab.sentinel.files(capture["id"])
    kept = as_pcap(file)
    tshark(file, "frame.number")
    # The same packets as at the port: from the first that was mirrored none is missing, and none was invented.
    assert not Counter(kept) - Counter(frame for _, frame in frames)
    after = [frame for at, frame in frames if at >= active_at]
    assert len(after) > 8_000
    lost = (Counter(after) - Counter(kept)).total()
    # Where cores are scarce a switch on the way may drop copies; then their numbers have gaps, and Sentinel says so.
    gaps = gaps_of([frame for _, frame in outer])
    assert lost - gaps <= 1, f"{lost} of {len(after)} packets are not in the capture, {gaps} were lost on the way"
    assert lab.sentinel.metric("sentinel_erspan_lost_total") == gaps
    assert any(whole_bursts), "5,000 packets/s were never mirrored without loss"


def burst(lab: Fabric) -> bool:
    """5,000 packets/s of the pair, there and back, for two seconds; whether no copy was lost on the way."""
    before = lab.sentinel.metric("sentinel_erspan_lost_total")
    with Talker(lab.host, HARMLESS, rate=50), Talker(lab.host, LISTED, rate=2500) as talker:
        time.sleep(2.0)
    assert talker.sent > 4_000
    time.sleep(0.3)
    return lab.sentinel.metric("sentinel_erspan_lost_total") == before


def gaps_of(outer: Sequence[bytes]) -> int:
    """How many GRE sequence numbers are missing among ERSPAN packets (Ethernet 14, IP 20, GRE 4 in front of them)."""
    numbers = [int.from_bytes(frame[38:42], "big") for frame in outer if frame[23] == 47]
    return sum(after - before - 1 for before, after in itertools.pairwise(numbers) if after > before)


def test_mirrored_packets_that_are_sampled_on_their_way_start_nothing(lab: Fabric) -> None:
    with Talker(lab.host, LISTED, rate=200):
        capture = lab.active()
        skipped = lab.sentinel.metric("sentinel_scan_mirror")
        time.sleep(2.5)
        assert lab.spine.flows() == []
        assert [row["id"] for row in lab.sentinel.captures("active", "installing", "queued")] == [capture["id"]]
        [detection] = lab.sentinel.detections()
        assert {row["agent"] for row in detection["observers"]} == {LEAF}
    # The spine sampled it, or this test has shown nothing.
    assert lab.sentinel.metric("sentinel_scan_mirror") > skipped
    until(lambda: not lab.leaf.flows(), QUIET_S + 8, "nothing renews it")


def test_an_ipv6_pair_is_mirrored_too(lab: Fabric) -> None:
    with Talker(lab.host, LISTED6, rate=200):
        until(lambda: lab.leaf.pairs() == {(HOST6, LISTED6), (LISTED6, HOST6)}, 10, "the rule is on its switch")
        capture = lab.active()
        [file] = until(lambda: lab.sentinel.files(capture["id"]), 5, "its packets are kept")
        until(lambda: file.stat().st_size > 20_000, 5, "more and more of them")
    until(lambda: not lab.leaf.flows(), QUIET_S + 8, "it goes when the host stops")
    rows = tshark(file, "ipv6.src", "ipv6.dst")
    assert {tuple(column.split(",")[0] for column in row) for row in rows} == {(HOST6, LISTED6), (LISTED6, HOST6)}


def test_the_switch_drops_the_rule_when_sentinel_is_killed(lab: Fabric) -> None:
    with Talker(lab.host, LISTED, rate=50):
        lab.active()
        lab.sentinel.process.kill()
        until(lambda: not lab.leaf.flows(), LEASE_S + 2, "the lease ended the rule")
        lab.sentinel.start()
        lab.active()
        # Now the shim's hand is missing too: it is the flow's own clock that runs out.
        lab.sentinel.process.kill()
        lab.shims["leaf"].process.kill()
        until(lambda: not lab.leaf.flows(), LEASE_S + 2, "the flow's own clock ended it")
        lab.shims["leaf"].start()
        lab.sentinel.start()


def test_a_killed_shim_goes_on_with_its_leases_and_a_killed_switch_is_given_its_rules(lab: Fabric) -> None:
    shim = lab.shims["leaf"]
    with Talker(lab.host, LISTED, rate=100):
        lab.active()
        [name] = until(shim.rules, 5)
        shim.process.kill()
        shim.start()
        until(lambda: lab.leaf.pairs() == PAIR, LEASE_S, "the rule is there, still or again")
        until(lambda: list(shim.rules()) == [name], 5, "the shim has it")
        time.sleep(LEASE_S)
        assert (lab.leaf.pairs(), list(shim.rules())) == (PAIR, [name])

        lab.leaf.kill_vswitchd()
        lab.leaf.start_vswitchd()
        until(lambda: _pairs(lab) == PAIR, 15, "the flows are back")
        until(lambda: lab.leaf.packets() > 0, 10, "and they mirror")
    until(lambda: not lab.leaf.flows(), QUIET_S + 8, "and go when they should")


def _pairs(lab: Fabric) -> set[tuple[str, str]]:
    try:
        return lab.leaf.pairs()
    except AssertionError:
        return set()
