# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Installs go at once, removals gather, and nobody overtakes a change of the same name."""

import threading
import time

import pytest

from switch_acl_api.commits import Put, Remove
from switch_acl_api.errors import Refused
from switch_acl_api.limits import MAX_QUEUED_CHANGES
from switch_acl_api.policy import Acl
from switch_acl_api.tickets import Ticket, TicketQueue


def put(*names: str) -> Ticket:
    return Ticket([Put(Acl(name, "o", (), None, "n")) for name in names], "o", "")


def remove(*names: str) -> Ticket:
    return Ticket([Remove(name, "deleted") for name in names], "o", "")


def test_removals_gather_for_the_interval() -> None:
    queue = TicketQueue(0.3)
    begun = time.monotonic()
    first, second = remove("a"), remove("b")
    queue.put(first)
    queue.put(second)
    assert queue.take(5) == [first, second]
    assert time.monotonic() - begun >= 0.3


def test_an_install_goes_at_once_and_takes_removals_along() -> None:
    queue = TicketQueue(30)
    tickets = [remove("a"), put("b")]
    for ticket in tickets:
        queue.put(ticket)
    begun = time.monotonic()
    assert queue.take(5) == tickets
    assert time.monotonic() - begun < 1


def test_a_second_change_of_a_name_waits_and_is_not_overtaken() -> None:
    queue = TicketQueue(0.01)
    first, second, third, other = put("a"), put("a", "b"), put("b"), put("c")
    for ticket in (first, second, third, other):
        queue.put(ticket)
    assert queue.take(1) == [first, other]
    assert [change.name for change in queue.pending()] == ["a", "c", "a", "b", "b"]
    queue.done()
    assert queue.take(1) == [second]
    assert queue.take(1) == [third]


def test_nothing_to_do_ends_in_time() -> None:
    assert TicketQueue(1).take(0.02) == []


def test_an_install_wakes_a_waiting_taker() -> None:
    queue = TicketQueue(30)
    threading.Timer(0.05, queue.put, [put("a")]).start()
    begun = time.monotonic()
    assert len(queue.take(5)) == 1
    assert time.monotonic() - begun < 2


def test_too_much_is_refused() -> None:
    queue = TicketQueue(30)
    queue.put(remove(*(f"n{number}" for number in range(MAX_QUEUED_CHANGES))))
    with pytest.raises(Refused):
        queue.put(put("one_more"))


def test_after_the_end_nothing_is_taken() -> None:
    queue = TicketQueue(30)
    waiting = remove("a")
    queue.put(waiting)
    assert queue.stop() == [waiting]
    assert queue.take(1) == []
    with pytest.raises(Refused):
        queue.put(put("b"))
