# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Batches of mirrored packets through both keepers: equal counters, numbers and files, to the last octet.

The first octet says whether the packets begin with their IPv4 header. The others are packets between separators, each
behind an octet that says who sent it, how much later, and whether its batch ends there. No exception is allowed.
"""

import random
from pathlib import Path
from tempfile import TemporaryDirectory

from sentinel.erspan.keeper import Arrived
from tests.fuzz.shapes import Blend
from tests.fuzz.targets.erspan import SEPARATOR
from tests.fuzz.targets.erspan import mutate as changed
from tests.support.keepers import Keepers, batches

RAW_IPV4, SMALL_FILES = 1, 2
BATCH_ENDS = 0x20
MAX_PACKETS = 100

_SENDERS = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.66", "fd00::1", "10.0.0.1", "10.0.0.1", "fd00::2")
_LATER_NS = (1_000, 100_000, 30_000_000, 3_000_000_000)


def one(data: bytes) -> None:
    head, *pieces = data.split(SEPARATOR)
    settings = head[0] if head else 0
    with TemporaryDirectory() as folder:
        both = Keepers(Path(folder), max_file_bytes=4_096 if settings & SMALL_FILES else 1 << 20)
        batch: list[Arrived] = []
        at_ns = 1_700_000_000 * 10**9
        for piece in pieces[:MAX_PACKETS]:
            kind = piece[0] if piece else 0
            at_ns += _LATER_NS[kind >> 3 & 3]
            batch.append((piece[1:], _SENDERS[kind & 7 if not settings & RAW_IPV4 else kind & 3], at_ns))
            if kind & BATCH_ENDS:
                both.feed(batch, raw_ipv4=bool(settings & RAW_IPV4))
                batch = []
        both.feed(batch, raw_ipv4=bool(settings & RAW_IPV4))
        both.finish()


def seeds() -> list[bytes]:
    found = []
    for seed in range(40):
        chance = random.Random(seed)
        for batch in batches(seed, 3, raw_ipv4=bool(seed & 1), damage=0.1):
            steps = [
                bytes((_SENDERS.index(sender) | chance.choice((0, 0, 0, BATCH_ENDS, 8, 16, 24)),)) + packet[:400]
                for packet, sender, _ in batch
            ]
            found.append(SEPARATOR.join((bytes((seed & 3,)), *steps)))
    return [each for each in found if len(each) < 6_000]


def mutate(data: bytes, chance: random.Random, blend: Blend) -> bytes:
    return changed(data, chance, blend)
