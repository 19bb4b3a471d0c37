# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The emulated switch executes its rules: which frames come out as ERSPAN, with which octets."""

import socket
import struct
from collections.abc import Iterator

import dpkt
import pytest

from switch_acl_api.drivers.base import Target
from switch_acl_api.drivers.emulated.driver import EmulatedDriver
from switch_acl_api.drivers.emulated.frames import addresses_of, erspan, split_datagram
from switch_acl_api.drivers.emulated.settings import EmulatedSettings
from switch_acl_api.errors import CommitError
from switch_acl_api.grammar import read_rules
from switch_acl_api.policy import Acl
from tests.support.shim_world import rule, wait_until

MACS = bytes.fromhex("443839000001443839000002")


def frame(source: str, destination: str, tags: bytes = b"") -> bytes:
    if ":" in source:
        packet = struct.pack("!IHBB", 6 << 28, 4, 17, 64)
        packet += socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination) + b"abcd"
        return MACS + tags + b"\x86\xdd" + packet
    packet = struct.pack("!BBHHHBBH", 0x45, 0, 24, 1, 0, 64, 17, 0)
    packet += socket.inet_aton(source) + socket.inet_aton(destination) + b"abcd"
    return MACS + tags + b"\x08\x00" + packet


class World:
    """The driver, a port to send frames to, and an analyst's socket."""

    def __init__(self, version: int = 1) -> None:
        self.analyst = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.analyst.bind(("127.0.0.1", 0))
        self.analyst.settimeout(5)
        self.driver = EmulatedDriver(EmulatedSettings(("127.0.0.1", 0), self.analyst.getsockname()[1], version))
        self.driver.start()
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def rules(self, *lines: str, section: str = "[iptables]") -> None:
        acl = Acl("one", "o", (section, *lines), None, "n")
        self.driver.commit([Target(acl, tuple(read_rules(acl.lines)))])

    def send(self, octets: bytes, port: str = "swp1") -> None:
        address = self.driver.frames_address
        assert address is not None
        self.sender.sendto(bytes([len(port)]) + port.encode() + octets, address)

    def close(self) -> None:
        self.driver.stop()
        self.sender.close()
        self.analyst.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def to_analyst(source: str, destination: str, port: str = "swp+") -> str:
    return rule(source, destination, erspan_source="127.0.0.1", to="127.0.0.1", port=port)


def test_a_matching_frame_comes_out_as_type_i_and_is_counted(world: World) -> None:
    world.rules(to_analyst("10.0.0.1", "10.0.0.2"))
    sent = frame("10.0.0.1", "10.0.0.2")
    world.send(sent)
    packet, source = world.analyst.recvfrom(2000)
    assert packet == bytes.fromhex("000088be") + sent
    assert source[0] == "127.0.0.1"
    (count,) = world.driver.installed().values()
    assert count == (1, len(sent))


@pytest.mark.parametrize("tags", [b"", b"\x81\x00\x00\x0a", b"\x88\xa8\x00\x0a\x81\x00\x00\x0b"])
def test_tagged_frames_match_and_keep_their_tags(world: World, tags: bytes) -> None:
    world.rules(to_analyst("10.0.0.1", "10.0.0.2"))
    world.send(frame("10.0.0.1", "10.0.0.2", tags))
    assert world.analyst.recv(2000)[4:] == frame("10.0.0.1", "10.0.0.2", tags)


def test_ipv6_frames(world: World) -> None:
    world.rules(to_analyst("2001:db8::1", "2001:db8::2"), section="[ip6tables]")
    world.send(frame("2001:db8::1", "2001:db8::2"))
    assert world.analyst.recv(2000)[4:] == frame("2001:db8::1", "2001:db8::2")


def test_only_the_pair_only_the_direction_only_the_port(world: World) -> None:
    world.rules(to_analyst("10.0.0.1", "10.0.0.2", port="swp1"))
    for octets, port in (
        (frame("10.0.0.2", "10.0.0.1"), "swp1"),
        (frame("10.0.0.1", "10.0.0.3"), "swp1"),
        (frame("10.0.0.1", "10.0.0.2"), "swp10"),
        (frame("10.0.0.1", "10.0.0.2"), "eth0"),
    ):
        world.send(octets, port)
    world.send(frame("10.0.0.1", "10.0.0.2"))
    assert world.analyst.recv(2000)[4:] == frame("10.0.0.1", "10.0.0.2")
    (count,) = world.driver.installed().values()
    assert count.packets == 1


def test_the_wildcard_is_iptables_own(world: World) -> None:
    world.rules(to_analyst("10.0.0.1", "10.0.0.2"))
    for port in ("bond1", "eth0", "sw", "swp", "swp49s0"):
        world.send(frame("10.0.0.1", "10.0.0.2"), port)
    wait_until(lambda: next(iter(world.driver.installed().values())).packets == 2)


def test_counters_of_a_rule_that_stays_go_on(world: World) -> None:
    world.rules(to_analyst("10.0.0.1", "10.0.0.2"))
    world.send(frame("10.0.0.1", "10.0.0.2"))
    world.analyst.recv(2000)
    wait_until(lambda: next(iter(world.driver.installed().values())).packets == 1)
    world.rules(to_analyst("10.0.0.1", "10.0.0.2"), to_analyst("10.0.0.3", "10.0.0.4"))
    assert sorted(count.packets for count in world.driver.installed().values()) == [0, 1]


def test_a_removed_rule_mirrors_no_more(world: World) -> None:
    world.rules(to_analyst("10.0.0.1", "10.0.0.2"))
    world.rules(to_analyst("10.0.0.5", "10.0.0.6"))
    world.send(frame("10.0.0.1", "10.0.0.2"))
    world.send(frame("10.0.0.5", "10.0.0.6"))
    assert world.analyst.recv(2000)[4:] == frame("10.0.0.5", "10.0.0.6")


def test_type_ii_has_sequence_and_header() -> None:
    world = World(version=2)
    try:
        world.rules(to_analyst("10.0.0.1", "10.0.0.2"))
        for _ in range(2):
            world.send(frame("10.0.0.1", "10.0.0.2", b"\x81\x00\x20\x0a"))
        first, second = world.analyst.recv(2000), world.analyst.recv(2000)
    finally:
        world.close()
    flags, protocol, sequence = struct.unpack("!HHI", first[:8])
    assert (flags, protocol, sequence) == (0x1000, 0x88BE, 0)
    assert struct.unpack("!HHI", second[:8])[2] == 1
    version_vlan, rest, index = struct.unpack("!HHI", first[8:16])
    assert (version_vlan >> 12, version_vlan & 0xFFF, rest >> 11 & 3, rest & 0x3FF, index) == (1, 10, 3, 1, 0)
    assert dpkt.ethernet.Ethernet(first[16:]).vlan_tags[0].id == 10


@pytest.mark.parametrize(
    "octets", [b"", b"\x00", b"\x04swp1", b"\xff" * 300, b"\x04\xff\xfe\xfd\xfc" + bytes(60), b"\x00" * 14]
)
def test_rubbish_on_the_frame_port_is_counted(world: World, octets: bytes) -> None:
    world.rules(to_analyst("10.0.0.1", "10.0.0.2"))
    address = world.driver.frames_address
    assert address is not None
    world.sender.sendto(octets, address)
    world.send(frame("10.0.0.1", "10.0.0.2"))
    assert world.analyst.recv(2000)
    assert world.driver.dropped["malformed"] == 1


@pytest.mark.parametrize("tags", [b"", b"\x81\x00\x00\x0a"])
@pytest.mark.parametrize("pair", [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")])
def test_a_frame_cut_anywhere_has_its_addresses_or_none(pair: tuple[str, str], tags: bytes) -> None:
    whole = frame(*pair, tags)
    for cut in range(len(whole)):
        found = addresses_of(whole[:cut])
        assert found is None or found == addresses_of(whole)


def test_hardware_limits() -> None:
    driver = EmulatedDriver(EmulatedSettings(tcam=1))
    lines = ("[iptables]", rule("10.0.0.1"), rule("10.0.0.2"))
    targets = [Target(Acl("a", "o", lines, None, "n"), tuple(read_rules(lines)))]
    with pytest.raises(CommitError, match="hw sync"):
        driver.commit(targets)
    assert driver.installed() == {}
    assert driver.tcam_free() == 1


def test_an_unusable_erspan_source_is_counted_not_fatal(world: World) -> None:
    world.rules(rule("10.0.0.1", "10.0.0.2", erspan_source="198.51.100.1", to="127.0.0.1"))
    world.send(frame("10.0.0.1", "10.0.0.2"))
    wait_until(lambda: world.driver.dropped["send_failed"] == 1)


def test_datagrams_split_as_documented() -> None:
    assert split_datagram(b"\x04swp1" + bytes(14)) == ("swp1", bytes(14))
    assert split_datagram(b"\x04swp1" + bytes(13)) is None
    assert erspan(b"x", 1, 0) == b"\x00\x00\x88\xbex"
