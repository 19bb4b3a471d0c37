# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Frames built by hand, and the recorded sFlow beside the checkout (tests skip where it isn't there)."""

import json
from collections.abc import Iterator
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from sentinel.packets.pcap import packets
from sentinel.sflow.recorded import datagrams

DATA = Path(__file__).parents[2] / "../shared/data"
SOURCE, DESTINATION = "02:00:00:00:00:01", "02:00:00:00:00:02"


def data_folder(name: str) -> Path:
    """A folder of recorded data; skips the test where it is absent."""
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"no {name} data beside the checkout")
    return folder


def rows(pcap: Path) -> list[dict[str, Any]]:
    """The reference rows of a recording."""
    return [json.loads(line) for line in pcap.with_suffix(".expected.jsonl").read_text().splitlines()]


@cache
def payloads() -> tuple[bytes, ...]:
    """One datagram of every shape in the recorded sFlow: all of the small files, a few of the large ones."""
    found: list[bytes] = []
    folder = data_folder("sflow")
    for pcap in sorted(folder.glob("*.pcap")):
        own = [each.payload for each in datagrams(packets(pcap))]
        found += own[:6]
    return tuple(found)


def checked(folder: Path) -> Iterator[Path]:
    """The recordings of a folder that have reference rows."""
    for pcap in sorted(folder.glob("*.pcap")):
        if pcap.with_suffix(".expected.jsonl").exists():
            yield pcap


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ethernet(ether_type: int, payload: bytes, *tags: tuple[int, int]) -> bytes:
    """An Ethernet frame; ``tags`` are (TPID, VLAN id), outermost first."""
    head = mac(DESTINATION) + mac(SOURCE) + b"".join(pack(">HH", *tag) for tag in tags)
    return head + pack(">H", ether_type) + payload


def ipv4(protocol: int, payload: bytes, src: str = "10.0.0.1", dst: str = "192.0.2.1", **more: int) -> bytes:
    """An IPv4 packet; ``flags`` is the 16-bit word of flags and fragment offset, ``options`` words of options."""
    options = bytes(4 * more.get("options", 0))
    total = more.get("total", 20 + len(options) + len(payload))
    first = 0x45 + more.get("options", 0)
    head = pack(">BBHHHBBH", first, 0, total, more.get("id", 1), more.get("flags", 0), 64, protocol, 0)
    return head + ip_address(src).packed + ip_address(dst).packed + options + payload


def ipv6(following: int, payload: bytes, src: str = "2001:db8::1", dst: str = "2001:db8::2") -> bytes:
    """An IPv6 packet."""
    head = pack(">IHBB", 6 << 28, len(payload), following, 64)
    return head + ip_address(src).packed + ip_address(dst).packed + payload


def udp(dst_port: int, payload: bytes, src_port: int = 40000) -> bytes:
    """A UDP packet without a checksum."""
    return pack(">HHHH", src_port, dst_port, 8 + len(payload), 0) + payload


def tcp(dst_port: int = 443, src_port: int = 40000, flags: int = 0x02) -> bytes:
    """A TCP header without options."""
    return pack(">HHIIBBHHH", src_port, dst_port, 1, 0, 5 << 4, flags, 1024, 0, 0)


def gre(protocol: int, payload: bytes, flags: int = 0, fields: bytes = b"") -> bytes:
    """A GRE packet; ``fields`` are what the flags announce."""
    return pack(">HH", flags, protocol) + fields + payload


def pcap(*frames: bytes, order: str = "<", magic: int = 0xA1B2C3D4, link_type: int = 1, units: int = 10**6) -> bytes:
    """A pcap file whose frame n was recorded at n and a half seconds."""
    head = pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link_type)
    return head + b"".join(
        pack(order + "IIII", number, units // 2, len(frame), len(frame)) + frame
        for number, frame in enumerate(frames, 1)
    )


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A pcapng block."""
    body += bytes(-len(body) & 3)
    return pack(order + "II", kind, len(body) + 12) + body + pack(order + "I", len(body) + 12)


def section(order: str = "<") -> bytes:
    """A pcapng section header."""
    return block(0x0A0D0D0A, pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(
    order: str = "<", link_type: int = 1, resolution: int | None = None, offset_s: int | None = None
) -> bytes:
    """A pcapng interface description."""
    options = b"" if resolution is None else pack(order + "HHB3x", 9, 1, resolution)
    options += b"" if offset_s is None else pack(order + "HHq", 14, 8, offset_s)
    return block(1, pack(order + "HHI", link_type, 0, 0) + options, order)


def enhanced(number: int, ticks: int, frame: bytes, order: str = "<") -> bytes:
    """A pcapng enhanced packet block."""
    head = pack(order + "5I", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(6, head + frame, order)
