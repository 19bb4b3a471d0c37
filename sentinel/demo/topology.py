# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The emulated fabric: two leaves and a spine, hosts behind the leaves, the Internet behind an edge router.

```
  hosts ── leaf1 ──┐                 ┌── edge router ── Internet (the listed addresses)
                   ├───── spine ─────┘
  hosts ── leaf2 ──┘
```

The leaves and the edge router are VXLAN tunnel ends: between them frames travel wrapped, so the spine sees a pair
only inside a vni. The edge router is nobody's agent. Every hop of a frame is spelled out by ``hops``: what is on the
wire where a switch samples (as it comes in), and what its access lists see (unwrapped where the tunnel ends there).
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from socket import inet_aton

import dpkt

from sentinel.model import Role

VNI = 10010
VXLAN_PORT = 4789
EDGE = "edge"
EDGE_ADDRESS = "127.0.1.254"
EDGE_MAC = bytes.fromhex("02000000fe01")


@dataclass(frozen=True, slots=True)
class Node:
    """A switch: ``agent`` is its sFlow agent, ERSPAN source and tunnel address; ports by name with their ifIndex."""

    name: str
    role: Role
    agent: str
    ports: dict[str, int]


@dataclass(frozen=True, slots=True)
class Host:
    """A machine at a switch's port, or, at ``edge``, one on the Internet."""

    name: str
    address: str
    mac: bytes
    switch: str
    port: str


@dataclass(frozen=True, slots=True)
class Hop:
    """A frame entering a switch. ``on_wire`` is what a sample shows, ``in_acl`` what the access lists match."""

    switch: str
    in_port: str
    out_port: str
    on_wire: bytes
    in_acl: bytes


def _switch(name: str, role: Role, agent: str, *ports: str) -> Node:
    return Node(name, role, agent, {port: int(port.removeprefix("swp")) for port in ports})


SWITCHES = (
    _switch("leaf1", "leaf", "127.0.1.1", "swp1", "swp2", "swp3", "swp51"),
    _switch("leaf2", "leaf", "127.0.1.2", "swp1", "swp2", "swp3", "swp51"),
    _switch("spine", "spine", "127.0.1.3", "swp1", "swp2", "swp31"),
)
UPLINK = "swp51"
SPINE_PORTS = {"leaf1": "swp1", "leaf2": "swp2", EDGE: "swp31"}
LOCAL_PREFIX = "192.0.2.0/24"

HOSTS = (
    Host("web1", "192.0.2.11", bytes.fromhex("020000000011"), "leaf1", "swp1"),
    Host("web2", "192.0.2.12", bytes.fromhex("020000000012"), "leaf1", "swp2"),
    Host("mail", "192.0.2.13", bytes.fromhex("020000000013"), "leaf1", "swp3"),
    Host("db1", "192.0.2.21", bytes.fromhex("020000000021"), "leaf2", "swp1"),
    Host("db2", "192.0.2.22", bytes.fromhex("020000000022"), "leaf2", "swp2"),
    Host("build", "192.0.2.23", bytes.fromhex("020000000023"), "leaf2", "swp3"),
)
# Documentation prefixes of RFC 5737 stand for the Internet; the first is on no list.
HARMLESS = Host("mirror", "203.0.113.200", EDGE_MAC, EDGE, "")
LISTED = (
    Host("c2", "198.51.100.7", EDGE_MAC, EDGE, ""),
    Host("scanner", "203.0.113.9", EDGE_MAC, EDGE, ""),
    Host("c2-b", "198.51.100.66", EDGE_MAC, EDGE, ""),
)

_ADDRESSES = {**{node.name: node.agent for node in SWITCHES}, EDGE: EDGE_ADDRESS}
_ROUTER_MACS = {"leaf1": b"\2\0\0\0\1\1", "leaf2": b"\2\0\0\0\1\2", "spine": b"\2\0\0\0\1\3", EDGE: EDGE_MAC}


def node(name: str) -> Node:
    """The switch of that name; ``KeyError`` where there is none."""
    return {each.name: each for each in SWITCHES}[name]


def hops(source: Host, destination: Host, frame: bytes) -> list[Hop]:
    """The way of one frame through the fabric, in order."""
    if source.switch == destination.switch:
        return [Hop(source.switch, source.port, destination.port, frame, frame)]
    wrapped_up = vxlan(frame, source.switch, destination.switch, source.switch, "spine")
    wrapped_down = vxlan(frame, source.switch, destination.switch, "spine", destination.switch)
    way = []
    if source.switch != EDGE:
        way.append(Hop(source.switch, source.port, UPLINK, frame, frame))
    spine_in, spine_out = SPINE_PORTS[source.switch], SPINE_PORTS[destination.switch]
    way.append(Hop("spine", spine_in, spine_out, wrapped_up, wrapped_up))
    if destination.switch != EDGE:
        way.append(Hop(destination.switch, UPLINK, destination.port, wrapped_down, frame))
    return way


def vxlan(frame: bytes, tunnel_from: str, tunnel_to: str, wire_from: str, wire_to: str) -> bytes:
    """The frame in VXLAN (RFC 7348) between two tunnel ends, on the wire between two neighbours."""
    header = struct.pack("!II", 0x08000000, VNI << 8)
    # RFC 7348 section 5: the source port is a hash of the inner flow, from the range of ports that clients draw.
    port = 49152 + sum(frame[26:38]) % 16384
    udp = dpkt.udp.UDP(sport=port, dport=VXLAN_PORT, ulen=16 + len(frame), data=header + frame)
    return _ethernet(_ROUTER_MACS[wire_from], _ROUTER_MACS[wire_to], *_tunnel(tunnel_from, tunnel_to), bytes(udp))


@lru_cache
def _tunnel(tunnel_from: str, tunnel_to: str) -> tuple[bytes, bytes]:
    return inet_aton(_ADDRESSES[tunnel_from]), inet_aton(_ADDRESSES[tunnel_to])


def _ethernet(source: bytes, destination: bytes, source_ip: bytes, destination_ip: bytes, udp: bytes) -> bytes:
    ip = dpkt.ip.IP(src=source_ip, dst=destination_ip, p=dpkt.ip.IP_PROTO_UDP, ttl=64, data=udp)
    ip.len = 20 + len(udp)
    return bytes(dpkt.ethernet.Ethernet(src=source, dst=destination, type=dpkt.ethernet.ETH_TYPE_IP, data=ip))
