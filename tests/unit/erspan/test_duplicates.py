# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import random

from sentinel.erspan.duplicates import Duplicates, Place
from sentinel.erspan.inner import inner_packet
from tests.support.mirroring import ethernet

LEAF1: Place = ("leaf1", None)
LEAF2: Place = ("leaf2", None)


def test_a_copy_from_another_switch_has_the_same_number_and_says_whose_came_first() -> None:
    duplicates = Duplicates(100)
    assert duplicates.number("c1", LEAF1, b"a", 0.0) == (100, None)
    assert duplicates.number("c1", LEAF2, b"a", 0.5) == (100, LEAF1)
    assert duplicates.number("c1", LEAF2, b"b", 0.5) == (101, None)
    assert duplicates.number("c2", LEAF2, b"a", 0.5) == (102, None)


def test_equal_packets_of_one_switch_are_two_and_match_those_of_another_in_order() -> None:
    duplicates = Duplicates()
    assert [duplicates.number("c1", LEAF1, b"a", 0.001 * n) for n in range(3)] == [(1, None), (2, None), (3, None)]
    second = [duplicates.number("c1", LEAF2, b"a", 0.01) for _ in range(4)]
    assert second == [(1, LEAF1), (2, LEAF1), (3, LEAF1), (4, None)]
    assert duplicates.number("c1", LEAF1, b"a", 0.02) == (4, LEAF2)


def test_entry_and_exit_of_one_switch_are_two_places() -> None:
    duplicates = Duplicates()
    assert duplicates.number("c1", ("leaf1", "ingress"), b"a", 0.0).first is None
    assert duplicates.number("c1", ("leaf1", "egress"), b"a", 0.0) == (1, ("leaf1", "ingress"))


def test_after_the_window_an_equal_packet_is_another() -> None:
    duplicates = Duplicates(window_s=1.0)
    assert duplicates.number("c1", LEAF1, b"a", 10.0) == (1, None)
    assert duplicates.number("c1", LEAF2, b"a", 11.5) == (2, None)


def test_what_is_remembered_is_bounded() -> None:
    duplicates = Duplicates(max_packets=10, max_equal=3)
    for n in range(1000):
        duplicates.number("c1", LEAF1, n.to_bytes(2), 0.0)
        assert len(duplicates) <= 10
    numbers = [duplicates.number("c1", LEAF1, b"same", 0.0).packet_id for _ in range(100)]
    assert len(set(numbers)) == 100


def test_any_two_places_with_losses_give_each_number_at_most_once_per_place() -> None:
    """However packets are lost and repeated, one place never gets one number twice, and all equal are numbered."""
    rng = random.Random(7)
    for _ in range(200):
        duplicates = Duplicates()
        seen: dict[Place, list[int]] = {LEAF1: [], LEAF2: []}
        for _ in range(rng.randrange(40)):
            place = rng.choice((LEAF1, LEAF2))
            seen[place].append(duplicates.number("c1", place, bytes([rng.randrange(3)]), 0.0).packet_id)
        assert all(len(set(numbers)) == len(numbers) for numbers in seen.values())


def identity(frame: bytes) -> bytes:
    inner = inner_packet(frame)
    assert inner is not None
    return inner.identity


def test_a_packet_is_the_same_at_every_hop() -> None:
    for src, dst, hops in (("192.0.2.10", "198.51.100.7", (15, 22, 24, 25)), ("2001:db8::1", "2001:db8::2", (21,))):
        frame = ethernet(src, dst, b"GET / HTTP/1.1 and so on")
        routed = bytearray(frame)
        for at in (*range(12), *hops):
            routed[at] ^= 0xFF
        assert identity(bytes(routed)) == identity(frame)
        assert identity(frame + bytes(6)) == identity(frame), "padding"
        assert identity(ethernet(src, dst, b"GET / HTTP/1.1 and so on", vlans=(5, 7))) == identity(frame)
        assert identity(ethernet(src, dst, b"GET / HTTP/1.1 and so oN")) != identity(frame)
        assert identity(ethernet(dst, src, b"GET / HTTP/1.1 and so on")) != identity(frame)


def test_what_is_no_whole_ip_header_has_no_identity() -> None:
    frame = ethernet()
    for size in range(14 + 20):
        assert inner_packet(frame[:size]) is None
    assert inner_packet(b"\xff" * 64) is None
