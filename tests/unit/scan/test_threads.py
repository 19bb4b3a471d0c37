# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Which scan is in use, and several of them as one."""

import sys
import threading
import time

import pytest

from sentinel.blacklist.trie import Blacklist, Current
from sentinel.compiled import VARIABLE, chosen
from sentinel.errors import ConfigError
from sentinel.flowmodel import FlowTaking
from sentinel.flows.recent import RecentFlows
from sentinel.limits import MAX_FLOWS
from sentinel.receive.batches import receiver_of
from sentinel.scan.threads import Scanning, prepare
from sentinel.sflow.admission import Admission, AdmissionRule
from tests.support.flows import flows_of
from tests.support.traffic import LEAF1, LISTED, blacklist, datagram, flow, frame, packet
from tests.support.twins import native


@pytest.fixture(params=["sentinel.receive._native", "sentinel.scan._native", "sentinel.erspan._native"])
def not_built(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout that was never built, or before this part came to it."""
    monkeypatch.setitem(sys.modules, request.param, None)


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
    assert scanning.agents_overflow == (0, 0)


def test_what_was_not_taken_is_logged_once(choice: str, caplog: pytest.LogCaptureFixture) -> None:
    scanning = Scanning(Admission([AdmissionRule((LEAF1,))]), choice=choice)
    stranger = datagram(flow(frame(packet())), agent="192.0.2.66")
    scanning.scan([(stranger, "192.0.2.7", 1.0)] * 3 + [(b"", LEAF1, 1.0)], blacklist(LISTED))
    scanning.log_refused()
    scanning.log_refused()
    [line] = [record.getMessage() for record in caplog.records]
    assert line == (
        "4 datagrams were not taken, the latest: "
        "truncated from 10.0.0.253 (1), unknown_agent 192.0.2.66 from 192.0.2.7 (3)"
    )


def test_flows_are_given_when_their_second_is_over_and_when_half_full(choice: str) -> None:
    given: list[FlowTaking] = []
    now = [7.0]
    scanning = Scanning(choice=choice, on_flows=given.append, clock=lambda: now[0])
    lists = blacklist(LISTED)
    scanning.scan([(datagram(flow(frame(packet()))), LEAF1, 1.0)], lists)
    now[0] = 7.999
    scanning.take_flows()
    assert not given
    now[0] = 8.0
    scanning.take_flows()
    scanning.take_flows()
    [taking] = given
    [only] = flows_of(taking.flows.table())
    assert (taking.second, len(taking.flows), taking.total.samples, taking.evicted_samples) == (7, 1, 1, 0)
    assert (only.src_port, only.samples) == (51000, 1)
    half = MAX_FLOWS // 2
    payloads = [datagram(*[flow(frame(packet(sport=n + k))) for k in range(64)]) for n in range(0, half, 64)]
    scanning.scan([(payload, LEAF1, 1.0) for payload in payloads], lists)
    full = given[1]
    assert (full.second, len(full.flows), full.total.samples) == (8, half, half)
    assert {flow.src_port for flow in flows_of(full.flows.table())} == set(range(half))


def test_a_batch_of_the_next_second_is_not_counted_in_the_one_before(choice: str) -> None:
    given: list[FlowTaking] = []
    now = [7.9]
    scanning = Scanning(choice=choice, on_flows=given.append, clock=lambda: now[0])
    batch = [(datagram(flow(frame(packet()))), LEAF1, 1.0)]
    for second in range(7, 10):
        now[0] = second + 0.9
        scanning.scan(batch, blacklist(LISTED))
    scanning.take_flows()
    assert [(taking.second, taking.total.samples) for taking in given] == [(7, 1), (8, 1)]


def test_what_found_no_row_is_told_once(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel.scan.threads.MAX_FLOWS", 100)
    given: list[FlowTaking] = []
    scanning = Scanning(choice=choice, on_flows=given.append)
    payload = datagram(*[flow(frame(packet(sport=n))) for n in range(1, 121)])
    for _ in range(2):
        scanning.scan([(payload, LEAF1, 1.0)], blacklist(LISTED))
    assert [taking.evicted_samples for taking in given] == [20, 20]
    assert [(taking.total.samples, len(taking.flows)) for taking in given] == [(100, 100), (100, 100)]


def test_who_takes_all_tables_waits_for_one_that_is_being_given(choice: str) -> None:
    now, giving, go, done = [0.0], threading.Event(), threading.Event(), threading.Event()

    def slowly(_: FlowTaking) -> None:
        giving.set()
        assert go.wait(30)

    def take() -> None:
        scanning.take_flows()
        done.set()

    scanning = Scanning(choice=choice, on_flows=slowly, clock=lambda: now[0])
    batch, lists = [(datagram(flow(frame(packet()))), LEAF1, 1.0)], blacklist(LISTED)
    scanning.scan(batch, lists)
    now[0] = 1.0
    threads = [threading.Thread(target=scanning.scan, args=(batch, lists)), threading.Thread(target=take)]
    threads[0].start()
    assert giving.wait(30)
    threads[1].start()
    assert not done.wait(0.1)
    go.set()
    for thread in threads:
        thread.join()


def test_nothing_is_lost_or_counted_twice_between_threads_that_scan_and_one_that_asks(choice: str) -> None:
    """Whatever a reader finds in a whole second stays what that second was, and in the end all of it is there."""
    now = [100.0]
    recent = RecentFlows(now[0])
    scanning = Scanning(threads=2, choice=choice, on_flows=recent.add, clock=lambda: now[0])
    lists, stop, scanned = blacklist(LISTED), threading.Event(), [0, 0]

    def scan(thread: int) -> None:
        agent = f"10.0.0.{thread + 1}"
        while not stop.is_set():
            batch = [(datagram(*[flow(frame(packet(sport=n)))] * 3), agent, 1.0) for n in range(1, 20)]
            scanning.scan(batch, lists, thread)
            scanned[thread] += 3 * len(batch)

    threads = [threading.Thread(target=scan, args=(thread,)) for thread in range(2)]
    for thread in threads:
        thread.start()
    seen: dict[int, int] = {}
    try:
        # Forty seconds, of which the clock of the machine knows nothing; at least a few batches in each.
        while now[0] < 140:
            before = sum(scanned)
            while sum(scanned) < before + 500:
                time.sleep(0)
            now[0] += 0.7
            asked = now[0]
            scanning.take_flows()
            begin, seconds = recent.latest(60, asked)
            for number, second in enumerate(seconds, begin):
                assert seen.setdefault(number, second.total.samples) == second.total.samples
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    now[0] += 1
    scanning.take_flows()
    _, seconds = recent.latest(60, now[0])
    assert sum(second.total.samples for second in seconds) == sum(scanned) == recent.counters.samples
    assert sum(flow.samples for second in seconds for flow in flows_of(second.flows)) == sum(scanned)


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
