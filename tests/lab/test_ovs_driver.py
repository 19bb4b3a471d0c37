# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The shim over a real Open vSwitch: what is mirrored, for how long, and what is left alone."""

import socket
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import dpkt
import pytest

from tests.support.lab_programs import LabShim, Recorder, Talker, serve, tshark
from tests.support.netns import Namespaces, require_lab
from tests.support.ovs_switch import OpenVSwitch
from tests.support.running import until

require_lab("ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-ofctl", "ethtool", "tcpdump", "tshark", "ping")
pytestmark = pytest.mark.lab

HOST, LISTED, OTHER = "10.1.0.10", "198.51.100.7", "198.51.100.9"
HOST6, LISTED6 = "fd00:1::10", "2001:db8::7"
SWITCH, ANALYST = "10.9.0.1", "10.9.0.2"


class World:
    """Two hosts on one bridge, the analyst behind another, the shim beside them."""

    def __init__(self, namespaces: Namespaces, directory: Path) -> None:
        self.namespaces = namespaces
        self.directory = directory
        self.switch, self.host = namespaces.add("sw"), namespaces.add("h1")
        self.server, self.analyst = namespaces.add("h2"), namespaces.add("mon")
        namespaces.link(self.switch, "swp1", self.host, "eth0")
        namespaces.link(self.switch, "swp2", self.server, "eth0")
        namespaces.link(self.switch, "pmon", self.analyst, "eth0", mtu=1700)
        self.host.address("eth0", f"{HOST}/24", f"{HOST6}/64")
        self.server.address("eth0", f"{LISTED}/24", f"{OTHER}/24", f"{LISTED6}/64")
        self.analyst.address("eth0", f"{ANALYST}/24")
        for here, route4, route6 in (
            (self.host, "198.51.100.0/24", "2001:db8::/64"),
            (self.server, "10.1.0.0/24", "fd00:1::/64"),
        ):
            here.ip("route", "add", route4, "dev", "eth0")
            here.ip("route", "add", route6, "dev", "eth0")
        self.ovs = OpenVSwitch(namespaces, self.switch, directory / "ovs")
        self.ovs.start()
        self.ovs.bridge("br0", "swp1", "swp2")
        self.ovs.bridge("br-mon", "pmon")
        self.switch.address("br-mon", f"{SWITCH}/24")
        serve(namespaces, self.server, LISTED)
        serve(namespaces, self.server, OTHER)
        serve(namespaces, self.server, LISTED6)
        # Nobody else would: while a raw socket is open the kernel refuses no GRE.
        self.gre = self.analyst.socket(socket.AF_INET, socket.SOCK_RAW, 47)
        self.shim = self.make_shim("shim")

    def make_shim(self, name: str, **section: object) -> LabShim:
        section = {"rundir": self.ovs.rundir, **section}
        return LabShim(self.switch, self.directory / name, SWITCH, "ovs", [ANALYST], section, ports=["swp1", "swp2"])

    def ping(self, address: str, count: int = 5) -> None:
        self.host.run("ping", "-q", "-c", str(count), "-i", "0.02", "-W", "1", address)

    def recorder(self, name: str) -> Recorder:
        return Recorder(self.namespaces, self.analyst, "eth0", self.directory / f"{name}.pcap", "ip proto 47")

    def counts(self, name: str, packets: int) -> None:
        """The shim says so; it asks the switch at most once a second."""
        until(lambda: self.shim.rules().get(name, {}).get("packets") == packets, 3, f"{name} counts {packets}")

    def close(self) -> None:
        self.gre.close()
        self.shim.process.kill()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    namespaces = Namespaces()
    made: list[World] = []
    try:
        made.append(World(namespaces, tmp_path_factory.mktemp("ovs")))
        made[0].shim.start()
        # Both hosts and the analyst know their neighbours, so that no test begins with ARP.
        for address in (LISTED, OTHER, LISTED6):
            made[0].ping(address, 1)
        made[0].switch.run("ping", "-q", "-c", "1", ANALYST)
        yield made[0]
    finally:
        for world in made:
            world.close()
        namespaces.close()
    assert namespaces.left() == []


@pytest.fixture
def world(lab: World) -> Iterator[World]:
    yield lab
    assert lab.shim.call("DELETE", "/acl/").status_code == 204
    assert lab.ovs.flows() == []


def rules(source: str, destination: str, port: str = "swp+", both: bool = True, ttl: str = "") -> list[str]:
    pairs = [(source, destination), (destination, source)][: 2 if both else 1]
    target = f"-j ERSPAN --src-ip {SWITCH} --dst-ip {ANALYST}{ttl}"
    section = "[ip6tables]" if ":" in source else "[iptables]"
    return [section, *(f"-A FORWARD -i {port} -s {a} -d {b} {target}" for a, b in pairs)]


def inner(rows: Sequence[Sequence[str]]) -> set[tuple[str, ...]]:
    return {tuple(row) for row in rows}


def test_the_pair_is_mirrored_in_both_directions_and_nothing_else(world: World) -> None:
    answer = world.shim.put("one", rules(HOST, LISTED), ttl=60)
    assert answer.status_code == 201, answer.text
    recorder = world.recorder("pair")
    world.ping(LISTED, 10)
    world.ping(OTHER, 10)
    frames = recorder.stop()
    assert 19 <= len(frames) <= 20
    rows = tshark(recorder.file, "erspan.version", "erspan.spanid", "ip.src", "ip.dst")
    there = ("1", "1", f"{SWITCH},{HOST}", f"{ANALYST},{LISTED}")
    back = ("1", "1", f"{SWITCH},{LISTED}", f"{ANALYST},{HOST}")
    assert inner(rows) == {there, back}
    world.ovs.settled()
    world.counts("one", 20)
    [row] = world.shim.get("/acl/?detail=1")["acls"].values()
    assert (row["packets"], [line["packets"] for line in row["rules"]]) == (20, [10, 10])
    assert row["bytes"] == 20 * 98


def test_ipv6_pairs(world: World) -> None:
    assert world.shim.put("six", rules(HOST6, LISTED6), ttl=60).status_code == 201
    recorder = world.recorder("six")
    world.ping(LISTED6, 10)
    world.ping(LISTED, 5)
    frames = recorder.stop()
    assert 19 <= len(frames) <= 20
    assert inner(tshark(recorder.file, "ipv6.src", "ipv6.dst")) == {(HOST6, LISTED6), (LISTED6, HOST6)}


def test_a_tagged_frame_is_mirrored_with_its_tag(world: World) -> None:
    assert world.shim.put("tagged", rules(HOST, LISTED), ttl=60).status_code == 201
    recorder = world.recorder("tagged")
    ip = dpkt.ip.IP(src=socket.inet_aton(HOST), dst=socket.inet_aton(LISTED), p=17, ttl=64)
    ip.data = dpkt.udp.UDP(sport=1, dport=2, ulen=8)
    frame = b"\x02\0\0\0\0\x99" + b"\x02\0\0\0\0\x98" + struct.pack("!HHH", 0x8100, 0x6007, 0x0800) + bytes(ip)
    with world.host.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind(("eth0", 0))
        for _ in range(5):
            out.send(frame)
    frames = recorder.stop()
    assert 4 <= len(frames) <= 5
    # GRE (8) and ERSPAN II (8) behind 14 of Ethernet and 20 of IP.
    assert {mirrored[50:] for _, mirrored in frames} == {frame}


def test_a_named_port_mirrors_what_enters_there(world: World) -> None:
    assert world.shim.put("named", rules(HOST, LISTED, "swp1"), ttl=60).status_code == 201
    recorder = world.recorder("named")
    world.ping(LISTED, 10)
    recorder.stop()
    rows = tshark(recorder.file, "ip.src")
    assert inner(rows) == {(f"{SWITCH},{HOST}",)}
    # What matches the pair on another port as well stands below, and sees nothing.
    world.shim.put("wide", rules(HOST, LISTED), ttl=60)
    recorder = world.recorder("both")
    world.ping(LISTED, 10)
    assert 19 <= len(recorder.stop()) <= 20


def test_what_open_vswitch_cannot_do_is_refused_by_line_and_token(world: World) -> None:
    answer = world.shim.put("ttl", rules(HOST, LISTED, ttl=" --ttl 9"))
    assert (answer.status_code, answer.json()["line"], answer.json()["token"]) == (400, 2, "9")
    gone = world.shim.put("gone", rules(HOST, LISTED, "swp2"))
    assert gone.status_code == 201
    world.ovs.vsctl("del-port", "br0", "swp2")
    try:
        # One rule's port has left the bridge: the others are installed and renewed as ever.
        assert world.shim.put("one", rules(HOST, OTHER), ttl=30).status_code == 201
        assert world.shim.call("POST", "/acl/renew?ttl=300").ok
        until(lambda: sum(left > 200 for left in world.ovs.seconds_left()) >= 2, 5, "renewed in the switch")
    finally:
        world.ovs.vsctl("add-port", "br0", "swp2")


def test_a_renewal_restarts_the_flow_s_own_clock_and_loses_no_packet_and_no_count(world: World) -> None:
    world.shim.put("one", rules(HOST, LISTED), ttl=10)
    assert all(8 < left <= 10 for left in world.ovs.seconds_left())
    recorder = world.recorder("renewed")
    with Talker(world.host, LISTED, rate=500) as talker:
        for ttl in (20, 30, 40, 50):
            time.sleep(0.5)
            answer = world.shim.call("POST", f"/acl/renew?ttl={ttl}")
            assert answer.json()["renewed"]["one"]["expires_in_s"] == ttl
    until(lambda: all(45 < left <= 50 for left in world.ovs.seconds_left()), 5, "the longest lease is in the switch")
    mirrored = recorder.stop()
    total = world.ovs.settled()
    assert total == 2 * talker.sent
    assert len(mirrored) in (total - 1, total)
    payloads = [bytes(frame[50 + 42 :]) for _, frame in mirrored]
    # Each datagram and its echo, once each: no gap and nothing twice.
    assert max(payloads.count(p) for p in set(payloads[:50])) == 2
    world.counts("one", total)


def test_the_switch_forgets_by_itself_when_the_shim_is_dead(world: World) -> None:
    world.shim.put("short", rules(HOST, LISTED), ttl=2)
    world.shim.put("long", rules(HOST, OTHER), ttl=60)
    world.shim.process.kill()
    try:
        until(lambda: world.ovs.pairs() == {(HOST, OTHER), (OTHER, HOST)}, 5, "the short lease's flows went")
        before = world.ovs.packets()
        world.ping(OTHER, 5)
    finally:
        world.shim.start()
    assert list(world.shim.rules()) == ["long"]
    assert world.ovs.settled() == before + 10
    world.counts("long", before + 10)


def test_the_expire_hand_removes_while_the_daemon_hangs(world: World) -> None:
    # A rule's own clock would do it too; here the flow has been given more than its lease.
    world.shim.put("short", rules(HOST, LISTED), ttl=1)
    world.shim.process.kill()
    try:
        for flow in world.ovs.flows():
            cookie, rest = flow.split(",", 1)[0], flow[flow.index("priority") :]
            world.ovs.ofctl("add-flow", "br0", f"{cookie},table=0,hard_timeout=600,{rest}")
        time.sleep(1.2)
        assert all(left > 500 for left in world.ovs.seconds_left())
        assert world.shim.expire() == 0
        assert world.ovs.flows() == []
    finally:
        world.shim.start()


def test_a_killed_switch_is_given_its_rules_again(world: World) -> None:
    world.shim.put("one", rules(HOST, LISTED), ttl=60)
    world.ping(LISTED, 5)
    counted = world.ovs.settled()
    world.shim.rules()
    world.ovs.kill_vswitchd()
    try:
        until(lambda: world.shim.rules() == {}, 5, "the shim knows")
    finally:
        world.ovs.start_vswitchd()
    until(lambda: _answers(world), 10, "the switch answers again")
    assert world.ovs.flows() == []
    assert world.shim.call("POST", "/acl/renew?ttl=60").ok
    until(lambda: len(world.ovs.flows()) == 2, 10, "the flows are back")
    world.switch.run("ping", "-q", "-c", "1", ANALYST)
    recorder = world.recorder("again")
    world.ping(LISTED, 5)
    assert 9 <= len(recorder.stop()) <= 10
    # The switch counts from nothing, the rule goes on.
    assert world.ovs.settled() == 10
    world.counts("one", counted + 10)


def _answers(world: World) -> bool:
    try:
        world.ovs.flows()
    except AssertionError:
        return False
    return True


def test_foreign_flows_stay_and_go_on_deciding(world: World) -> None:
    drop = f"cookie=0x77,table=0,priority=500,ip,nw_src={HOST},nw_dst={OTHER},actions=drop"
    world.ovs.ofctl("add-flow", "br0", drop)
    before = [flow.split("priority")[-1] for flow in world.ovs.flows(only="")]
    world.shim.put("one", rules(HOST, OTHER), ttl=60)
    recorder = world.recorder("foreign")
    with world.host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for _ in range(5):
            out.sendto(b"blocked", (OTHER, 9000))
    frames = recorder.stop()
    # Still dropped (nothing came back), and the attempt is on record.
    assert 4 <= len(frames) <= 5
    assert inner(tshark(recorder.file, "ip.dst")) == {(f"{ANALYST},{OTHER}",)}
    world.shim.call("DELETE", "/acl/one")
    assert [flow.split("priority")[-1] for flow in world.ovs.flows(only="")] == before
    world.ovs.ofctl("del-flows", "br0", "cookie=0x77/-1")


def test_nobody_injects_frames_through_the_erspan_port(world: World) -> None:
    world.shim.put("one", rules(HOST, LISTED), ttl=60)
    recorder = Recorder(world.namespaces, world.host, "eth0", world.directory / "injected.pcap", "ether proto 0x0800")
    mac = world.host.run("cat", "/sys/class/net/eth0/address").strip()
    ip = bytes(dpkt.ip.IP(src=socket.inet_aton(LISTED), dst=socket.inet_aton(HOST), p=17, ttl=64, data=b"\0" * 8))
    frame = bytes.fromhex(mac.replace(":", "")) + b"\x02\0\0\0\0\x77" + b"\x08\x00" + ip
    for session in (0, 1, 1023):
        header = struct.pack("!HHI", 0x1000, 0x88BE, 1) + struct.pack("!HHI", 0x1000, session, 0)
        world.gre.sendto(header + frame, (SWITCH, 0))
    world.gre.sendto(struct.pack("!HH", 0, 0x88BE) + frame, (SWITCH, 0))
    assert recorder.stop() == []


def test_type_three_where_configured_and_a_lease_longer_than_sixteen_bits(world: World) -> None:
    world.shim.put("one", rules(HOST, LISTED), ttl=60)
    other = LabShim(
        world.switch, world.directory / "three", SWITCH, "ovs", [ANALYST],
        {"rundir": world.ovs.rundir, "erspan_type": 3, "session": 77},
        listen=f"{SWITCH}:8081", max_ttl="2d", state_dir=world.directory / "shim" / "state",
    )  # fmt: skip
    other.url = f"http://{SWITCH}:8081"
    world.shim.process.kill()
    try:
        other.start()
        # What the last configuration installed is made to look as this one wants it.
        until(lambda: "one" in other.rules(), 10, "installed as type III")
        other.call("POST", "/acl/renew?ttl=100000")
        until(lambda: all(65_000 < left <= 65_535 for left in world.ovs.seconds_left()), 10, "capped")
        recorder = world.recorder("three")
        world.ping(LISTED, 5)
        assert 9 <= len(recorder.stop()) <= 10
        assert inner(tshark(recorder.file, "erspan.version", "erspan.spanid")) == {("2", "77")}
        other.call("POST", "/acl/renew?ttl=60")
    finally:
        other.process.kill()
        world.shim.start()
    until(lambda: "one" in world.shim.rules(), 10, "and back")


def test_health_says_what_is_used_and_what_is_lacking(world: World) -> None:
    def problems() -> list[str]:
        found: list[str] = world.shim.get("/healthz")["problems"]
        return found

    [reach] = until(lambda: [row for row in world.shim.get("/healthz")["erspan"] if row["reachable"]], 25)
    assert (reach["destination"], reach["via"]) == (ANALYST, "br-mon")
    assert reach["neighbour"] == world.analyst.run("cat", "/sys/class/net/eth0/address").strip()
    assert problems() == []
    assert "ovs-vswitchd (Open vSwitch)" in world.shim.log()
    assert "bridge br0 (userspace datapath), ERSPAN type 2 by port erspan-acl" in world.shim.log()


def test_a_machine_without_the_bridge_says_so(lab: World) -> None:
    shim = LabShim(
        lab.switch, lab.directory / "none", SWITCH, "ovs", [ANALYST, "10.77.0.1", SWITCH],
        {"rundir": lab.ovs.rundir, "bridge": "br7"}, listen=f"{SWITCH}:8082",
    )  # fmt: skip
    shim.url = f"http://{SWITCH}:8082"
    try:
        shim.start()
        assert shim.get("/healthz")["problems"][0] == "Open vSwitch has no bridge br7"
        assert shim.put("one", rules(HOST, LISTED)).status_code == 503
        assert lab.ovs.flows() == []
    finally:
        shim.process.kill()
