# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""From givers to one consumer: everything, in order, bounded, and nobody waits but who wants to."""

import threading

import pytest

from sentinel.handover import HandOver


def unexpected(thing: object) -> None:
    pytest.fail(f"{thing} found no room")


def test_everything_arrives_in_order_in_another_thread() -> None:
    taken: list[tuple[int, int]] = []
    way: HandOver[int] = HandOver("test", lambda n: taken.append((n, threading.get_ident())), unexpected, 1_000)
    way.start()
    for n in range(500):
        way.give(n)
    way.stop()
    assert [n for n, _ in taken] == list(range(500))
    assert len({thread for _, thread in taken}) == 1
    assert taken[0][1] != threading.get_ident()


def test_what_finds_no_room_is_counted_by_its_giver_who_does_not_wait() -> None:
    taken: list[int] = []
    lost: list[int] = []
    busy, go = threading.Event(), threading.Event()

    def consume(n: int) -> None:
        busy.set()
        assert go.wait(30)
        taken.append(n)

    way = HandOver("test", consume, lost.append, 2)
    way.start()
    way.give(0)
    assert busy.wait(30)
    for n in range(1, 6):
        way.give(n)
    assert lost == [3, 4, 5]
    go.set()
    way.flush()
    assert taken == [0, 1, 2]
    way.give(6)
    way.stop()
    assert (taken, lost) == ([0, 1, 2, 6], [3, 4, 5])


def test_a_flush_waits_for_what_the_thread_is_at() -> None:
    busy, go, flushed = threading.Event(), threading.Event(), threading.Event()

    def consume(_: int) -> None:
        busy.set()
        assert go.wait(30)

    def flush() -> None:
        way.flush()
        flushed.set()

    way = HandOver("test", consume, unexpected, 2)
    way.start()
    way.give(1)
    assert busy.wait(30)
    flusher = threading.Thread(target=flush)
    flusher.start()
    assert not flushed.wait(0.1)
    go.set()
    flusher.join(30)
    assert flushed.is_set()
    way.stop()


def test_without_a_thread_a_flush_does_the_work() -> None:
    taken: list[int] = []
    way = HandOver("test", taken.append, unexpected, 10)
    way.give(1)
    way.give(2)
    assert not taken
    way.flush()
    assert taken == [1, 2]
    way.stop()


def test_what_the_consumer_fails_on_is_counted_and_the_next_comes(caplog: pytest.LogCaptureFixture) -> None:
    taken: list[int] = []
    lost: list[int] = []

    def consume(n: int) -> None:
        taken.append(10 // n)

    way = HandOver("test", consume, lost.append, 10)
    for n in (1, 0, 2):
        way.give(n)
    way.flush()
    assert (taken, lost) == ([10, 5], [0])
    assert "test: what was handed over could not be taken" in caplog.text


@pytest.mark.parametrize("givers", [1, 4])
def test_nothing_is_lost_or_taken_twice_between_threads(givers: int) -> None:
    taken: list[tuple[int, int]] = []
    lost: list[tuple[int, int]] = []
    way = HandOver("test", taken.append, lost.append, 8)
    way.start()

    def give(giver: int) -> None:
        for n in range(2_000):
            way.give((giver, n))
            if n % 100 == 0:
                way.flush()

    threads = [threading.Thread(target=give, args=(giver,)) for giver in range(givers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    way.stop()
    assert sorted(taken + lost) == [(giver, n) for giver in range(givers) for n in range(2_000)]
    for giver in range(givers):
        of_giver = [n for each, n in taken if each == giver]
        assert of_giver == sorted(of_giver)


def test_an_overflow_that_fails_does_not_end_the_consumer() -> None:
    taken: list[int] = []

    def consume(thing: int) -> None:
        if thing == 1:
            raise RuntimeError("cannot take it")
        taken.append(thing)

    def overflow(_: int) -> None:
        raise RuntimeError("cannot count it")

    way = HandOver("test", consume, overflow, 10)
    way.start()
    for thing in (1, 2):
        way.give(thing)
    way.stop()
    assert taken == [2]
