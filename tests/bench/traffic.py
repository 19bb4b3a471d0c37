# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Lists and datagrams for measuring: seeded, six samples of 128 octets each, a given share of listed addresses."""

import random
import socket
from collections.abc import Sequence
from itertools import chain
from struct import pack
from typing import Literal

from sentinel.blacklist.formats.parsed import Entry
from sentinel.blacklist.trie import Blacklist
from tests.support.traffic import datagram, flow, vxlan

Family = Literal["v4", "v6", "vxlan"]
SAMPLES = 6
AGENTS = 16
_ETHERNET = bytes.fromhex("020000000001020000000002")


def addresses(family: Family, number: int, seed: int) -> list[bytes]:
    """Addresses as lists have them: IPv4 anywhere, IPv6 in 16,384 providers' /32."""
    chance = random.Random(seed)
    if family == "v6":
        return [
            pack(">HHIQ", 0x2600 | chance.randrange(64), chance.randrange(256), chance.randrange(1 << 32), 1 + n)
            for n in range(number)
        ]
    return [pack(">I", chance.randrange(0x01000000, 0xDF000000)) for _ in range(number)]


def text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def lists(listed: Sequence[bytes]) -> Blacklist:
    """One feed with these hosts."""
    return Blacklist.build({"bench": [Entry(f"{text(one)}/{len(one) * 8}", "hosts", 1) for one in listed]})


def payloads(family: Family, number: int, hits: float, listed: Sequence[bytes], seed: int = 1) -> list[bytes]:
    """Datagrams of AGENTS agents in turn; ``hits`` is the share of samples whose destination is listed."""
    chance = random.Random(seed)
    others = addresses(family, number * SAMPLES, seed + 1)
    made = []
    for index in range(number):
        samples = []
        for place in range(SAMPLES):
            to = chance.choice(listed) if chance.random() < hits else others[index * SAMPLES + place]
            frame = _frame(_ip(to, chance))
            if family == "vxlan":
                ends = (f"10.255.0.{chance.randrange(64)}", f"10.255.1.{chance.randrange(64)}")
                frame = _frame(vxlan(frame, *ends))
            samples.append(
                flow(frame, sequence=index // AGENTS * SAMPLES + place + 1, source_index=3 + place, frame_length=400)
            )
        made.append(datagram(*samples, agent=agent(index), sequence=index // AGENTS + 1))
    return made


def distinct(number: int, first: int = 0) -> list[bytes]:
    """Datagrams of one agent, each sample of another source, behind those of the ``first`` datagrams."""
    mark, to = b"\xfe\xdc\xba\x98", pack(">I", 0xCB007109)
    sample = flow(_frame(_ip(to, random.Random(1), mark)), frame_length=400)
    *pieces, last = datagram(*[sample] * SAMPLES, agent=agent(0)).split(mark)
    made = []
    for begin in range(first * SAMPLES, (first + number) * SAMPLES, SAMPLES):
        sources = (pack(">I", 0x0A000000 + begin + place) for place in range(SAMPLES))
        made.append(b"".join([*chain(*zip(pieces, sources, strict=True)), last]))
    return made


def agent(index: int) -> str:
    return f"10.0.0.{index % AGENTS + 1}"


def _frame(packet: bytes) -> bytes:
    return _ETHERNET + (b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\0") + packet


def _ip(to: bytes, chance: random.Random, source: bytes = b"") -> bytes:
    tcp = pack(">HHIIBBHHH", chance.randrange(1024, 65536), 443, 1, 1, 0x50, 0x10, 100, 0, 0) + bytes(200)
    if len(to) == 16:
        return (
            pack(">IHBB", 6 << 28, len(tcp), 6, 64) + pack(">HHIQ", 0xFD00, 0, 0, chance.randrange(1 << 16)) + to + tcp
        )
    source = source or pack(">I", 0x0A000000 | chance.randrange(1 << 24))
    return pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + source + to + tcp
