# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""decapsulate(encapsulate(frame)) is the frame, whole, in pieces, of any kind."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.erspan.decapsulate import decapsulate, decapsulate_outer
from sentinel.erspan.sequences import Sequences
from sentinel.packets.fragments import Reassembler
from sentinel.packets.ip import parse
from tests.support.mirroring import ALL_KINDS, ipv4, ipv6, udp

frames = st.binary(min_size=14, max_size=4000)


@given(frames, st.sampled_from(sorted(ALL_KINDS)), st.booleans(), st.booleans(), st.binary(max_size=20))
def test_every_frame_comes_out_of_every_kind(frame: bytes, kind: str, six: bool, in_udp: bool, padding: bytes) -> None:
    payload = ALL_KINDS[kind](frame)
    protocol = 17 if in_udp else 47
    payload = udp(payload) if in_udp else payload
    outer = ipv6("fd00::1", "fd00::2", protocol, payload) if six else ipv4("10.0.0.1", "10.0.0.2", protocol, payload)
    assert decapsulate(outer + padding).frame == frame


@given(frames, st.sampled_from(sorted(ALL_KINDS)), st.integers(1, 180), st.randoms(use_true_random=False))
def test_pieces_in_any_order_with_repetitions(frame: bytes, kind: str, eighths: int, rng: random.Random) -> None:
    payload, size = ALL_KINDS[kind](frame), max(8 * eighths, 8 * (len(ALL_KINDS[kind](frame)) // 1000 + 1))
    cuts = [
        ipv4("10.0.0.1", "10.0.0.2", 47, payload[at : at + size], frag=at // 8 | 0x2000 * (at + size < len(payload)))
        for at in range(0, len(payload), size)
    ]
    order = cuts + rng.sample(cuts, len(cuts) // 2)
    rng.shuffle(order)
    reassembler = Reassembler()
    whole = [done for cut in order if (done := reassembler.add(parse(cut), 0.0))]
    assert decapsulate_outer(whole[0]).frame == frame


@settings(max_examples=50)
@given(st.lists(st.integers(0, 2**32 - 1), max_size=60))
def test_gaps_are_never_negative_and_add_up(numbers: list[int]) -> None:
    sequences = Sequences()
    found = [sequences.gap("s", 1, number) for number in numbers]
    assert all(gap >= 0 for gap in found)
    assert sum(found) == sequences.lost
