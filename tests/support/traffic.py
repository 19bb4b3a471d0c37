# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Sampled traffic in few words: matches as the scan makes them, and datagrams as agents send them."""

import socket
from typing import Any

import dpkt

from sentinel.blacklist.formats.parsed import Entry
from sentinel.blacklist.trie import Allowed, Blacklist
from sentinel.model import Indicator, Match, Record
from sentinel.sflow import encode

LOCAL = "10.0.0.5"
LISTED = "203.0.113.9"
LEAF1 = "10.0.0.253"
SYN, ACK, RST = 0x02, 0x10, 0x04
INDICATORS = (Indicator("203.0.113.9/32", "compromised", "hosts"), Indicator("203.0.113.0/24", "block", "drop"))


def match(**changes: Any) -> Match:
    """One sampled outbound SYN from LOCAL to LISTED port 443, seen bare by LEAF1 port 3 at 1:1000, unless changed."""
    values: dict[str, Any] = {
        "agent": LEAF1,
        "sender": changes.get("agent", LEAF1),
        "source_class": 0,
        "source_index": 3,
        "input": 3,
        "output": 5,
        "sampling_rate": 1000,
        "frame_length": 100,
        "src_ip": LOCAL,
        "dst_ip": LISTED,
        "protocol": 6,
        "src_port": 51000,
        "dst_port": 443,
        "tcp_flags": SYN,
        "icmp_type": None,
        "layer": 0,
        "vni": None,
        "listed": "destination",
        "indicators": INDICATORS,
        "seen_at": 1_000.0,
    }
    return Match(**(values | changes))


def reply(**changes: Any) -> Match:
    """The other way: from LISTED port 443 to LOCAL, a SYN-ACK, unless changed."""
    values: dict[str, Any] = {
        "src_ip": LISTED,
        "dst_ip": LOCAL,
        "src_port": 443,
        "dst_port": 51000,
        "tcp_flags": SYN | ACK,
        "listed": "source",
        "source_index": 5,
        "input": 5,
        "output": 3,
    }
    return match(**(values | changes))


def packet(
    src: str = LOCAL, dst: str = LISTED, sport: int = 51000, dport: int = 443, flags: int = SYN, size: int = 0
) -> bytes:
    """An IPv4 or IPv6 packet with a TCP segment of ``size`` octets of data."""
    segment = dpkt.tcp.TCP(sport=sport, dport=dport, flags=flags, data=bytes(size))
    return ip(src, dst, 6, bytes(segment))


def ip(src: str, dst: str, protocol: int, payload: bytes) -> bytes:
    """An IPv4 or IPv6 packet, by the form of its addresses."""
    if ":" in src:
        pack = [socket.inet_pton(socket.AF_INET6, address) for address in (src, dst)]
        v6 = dpkt.ip6.IP6(src=pack[0], dst=pack[1], nxt=protocol, hlim=64, plen=len(payload))
        v6.data, v6.extension_hdrs = payload, {}
        return bytes(v6)
    pack = [socket.inet_pton(socket.AF_INET, address) for address in (src, dst)]
    return bytes(dpkt.ip.IP(src=pack[0], dst=pack[1], p=protocol, len=20 + len(payload), data=payload))


def frame(payload: bytes) -> bytes:
    """An Ethernet frame around an IP packet."""
    kind = b"\x86\xdd" if payload[0] >> 4 == 6 else b"\x08\x00"
    return bytes.fromhex("020000000001020000000002") + kind + payload


def vxlan(inner: bytes, src: str = "10.255.0.1", dst: str = "10.255.0.2", vni: int = 100) -> bytes:
    """An IP packet between two VTEPs around a frame (RFC 7348)."""
    header = b"\x08\0\0\0" + vni.to_bytes(3, "big") + b"\0"
    udp = dpkt.udp.UDP(sport=49152, dport=4789, ulen=16 + len(inner), data=header + inner)
    return ip(src, dst, 17, bytes(udp))


def erspan(inner: bytes, src: str = LEAF1, dst: str = "10.0.0.70") -> bytes:
    """An IP packet with a mirrored frame in ERSPAN type I: GRE without sequence, protocol 0x88BE."""
    return ip(src, dst, 47, b"\0\0\x88\xbe" + inner)


def flow(frame_: bytes, **changes: Any) -> bytes:
    """An encoded flow sample of a frame, at 1:1000 on port 3 towards port 5."""
    values: dict[str, Any] = {
        "sequence": 1,
        "source_index": 3,
        "sampling_rate": 1000,
        "sample_pool": 1000,
        "input": 3,
        "output": 5,
        "header": frame_[:128],
        "frame_length": len(frame_),
    }
    return encode.flow_sample(**(values | changes))


def discard(frame_: bytes, reason: int = 258) -> bytes:
    """An encoded discarded_packet on port 3; 258: by an access list."""
    return encode.discarded_packet(
        sequence=1, source_index=3, input=3, reason=reason, header=frame_[:128], frame_length=len(frame_)
    )


def datagram(*samples: bytes, agent: str = LEAF1, sequence: int = 1) -> bytes:
    """An encoded datagram."""
    return encode.datagram(agent, 0, sequence, 1000 * sequence, samples)


def nat(src: str, dst: str) -> Record:
    """The extended_nat record: translated addresses."""
    return Record("0:1007", "extended_nat", {"src_address": src, "dst_address": dst})


def nat_port(src: int, dst: int) -> Record:
    """The extended_nat_port record: translated ports."""
    return Record("0:1020", "extended_nat_port", {"src_port": src, "dst_port": dst})


def table_space(used: int) -> bytes:
    """An encoded counter sample in which a Broadcom switch says how full its tables are."""
    return encode.counters_sample(
        sequence=1, source_index=3, records=[Record("4413:3", "hw_tables", {"host_entries": used})]
    )


def tunnel(src: str, dst: str, *, protocol: int = 17, dport: int = 4789, ingress: bool = False) -> Record:
    """The extended_*_tunnel_* record of these outer addresses."""
    v6 = ":" in src
    name = f"extended_ipv{6 if v6 else 4}_tunnel_{'ingress' if ingress else 'egress'}"
    ports = {"src_port": 0, "dst_port": dport, "tcp_flags": 0}
    fields = {"length": 150, "protocol": protocol, "src_ip": src, "dst_ip": dst, **ports}
    return Record(f"0:{1023 + 2 * v6 + ingress}", name, {**fields, "priority" if v6 else "tos": 0})


def blacklist(*prefixes: str, allow: tuple[str, ...] = ()) -> Blacklist:
    """One feed ``test`` with one group ``all`` that lists these prefixes."""
    entries = [
        Entry(text if "/" in text else f"{text}/{128 if ':' in text else 32}", "all", line)
        for line, text in enumerate(prefixes, 1)
    ]
    return Blacklist.build({"test": entries}, [Allowed(prefix, "config") for prefix in allow])
