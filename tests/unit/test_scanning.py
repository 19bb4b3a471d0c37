# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Which scan is in use, and several of them as one."""

import itertools
import sys
import threading

import pytest

from sentinel.blacklist.trie import Blacklist, Current
from sentinel.errors import ConfigError
from sentinel.limits import MAX_FLOWS
from sentinel.model import FlowCount
from sentinel.scanning import VARIABLE, Rest, Scanning, chosen, prepare, receiver_of
from tests.support.traffic import LEAF1, LISTED, blacklist, datagram, flow, frame, packet
from tests.support.twins import native


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout that was never built."""
    monkeypatch.setitem(sys.modules, "sentinel.scan._native", None)


@pytest.fixture(params=["python", "native"])
def choice(request: pytest.FixtureRequest) -> str:
    if request.param == "native":
        native()
    return str(request.param)


def test_auto_is_the_compiled_one_where_it_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    native()
    monkeypatch.delenv(VARIABLE, raising=False)
    assert chosen()[0] == chosen("auto")[0] == chosen("native")[0] == "native"
    monkeypatch.setenv(VARIABLE, "python")
    assert chosen()[0] == "python"


@pytest.mark.usefixtures("not_built")
def test_auto_falls_back_and_says_what_it_costs() -> None:
    implementation, reason = chosen("auto")
    assert implementation == "python"
    assert "cannot be loaded" in reason
    assert Scanning(choice="auto").implementation == "python"


@pytest.mark.usefixtures("not_built")
def test_native_is_never_quietly_plain() -> None:
    with pytest.raises(ConfigError, match="cannot be loaded"):
        chosen("native")


def test_an_unknown_choice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "fast")
    with pytest.raises(ConfigError, match="'fast', expected auto, python or native"):
        chosen()


def test_the_compiled_receiver_comes_with_the_compiled_scan() -> None:
    assert receiver_of("python") is None
    native()
    assert receiver_of("native") is not None


def test_threads_add_up(choice: str) -> None:
    scanning = Scanning(threads=3, choice=choice)
    lists = blacklist(LISTED)
    for thread in range(3):
        agent = f"10.0.0.{thread + 1}"
        payload = datagram(*[flow(frame(packet()))] * (thread + 1), agent=agent)
        assert len(scanning.scan([(payload, agent, 1.0), (b"", agent, 1.0)], lists, thread).matches) == thread + 1
    counters = scanning.counters
    assert (counters.datagrams, counters.flow_samples, counters.matches) == (6, 6, 6)
    assert counters.bad_datagrams == {"truncated": 3}
    assert [(row.agent, row.samples) for row in scanning.snapshot()] == [(f"10.0.0.{n}", n) for n in (1, 2, 3)]
    assert (scanning.handed_over, scanning.flows_evicted, scanning.agents_overflow) == (0, 0, (0, 0))


def test_flows_are_given_every_second_and_when_half_full(choice: str) -> None:
    given: list[tuple[list[FlowCount], Rest]] = []
    scanning = Scanning(choice=choice, on_flows=lambda rows, rest: given.append((rows, rest)))
    lists = blacklist(LISTED)
    scanning.scan([(datagram(flow(frame(packet()))), LEAF1, 1.0)], lists)
    assert not given
    scanning.take_flows()
    scanning.take_flows()
    [([row], rest)] = given
    assert (row.src_port, row.samples, rest) == (51000, 1, (0, 0, 0, 0))
    half = MAX_FLOWS // 2
    payloads = [datagram(*[flow(frame(packet(sport=n + k))) for k in range(64)]) for n in range(0, half, 64)]
    scanning.scan([(payload, LEAF1, 1.0) for payload in payloads], lists)
    rows, rest = given[1]
    assert (len(rows), rest[3]) == (64, half - 64)


def test_tables_are_made_before_the_lists_are_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    native()
    monkeypatch.setenv(VARIABLE, "native")
    in_force: list[Blacklist] = []

    def watched(lists: Blacklist) -> None:
        in_force.append(current.blacklist)
        prepare(lists)

    current, lists = Current(prepare=watched), blacklist(LISTED)
    current.replace(lists)
    assert isinstance(lists.compiled, native().Frozen)
    assert len(in_force) == 1
    assert in_force[0] is not lists
    assert current.blacklist is lists


def test_lists_swapped_under_load_miss_nothing_and_never_mix(choice: str) -> None:
    lists = [blacklist(LISTED), blacklist("203.0.113.0/24")]
    current = Current(lists[0], prepare)
    scanning, seen, stop = Scanning(choice=choice), set(), threading.Event()
    batch = [(datagram(*[flow(frame(packet()))] * 6), LEAF1, 1.0)] * 20

    def swap() -> None:
        for number in itertools.count(1):
            if stop.is_set():
                return
            current.replace(lists[number % 2])

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for number in range(5_000):
            matches = scanning.scan(batch, current.blacklist).matches
            assert len(matches) == 120
            found = {match.indicators for match in matches}
            assert len(found) == 1
            seen |= found
            if number >= 100 and len(seen) == 2:
                break
    finally:
        stop.set()
        swapping.join()
    assert len(seen) == 2
