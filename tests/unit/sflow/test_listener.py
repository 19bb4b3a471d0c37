# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The listener on loopback: several addresses, both families, batches, counters, a clean end."""

import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from sentinel.limits import LISTENER_BATCH_DATAGRAMS
from sentinel.receive.batches import Received
from sentinel.sflow import encode
from sentinel.sflow import listener as module
from sentinel.sflow.datagram import decode
from sentinel.sflow.listener import Listener

WAIT_S = 5.0


class Inbox:
    """Collects batches and waits for a number of datagrams."""

    def __init__(self) -> None:
        self.batches: list[list[Received]] = []
        self._changed = threading.Condition()

    def __call__(self, batch: Sequence[Received]) -> None:
        with self._changed:
            self.batches.append(list(batch))
            self._changed.notify_all()

    @property
    def received(self) -> list[Received]:
        return [each for batch in self.batches for each in batch]

    def wait(self, number: int) -> list[Received]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.received) >= number, WAIT_S), self.batches
        return self.received


@contextmanager
def sender(family: socket.AddressFamily = socket.AF_INET, bind: str | None = None) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_DGRAM) as out:
        if bind is not None:
            out.bind((bind, 0))
        yield out


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture(params=["python", "native"], autouse=True)
def receiving(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test with the plain and with the compiled receiver."""
    if request.param == "native":
        receive = pytest.importorskip("sentinel.receive._native", reason="the compiled receiver was not built")
        plain = Listener.__init__

        def compiled(self: Listener, addresses: Any, receive_buffer_bytes: int, on_batch: Any) -> None:
            plain(self, addresses, receive_buffer_bytes, on_batch, receive.BatchReceiver)

        monkeypatch.setattr(Listener, "__init__", compiled)


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on loopback")


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_datagrams_arrive_with_sender_and_time() -> None:
    inbox = Inbox()
    with Listener([("127.0.0.1", 0)], 65536, inbox) as listener, sender(bind="127.0.0.1") as out:
        before = time.time()
        out.sendto(b"hello", ("127.0.0.1", listener.ports()[0]))
        ((data, host, at),) = inbox.wait(1)
        counters = listener.counters()
    assert (data, host) == (b"hello", "127.0.0.1")
    assert before - 1 <= at <= time.time() + 1
    assert (counters.datagrams, counters.bytes, counters.batches, counters.truncated) == (1, 5, 1, 0)
    assert not counters.errors


def test_several_addresses_feed_one_stream_of_batches() -> None:
    inbox = Inbox()
    with Listener([("127.0.0.1", 0), ("127.0.0.2", 0)], 65536, inbox) as listener, sender() as out:
        for host, port in zip(("127.0.0.1", "127.0.0.2"), listener.ports(), strict=True):
            out.sendto(host.encode(), (host, port))
        assert {data for data, _, _ in inbox.wait(2)} == {b"127.0.0.1", b"127.0.0.2"}


@needs_ipv6
def test_dual_stack_shows_ipv4_senders_as_ipv4() -> None:
    inbox = Inbox()
    with Listener([("::", 0)], 65536, inbox) as listener, sender() as out, sender(socket.AF_INET6) as out6:
        port = listener.ports()[0]
        out.sendto(b"four", ("127.0.0.1", port))
        out6.sendto(b"six", ("::1", port))
        assert {(data, host) for data, host, _ in inbox.wait(2)} == {(b"four", "127.0.0.1"), (b"six", "::1")}


@needs_ipv6
def test_without_ipv6_the_wildcard_hears_ipv4(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sentinel.sflow.listener.has_ipv6", lambda: False)
    with Listener([("::", 0)], 1 << 16, lambda _: None) as listener:
        assert [row.listener for row in listener.sockets()] == [f"0.0.0.0:{listener.ports()[0]}"]
    assert "no IPv6" in caplog.text


def test_both_wildcards_share_a_port() -> None:
    inbox = Inbox()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::", 0))
        port = probe.getsockname()[1]
    with Listener([("0.0.0.0", port), ("::", port)], 65536, inbox), sender() as out:
        out.sendto(b"four", ("127.0.0.1", port))
        assert inbox.wait(1)[0][1] == "127.0.0.1"


def test_an_address_in_use_is_named_and_nothing_stays_open() -> None:
    with sender(bind="127.0.0.1") as taken:
        port = taken.getsockname()[1]
        listener = Listener([("127.0.0.1", 0), ("127.0.0.1", port)], 65536, Inbox())
        with pytest.raises(OSError, match=f"127.0.0.1 port {port}"):
            listener.start()
        assert listener.sockets() == []
        listener.stop()


def test_a_name_that_is_no_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(OSError, match="cannot listen on collector port 6343: Name or service not known"):
        Listener([("collector", 6343)], 65536, Inbox()).start()


def test_a_bug_behind_it_is_counted_logged_once_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox()

    def fails(batch: Sequence[Received]) -> None:
        inbox(batch)
        raise ZeroDivisionError

    with Listener([("127.0.0.1", 0)], 65536, fails) as listener, sender() as out, caplog.at_level(logging.ERROR):
        for number in range(1, 4):
            out.sendto(b"x", ("127.0.0.1", listener.ports()[0]))
            inbox.wait(number)
        until(lambda: listener.counters().errors["on_batch"] == 3)
    assert len([each for each in caplog.records if "lost to a bug" in each.message]) == 1


def test_a_flood_comes_in_bounded_batches() -> None:
    held, release = threading.Event(), threading.Event()
    inbox = Inbox()

    def slow(batch: Sequence[Received]) -> None:
        inbox(batch)
        held.set()
        release.wait(WAIT_S)

    with Listener([("127.0.0.1", 0)], 1 << 20, slow) as listener, sender() as out:
        target = ("127.0.0.1", listener.ports()[0])
        out.sendto(b"first", target)
        assert held.wait(WAIT_S)
        for _ in range(LISTENER_BATCH_DATAGRAMS + 10):
            out.sendto(b"x", target)
        release.set()
        inbox.wait(LISTENER_BATCH_DATAGRAMS + 11)
    assert [len(batch) for batch in inbox.batches[:2]] == [1, LISTENER_BATCH_DATAGRAMS]


def test_the_kernels_own_drops_are_counted() -> None:
    held, release = threading.Event(), threading.Event()
    inbox = Inbox()

    def slow(batch: Sequence[Received]) -> None:
        inbox(batch)
        held.set()
        release.wait(WAIT_S)

    with Listener([("127.0.0.1", 0)], 4096, slow) as listener, sender() as out:
        target = ("127.0.0.1", listener.ports()[0])
        out.sendto(b"first", target)
        assert held.wait(WAIT_S)
        for _ in range(500):
            out.sendto(bytes(1000), target)
        drops = listener.counters().kernel_drops
        if drops is None:
            release.set()
            pytest.skip("the system tells nothing of its drops")
        assert 0 < drops < 500
        release.set()
        inbox.wait(501 - drops)
        out.sendto(b"last", target)
        inbox.wait(502 - drops)
        assert listener.counters().kernel_drops == drops
    assert listener.counters().kernel_drops == drops


def test_the_granted_buffer_is_reported_and_a_smaller_one_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    wanted = 1 << 30
    with caplog.at_level(logging.WARNING), Listener([("127.0.0.1", 0)], wanted, Inbox()) as listener:
        granted = listener.sockets()[0].receive_buffer_bytes
    assert 0 < granted <= wanted
    assert (granted < wanted) == any("net.core.rmem_max" in each.message for each in caplog.records)


def test_a_system_without_drop_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel.receive.sockets._SO_MEMINFO", 0x7FFF)
    with Listener([("127.0.0.1", 0)], 65536, Inbox()) as listener:
        assert listener.counters().kernel_drops is None


def test_stop_ends_the_thread_and_may_be_repeated() -> None:
    listener = Listener([("127.0.0.1", 0)], 65536, Inbox())
    listener.stop()
    listener = Listener([("127.0.0.1", 0)], 65536, Inbox())
    listener.start()
    port = listener.ports()[0]
    with pytest.raises(RuntimeError):
        listener.start()
    listener.stop()
    listener.stop()
    assert not [each for each in threading.enumerate() if each.name == "sflow-listener"]
    with sender(bind="127.0.0.1") as again:
        again.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", port))


def test_the_longest_datagram_comes_whole_among_short_ones() -> None:
    inbox = Inbox()
    sizes = [100, 2047, 2048, 2049, 9_000, 65_507, 1]
    sent = [bytes(n % 251 for n in range(size)) for size in sizes]
    with Listener([("127.0.0.1", 0)], 1 << 20, inbox) as listener, sender() as out:
        for data in sent:
            out.sendto(data, ("127.0.0.1", listener.ports()[0]))
        assert [data for data, _, _ in inbox.wait(len(sent))] == sent
        assert listener.counters().bytes == sum(sizes)


def datagram(agent: str, number: int) -> bytes:
    return encode.datagram(agent, 0, number, number, [])


def test_all_datagrams_of_an_agent_go_to_one_of_several_threads() -> None:
    inboxes = [Inbox() for _ in range(3)]
    agents = [*(f"10.0.0.{n}" for n in range(1, 13)), *(f"2001:db8::{n:x}" for n in range(1, 13))]
    with Listener([("127.0.0.1", 0)], 1 << 20, inboxes) as listener:
        (port,) = listener.ports()
        assert [(row.thread, row.listener) for row in listener.sockets()] == [
            (n, f"127.0.0.1:{port}") for n in range(3)
        ]
        for number in range(4):
            # Another sender's port each time, by which the kernel alone would choose another socket.
            with sender() as out:
                for agent in agents:
                    out.sendto(datagram(agent, number), ("127.0.0.1", port))
        until(lambda: listener.counters().datagrams == 4 * len(agents))
        until(lambda: sum(len(inbox.received) for inbox in inboxes) == 4 * len(agents))
        assert all(row.kernel_drops in {0, None} for row in listener.sockets())
    for inbox in inboxes:
        heard = Counter(decode(data).agent for data, _, _ in inbox.received)
        assert len(heard) == 8
        assert set(heard.values()) == {4}


def test_drops_are_told_of_the_socket_that_had_them() -> None:
    """One thread is kept busy by one agent; the datagrams of the others find room."""
    release, busy = threading.Event(), threading.Event()

    def slow(batch: Sequence[Received]) -> None:
        busy.set()
        release.wait(WAIT_S)

    with Listener([("127.0.0.1", 0)], 4096, [slow, slow]) as listener, sender() as out:
        port = listener.ports()[0]
        out.sendto(datagram("10.0.0.1", 1), ("127.0.0.1", port))
        assert busy.wait(WAIT_S)
        for number in range(200):
            out.sendto(datagram("10.0.0.1", 2 + number), ("127.0.0.1", port))
        rows = listener.sockets()
        total = listener.counters().kernel_drops
        release.set()
    told = sorted(row.kernel_drops or 0 for row in rows)
    assert told[0] == 0
    assert told[1] == total
    assert total


def test_senders_without_zone() -> None:
    assert [module._sender(host) for host in ("10.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.1", "::ffff:0:1")] == [
        *("10.0.0.1", "fe80::1", "10.0.0.1", "::ffff:0:1"),
    ]
