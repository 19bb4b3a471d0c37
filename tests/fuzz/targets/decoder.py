# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One datagram through the decoder, with bodies, without, and as JSON lines: they agree.

Allowed: ``DecodeError``, whose offset lies inside the datagram.
"""

import random

from tests.fuzz import shapes
from tests.fuzz.test_sflow_fuzz import swallow
from tests.support import sflow
from tests.unit.scan.test_twins import DATAGRAMS, FRAMES


def one(data: bytes) -> None:
    swallow(data)


def seeds() -> list[bytes]:
    recorded = sflow.payloads() if (sflow.DATA / "sflow").is_dir() else ()
    return [*DATAGRAMS, *recorded]


def mutate(data: bytes, chance: random.Random, blend: shapes.Blend) -> bytes:
    return blend(data) if chance.random() < 0.4 else shapes.changed(data, chance, blend, DATAGRAMS, FRAMES)
