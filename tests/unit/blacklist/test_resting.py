# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The collector never looks through a million entries, and need not: no list is part of a cycle."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from sentinel.blacklist.formats.registry import parse
from sentinel.blacklist.resting import collector_resting
from sentinel.blacklist.trie import Blacklist, Current
from sentinel.scan.threads import prepare


@pytest.fixture(autouse=True)
def collector_as_it_was() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def lists() -> Blacklist:
    entries = parse("plain", "\n".join(f"198.51.100.{n}" for n in range(100)), "").entries
    return Blacklist.build({"feed": entries})


def test_what_is_made_meanwhile_is_looked_at_neither_then_nor_later() -> None:
    with collector_resting():
        assert not gc.isenabled()
        made = [[n] for n in range(1_000)]
    assert gc.isenabled()
    assert not any(found is made for found in gc.get_objects())


def test_cycles_given_up_before_are_not_kept_for_ever() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    given_up = weakref.ref(Cycle())
    with collector_resting():
        pass
    gc.collect()
    assert given_up() is None


def test_where_it_rested_already_it_goes_on_resting() -> None:
    with collector_resting():
        with collector_resting():
            made = [1]
        assert not gc.isenabled()
        assert any(found is made for found in gc.get_objects())


@pytest.mark.parametrize("compiled", [False, True])
def test_replaced_lists_are_freed_without_a_collection(compiled: bool) -> None:
    current = Current(lists(), prepare if compiled else None)
    with collector_resting():
        current.replace(lists())
    old = weakref.ref(current.blacklist)
    gc.disable()
    current.replace(lists())
    assert old() is None
