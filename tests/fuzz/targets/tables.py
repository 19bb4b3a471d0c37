# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Any lists: the compiled tables answer each address as the tries do that they were made from.

An input is prefixes of a kind, a length and an address; asked for are both ends of each and their neighbours. Where
its kind says so, an address begins as the one before it, so that prefixes nest.
"""

import random
from ipaddress import ip_address, ip_network

from tests.fuzz.shapes import Blend
from tests.property.test_frozen_tables import compare

V6, ALLOWED, OF_THE_ONE_BEFORE = 1, 2, 4
MAX_PREFIXES = 40
_OCTETS = 18


def one(data: bytes) -> None:
    listed: list[str] = []
    allowed: list[str] = []
    asked: list[bytes] = []
    before = bytes(16)
    for at in range(0, min(len(data), MAX_PREFIXES * _OCTETS) - _OCTETS + 1, _OCTETS):
        kind, length, address = data[at], data[at + 1], data[at + 2 : at + _OCTETS]
        if kind & OF_THE_ONE_BEFORE:
            address = before[:6] + address[6:]
        before = address
        packed = address if kind & V6 else address[4:8]
        bits = 8 * len(packed)
        text = str(ip_network(f"{ip_address(packed)}/{length % (bits + 1)}", strict=False))
        (allowed if kind & ALLOWED else listed).append(text)
        asked.append(packed)
    compare(listed, allowed, asked)


def seeds() -> list[bytes]:
    chance = random.Random(3)
    return [b"".join(_prefix(chance) for _ in range(count)) for count in (0, 1, 2, 4, 8, 16, 24, 40)]


def mutate(data: bytes, chance: random.Random, blend: Blend) -> bytes:
    """Octets anywhere, or one prefix more, less, moved, or with another length."""
    pieces = [data[at : at + _OCTETS] for at in range(0, len(data), _OCTETS)]
    kind = chance.randrange(6)
    if kind < 2 or not pieces:
        return blend(data) if kind else data + _prefix(chance)
    at = chance.randrange(len(pieces))
    if kind == 2:
        pieces[at : at + 1] = [pieces[at], _prefix(chance)]
    elif kind == 3:
        pieces[at : at + 1] = []
    elif kind == 4:
        pieces.insert(chance.randrange(len(pieces)), pieces[at])
    else:
        pieces[at] = pieces[at][:1] + bytes((chance.randrange(129),)) + pieces[at][2:]
    return b"".join(pieces[:MAX_PREFIXES])


def _prefix(chance: random.Random) -> bytes:
    kind = chance.choice((0, 1, 1, 2, 3, 4, 5, 5, 7))
    length = chance.choice((0, 8, 16, 18, 19, 24, 31, 32, 33, 47, 48, 49, 63, 64, 65, 127, 128))
    return bytes((kind, length)) + chance.randbytes(16)
