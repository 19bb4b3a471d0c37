# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Mirrored packets: any octets give a frame or an allowed error, and what was wrapped comes out again.

The first octet says which of the two. To come out again, the octets behind it are a frame that is wrapped in one of
the kinds, cut into fragments where that octet says so, and received in another order. Otherwise they are recorded
packets between separators, each behind an octet with its link type and how much later it came.

Allowed: ``DecodeError``. The reassembler's bounds hold after every packet.
"""

import random
from contextlib import suppress

from sentinel.errors import DecodeError
from sentinel.erspan.decapsulate import decapsulate_gre, decapsulate_outer
from sentinel.erspan.inner import inner_packet
from sentinel.packets.fragments import Reassembler
from sentinel.packets.ip import parse
from sentinel.packets.link import ip_packet
from tests.fuzz.shapes import Blend
from tests.fuzz.test_erspan_fuzz import attempt
from tests.support.mirroring import ALL_KINDS, ethernet, ipv4, ipv6, udp

SEPARATOR = b"\xf0\x9f\x90\x9a"
WRAPPED, SIX, IN_UDP, IN_PIECES = 0x80, 0x40, 0x20, 0x10
MAX_PACKETS, MAX_BYTES = 4, 4_000

_KINDS = sorted(ALL_KINDS)
_LINK_TYPES = (101, 1, 0, 113, 276, 108, 229, 9999)
_LATER_S = (0.0, 0.5, 4.0, 40.0)


def one(data: bytes) -> None:
    kind = data[0] if data else 0
    if kind & WRAPPED:
        _comes_out(kind, data[1:])
    else:
        _packets(data[1:].split(SEPARATOR))


def _comes_out(kind: int, frame: bytes) -> None:
    # At least what counts as a frame.
    frame = frame.ljust(14, b"\0")
    payload = ALL_KINDS[_KINDS[kind & 7]](frame)
    protocol = 17 if kind & IN_UDP else 47
    payload = udp(payload) if kind & IN_UDP else payload
    reassembler = Reassembler()
    whole = []
    size = 8 * (1 + len(payload) // 24) if kind & IN_PIECES else 0
    for packet in _cut(payload, protocol, six=bool(kind & SIX), size=size):
        done = reassembler.add(parse(packet), 0.0)
        if done is not None:
            whole.append(done)
    assert len(whole) == 1
    assert (reassembler.held_bytes, reassembler.held_packets) == (0, 0)
    mirrored = decapsulate_outer(whole[0])
    assert mirrored.frame == frame
    assert mirrored.missing == 0


def _cut(payload: bytes, protocol: int, *, six: bool, size: int) -> list[bytes]:
    if not size:
        whole = (
            ipv6("fd00::1", "fd00::2", protocol, payload) if six else ipv4("10.0.0.1", "10.0.0.2", protocol, payload)
        )
        return [whole]
    cuts = []
    for at in range(0, len(payload), size):
        piece, more = payload[at : at + size], at + size < len(payload)
        if six:
            header = bytes((protocol, 0)) + (at | more).to_bytes(2) + bytes(4)
            cuts.append(ipv6("fd00::1", "fd00::2", 44, header + piece))
        else:
            cuts.append(ipv4("10.0.0.1", "10.0.0.2", protocol, piece, frag=at // 8 | 0x2000 * more))
    return cuts[::-1]


def _packets(pieces: list[bytes]) -> None:
    reassembler = Reassembler(max_packets=MAX_PACKETS, max_bytes=MAX_BYTES, max_age_s=5)
    now = 0.0
    for piece in pieces:
        kind, data = piece[0] if piece else 0, piece[1:]
        now += _LATER_S[kind >> 3 & 3]
        inner_packet(data)
        with suppress(DecodeError):
            decapsulate_gre(data, "10.0.0.1", "10.0.0.2")
        with suppress(DecodeError):
            packet = ip_packet(_LINK_TYPES[kind & 7], data)
            attempt(packet)
            outer = reassembler.add(parse(packet), now)
            if outer is not None:
                inner_packet(decapsulate_outer(outer).frame)
        assert reassembler.held_bytes <= MAX_BYTES
        assert reassembler.held_packets <= MAX_PACKETS


def seeds() -> list[bytes]:
    found = []
    for number, kind in enumerate(_KINDS):
        wrapped = ALL_KINDS[kind](ethernet(payload=b"some payload", vlans=(7,)))
        whole = ipv4("10.0.0.1", "10.0.0.2", 47, wrapped), ipv6("fd00::1", "fd00::2", 17, udp(wrapped))
        found += [b"\0\0" + packet for packet in whole]
        for six in (False, True):
            cuts = _cut(wrapped * 3, 47, six=six, size=48)
            found.append(b"\0" + SEPARATOR.join(b"\0" + cut for cut in [*cuts, cuts[0]]))
        found.append(b"\0\1" + bytes(12) + b"\x81\0\0\7\x08\0" + whole[0])
        ways = (0, SIX, IN_UDP, IN_PIECES, SIX | IN_PIECES)
        found += [bytes((WRAPPED | bits | number,)) + ethernet() for bits in ways]
    return found


def mutate(data: bytes, chance: random.Random, blend: Blend) -> bytes:
    """Octets anywhere, or inside of one packet; packets repeated, dropped or in another order."""
    pieces = data.split(SEPARATOR)
    kind = chance.randrange(6)
    at = chance.randrange(len(pieces))
    if kind < 2:
        return blend(data)
    if kind == 2 and len(pieces) < 64:
        pieces.insert(at, pieces[chance.randrange(len(pieces))])
    elif kind == 3 and len(pieces) > 1:
        del pieces[at]
    elif kind == 4 and len(pieces) > 1:
        other = chance.randrange(len(pieces))
        pieces[at], pieces[other] = pieces[other], pieces[at]
    else:
        pieces[at] = blend(pieces[at])
    return SEPARATOR.join(pieces)
