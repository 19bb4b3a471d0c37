# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Servers that misbehave in every way we know: no bad list in force, nothing beyond the limits, always a reason."""

import gzip
import io
import shutil
import socket
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sentinel.blacklist import guarded
from sentinel.blacklist.catalogue import Feed
from sentinel.blacklist.fetch import HttpFetcher
from sentinel.blacklist.loader import Loader
from sentinel.blacklist.status import FeedStatus
from sentinel.limits import MAX_FEED_AGE_WITHOUT_BODY_S
from tests.support import feed_server as srv

HOUR = 3600.0
LIMIT = 200_000
TOTAL_S = 1.0
OURS = "10.0.0.0/8"


def addresses(count: int) -> list[str]:
    return [f"1.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(count)]


def listing(*lines: str) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


GOOD = listing(*addresses(100))
NEVER_LISTED = ("8.8.8.8", "10.1.2.3", "192.168.1.1", "224.0.0.1", "2a00::1")


def zip_bomb() -> srv.Answer:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("list.txt", bytes(50_000_000))
    return srv.body(data.getvalue())


def never_ends_its_head(request: srv.Request, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-More: and more\r\n" * 64)


class Way(NamedTuple):
    """How it misbehaves, what the refresh is called, and the reason on screen."""

    answer: srv.Answer
    kind: str
    reason: str


WAYS: dict[str, Way] = {
    "500": Way(srv.status("500 Internal Server Error"), "failed", "http-5xx"),
    "slow trickle": Way(srv.trickle(GOOD, 0.01), "failed", "timeout"),
    "silence": Way(srv.silent, "failed", "timeout"),
    "endless body": Way(srv.endless, "failed", "too-large"),
    "endless head": Way(never_ends_its_head, "failed", "connect"),
    "gzip bomb": Way(srv.gzip_bomb(50_000_000), "failed", "too-large"),
    "zip bomb": Way(zip_bomb(), "failed", "too-large"),
    "archive in an archive": Way(srv.body(gzip.compress(gzip.compress(GOOD))), "failed", "archive"),
    "redirect to a file": Way(srv.redirect("file:///etc/passwd"), "failed", "redirect"),
    "redirect to a private address": Way(srv.redirect("/inside"), "failed", "redirect"),
    "redirects in a circle": Way(srv.redirect("/l"), "failed", "redirect"),
    "length too long": Way(srv.body(GOOD, length=len(GOOD) + 500), "failed", "truncated"),
    "length of a gigabyte": Way(srv.body(b"", length=10**9), "failed", "too-large"),
    "HTML with 200": Way(srv.body(b"<!DOCTYPE html><p>Please log in</p>"), "quarantined", "html"),
    "truncated": Way(srv.raw("200 OK", ["Transfer-Encoding: chunked"], b"9\r\n1.2.3.4\r\n"), "failed", "truncated"),
    "cut gzip": Way(srv.body(gzip.compress(GOOD)[:-9], "Content-Encoding: gzip"), "failed", "truncated"),
    "empty": Way(srv.body(b""), "quarantined", "empty"),
    "shrunk to 5 %": Way(srv.body(listing(*addresses(5))), "quarantined", "shrunk"),
    "grown 50 times": Way(srv.body(listing(*addresses(5000))), "quarantined", "grown"),
    "rubbish": Way(srv.body(bytes(range(256)) * 100), "quarantined", "unreadable"),
    "half of it rubbish": Way(srv.body(GOOD + b"no address\n" * 100), "quarantined", "unreadable"),
    "contains 0.0.0.0/0": Way(srv.body(GOOD + b"0.0.0.0/0\n::/0\n128.0.0.0/1\n"), "replaced", ""),
    "contains our own network": Way(srv.body(GOOD + b"10.0.0.0/16\n10.1.2.3\n"), "replaced", ""),
    "contains private and multicast": Way(srv.body(GOOD + b"192.168.0.0/16\n224.0.0.0/4\n"), "replaced", ""),
    "not modified, unasked": Way(srv.status("304 Not Modified"), "failed", "http-3xx"),
    "hangs up": Way(srv.hang_up, "failed", "connect"),
    "no HTTP": Way(srv.raw("banana", []), "failed", "connect"),
    "unknown encoding": Way(srv.body(GOOD, "Content-Encoding: br"), "failed", "encoding"),
    "stay away": Way(srv.status("429 Too Many Requests", "Retry-After: 99999999999"), "failed", "retry-later"),
    "partial content": Way(srv.raw("206 Partial Content", ["Content-Length: 8"], b"1.2.3.4\n"), "failed", "http-2xx"),
}


@pytest.fixture
def server() -> Iterator[srv.FeedServer]:
    with srv.FeedServer() as running:
        yield running


class Bench:
    """A loader with a good list in force, its clock, and what it may use."""

    def __init__(self, server: srv.FeedServer, folder: Path) -> None:
        self.server, self.folder, self.now = server, folder, 1_000_000.0
        server.serve("/l", srv.body(GOOD))
        self.loader = self.make(Feed("listed", "plain", "g", url=server.url("/l"), min_interval_s=HOUR))
        assert self.loader.refresh("listed").kind == "replaced"

    def make(self, feed: Feed) -> Loader:
        fetcher = HttpFetcher(
            connect_timeout_s=1, read_timeout_s=1, total_timeout_s=TOTAL_S, max_bytes=LIMIT, max_wire_bytes=LIMIT
        )
        return Loader([feed], self.folder, local=[OURS], fetcher=fetcher, now=lambda: self.now, jitter=lambda: 0.0)


@pytest.fixture
def bench(server: srv.FeedServer, tmp_path: Path) -> Bench:
    return Bench(server, tmp_path / "state")


def row(loader: Loader) -> FeedStatus:
    (status,) = loader.status()
    return status


def check_in_force(loader: Loader) -> None:
    """The good list and nothing else."""
    blacklist = loader.current.blacklist
    assert set(blacklist.prefixes()) == {f"{address}/32" for address in addresses(100)}
    assert not any(blacklist.lookup(address) for address in NEVER_LISTED)


@pytest.mark.parametrize("name", sorted(WAYS))
def test_a_server_that_misbehaves(name: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    way = WAYS[name]
    bench.server.serve("/l", way.answer)
    if name == "redirect to a private address":
        # Loopback is all a test may reach: the feed's own host is taken for a public one.
        zones = iter(["public", "private"])
        monkeypatch.setattr(guarded, "zone_of", lambda address: next(zones))
    bench.now += HOUR
    tracemalloc.start()
    begun = time.monotonic()
    try:
        outcome = bench.loader.refresh("listed")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - begun < 3 * TOTAL_S
    assert peak < 40 * LIMIT
    assert (outcome.kind, outcome.reason) == (way.kind, way.reason)
    check_in_force(bench.loader)
    status = row(bench.loader)
    if way.kind == "replaced":
        assert status.state == "ok"
        assert sum(status.rejected.values()) in {2, 3}
        assert status.first_rejected_lines
    else:
        assert status.state == {"failed": "stale", "quarantined": "quarantined"}[way.kind]
        assert status.last_error
        assert status.last_error_reason == way.reason
        failures = bench.loader.counters()["listed"].failures
        assert {reason: count for reason, count in failures.items() if count} == {way.reason: 1}
        assert bench.loader.next_due_at() >= bench.now + HOUR / 2
    # After a restart it is the same list, with the same reason on screen.
    again = bench.make(bench.loader.feeds[0])
    again.load_cached()
    check_in_force(again)
    assert (row(again).state, row(again).last_error) == (status.state, status.last_error)


def test_our_own_network_on_a_list_is_said_aloud(bench: Bench) -> None:
    bench.server.serve("/l", WAYS["contains our own network"].answer)
    bench.now += HOUR
    outcome = bench.loader.refresh("listed")
    assert [(each.prefix, each.line) for each in outcome.local_listed] == [("10.0.0.0/16", 101), ("10.1.2.3/32", 102)]
    assert row(bench.loader).rejected == {"local": 2}


def test_an_etag_that_lies_is_found_out_in_the_end(bench: Bench) -> None:
    changed = GOOD + b"2.2.2.2\n"
    bench.server.serve("/l", srv.conditional(GOOD, '"same for ever"'))
    bench.now += HOUR
    assert bench.loader.refresh("listed").kind == "unchanged"
    bench.server.serve("/l", srv.conditional(changed, '"same for ever"'))
    bench.now += HOUR
    assert bench.loader.refresh("listed").kind == "unchanged"
    check_in_force(bench.loader)
    bench.now += MAX_FEED_AGE_WITHOUT_BODY_S
    assert bench.loader.refresh("listed").kind == "replaced"
    assert bench.loader.current.blacklist.lookup("2.2.2.2")


def test_an_etag_that_is_new_each_time_changes_nothing(bench: Bench) -> None:
    generation = bench.loader.current.generation
    for number in range(3):
        bench.server.serve("/l", srv.body(GOOD, f'ETag: "{number}"'))
        bench.now += HOUR
        assert bench.loader.refresh("listed").kind == "unchanged"
    assert bench.loader.current.generation == generation


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_wrong_certificate_brings_no_list(bench: Bench, tmp_path: Path) -> None:
    with srv.FeedServer(tls=srv.self_signed(tmp_path)) as other:
        loader = bench.make(Feed("listed", "plain", "g", url=other.serve("/l", srv.body(b"8.8.8.8\n"))))
        loader.load_cached()
        outcome = loader.refresh("listed")
    assert (outcome.kind, outcome.reason) == ("failed", "tls")
    check_in_force(loader)
    assert (row(loader).state, row(loader).last_error_reason) == ("stale", "tls")


@pytest.mark.parametrize("name", ["HTML with 200", "empty", "shrunk to 5 %", "grown 50 times", "half of it rubbish"])
def test_what_an_operator_may_accept(name: str, bench: Bench) -> None:
    bench.server.serve("/l", WAYS[name].answer)
    bench.now += HOUR
    bench.loader.refresh("listed")
    # The operator may come after a restart.
    again = bench.make(bench.loader.feeds[0])
    again.load_cached()
    outcome = again.accept("listed")
    if name == "HTML with 200":
        assert (outcome.kind, outcome.reason) == ("quarantined", "html")
        check_in_force(again)
        return
    assert (outcome.kind, outcome.reason) == ("replaced", "accepted")
    assert row(again).state == "ok"
    expected = {"empty": 0, "shrunk to 5 %": 5, "grown 50 times": 5000, "half of it rubbish": 100}[name]
    assert len(again.current.blacklist) == row(again).accepted == expected
    assert again.accept("listed").kind == "unchanged"


@pytest.mark.parametrize(
    "line",
    [
        *("0.0.0.0/0", "::/0", "<html><body>", "no address", "10.0.0.0/8", "255.255.255.255", "# END 99999 entries"),
        *("2000::1-3fff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "1.0.0.0-1.255.255.255", "x" * 5000, "\ufeff", "\0"),
        *("1.1.1.1 " * 500, "; Expires: never", "<script>", "1.2.3.4/33", "{", "-", "\x0c", "\u2028"),
    ],
)
def test_no_single_line_freezes_a_feed(line: str, bench: Bench) -> None:
    bench.server.serve("/l", srv.body(line.encode() + b"\n" + GOOD + b"2.2.2.2\n"))
    bench.now += HOUR
    assert bench.loader.refresh("listed").kind == "replaced"
    assert bench.loader.current.blacklist.lookup("2.2.2.2")
    bench.server.serve("/l", srv.body(GOOD + line.encode() + b"\n2.2.2.3\n"))
    bench.now += HOUR
    assert bench.loader.refresh("listed").kind == "replaced"
    assert bench.loader.current.blacklist.lookup("2.2.2.3")
