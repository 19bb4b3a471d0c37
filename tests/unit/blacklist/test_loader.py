# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever comes, or does not come, the last good list is in force, and the reason is known."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sentinel.blacklist.catalogue import Feed, shipped_descriptors
from sentinel.blacklist.differences import Difference
from sentinel.blacklist.fetch import HttpFetcher
from sentinel.blacklist.loader import Loader, Outcome
from sentinel.blacklist.rules import LocalListed
from sentinel.blacklist.status import FeedStatus
from sentinel.blacklist.trie import Allowed
from sentinel.errors import ConfigError
from sentinel.limits import MAX_FEED_AGE_WITHOUT_BODY_S
from sentinel.model import Indicator
from tests.support import feed_server as srv

HOUR = 3600.0
GOOD = b"1.1.1.1\n1.1.1.2\n1.1.1.3\n1.1.1.4\n"


@dataclass
class Bench:
    """One feed, its server, a clock that a test moves, and loaders that share a folder."""

    server: srv.FeedServer
    folder: Path
    time: float = 1_000_000.0

    def feed(self, **more: object) -> Feed:
        feed = Feed("listed", "plain", "g", url=self.server.url("/l"), min_interval_s=HOUR)
        return replace(feed, **more)  # type: ignore[arg-type] # as the field says

    def loader(self, *feeds: Feed, **more: object) -> Loader:
        fetcher = HttpFetcher(read_timeout_s=2, total_timeout_s=2, max_bytes=100_000, max_wire_bytes=100_000)
        options: dict[str, object] = {"local": ["10.0.0.0/8"], "fetcher": fetcher} | more
        return Loader(
            feeds or [self.feed()],
            self.folder,
            now=lambda: self.time,
            jitter=lambda: 0.0,
            **options,  # type: ignore[arg-type] # as the argument says
        )

    def good(self) -> Loader:
        self.server.serve("/l", srv.body(GOOD))
        loader = self.loader()
        assert loader.refresh("listed").kind == "replaced"
        return loader


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with srv.FeedServer() as server:
        yield Bench(server, tmp_path / "state")


def status(loader: Loader) -> FeedStatus:
    (row,) = loader.status()
    return row


def test_a_first_download_is_in_force_with_its_difference(bench: Bench) -> None:
    bench.server.serve("/l", srv.body(b"1.1.1.1 # x\n2606:4700::/32\n1.1.1.1\n10.2.3.4\nrubbish\n1.1.1.9/24\n"))
    loader = bench.loader()
    outcome = loader.refresh("listed")
    assert outcome == Outcome(
        "listed",
        "replaced",
        difference=outcome.difference,
        local_listed=(LocalListed("listed", "g", "10.2.3.4/32", 4, "10.2.3.4"),),
    )
    assert outcome.difference.added == (
        Indicator("1.1.1.1/32", "listed", "g"),
        Indicator("2606:4700::/32", "listed", "g"),
        Indicator("1.1.1.0/24", "listed", "g"),
    )
    assert loader.current.generation == 1
    assert loader.current.blacklist.lookup("1.1.1.1") == outcome.difference.added[0::2]
    row = status(loader)
    assert (row.state, row.entries_v4, row.entries_v6, row.accepted) == ("ok", 2, 1, 3)
    assert (row.duplicates, row.masked, row.unreadable, row.first_errors[0].line) == (1, 1, 1, 5)
    assert (row.rejected, row.first_rejected_lines) == ({"local": 1}, {"local": 4})
    assert (row.age_s, row.changed_at, row.next_due_at) == (0.0, bench.time, bench.time + HOUR)
    counters = loader.counters()
    assert counters["refreshes", "listed", "replaced"] == 1
    assert counters["lines_rejected", "listed", "local"] == 1
    assert counters["lines_rejected", "listed", "unreadable"] == 1


def test_nobody_is_asked_before_the_interval_is_over(bench: Bench) -> None:
    loader = bench.good()
    bench.time += HOUR - 1
    assert loader.refresh("listed").kind == "not-due"
    assert loader.refresh_due() == []
    assert loader.refresh("listed", force=True).kind == "unchanged"
    bench.time += HOUR
    assert [outcome.kind for outcome in loader.refresh_due()] == ["unchanged"]
    assert len(bench.server.requests) == 3


def test_a_change_is_a_difference(bench: Bench) -> None:
    loader = bench.good()
    before = loader.current.blacklist
    bench.server.serve("/l", srv.body(GOOD.replace(b"1.1.1.4", b"1.1.1.5")))
    bench.time += HOUR
    (outcome,) = loader.refresh_due()
    assert outcome.difference.added == (Indicator("1.1.1.5/32", "listed", "g"),)
    assert outcome.difference.removed == (Indicator("1.1.1.4/32", "listed", "g"),)
    assert before.lookup("1.1.1.4")
    assert loader.current.generation == 2
    assert not loader.current.blacklist.lookup("1.1.1.4")


def test_not_modified_costs_nothing(bench: Bench) -> None:
    bench.server.serve("/l", srv.conditional(GOOD, '"v1"'))
    loader = bench.loader()
    loader.refresh("listed")
    bench.time += HOUR
    assert loader.refresh("listed").kind == "unchanged"
    assert loader.current.generation == 1
    row = status(loader)
    assert (row.age_s, row.checked_at, row.next_due_at) == (HOUR, bench.time, bench.time + HOUR)


def test_an_etag_is_not_believed_for_ever(bench: Bench) -> None:
    bench.server.serve("/l", srv.conditional(GOOD, '"lie"'))
    loader = bench.loader()
    loader.refresh("listed")
    bench.time += MAX_FEED_AGE_WITHOUT_BODY_S
    loader.refresh("listed")
    assert "if-none-match" not in bench.server.requests[-1].headers
    bench.time += HOUR
    loader.refresh("listed")
    assert "if-none-match" in bench.server.requests[-1].headers


BAD = {
    "html": srv.body(b"<html><body>Please log in</body></html>"),
    "empty": srv.body(b""),
    "shrunk": srv.body(b"1.1.1.1\n"),
    "unreadable": srv.body(b"1.1.1.1\n1.1.1.2\nrubbish\nrubbish\n"),
    "grown": srv.body(b"".join(b"1.1.%d.%d\n" % (n >> 8, n & 255) for n in range(2000))),
    "http-5xx": srv.status("500 Internal Server Error"),
    "truncated": srv.body(GOOD, length=1000),
    "too-large": srv.endless,
    "timeout": srv.trickle(GOOD, 0.3),
    "redirect": srv.redirect("file:///etc/passwd"),
    "connect": srv.hang_up,
    "encoding": srv.body(b"not gzip", "Content-Encoding: gzip"),
    "retry-later": srv.status("429 Too Many Requests"),
}


@pytest.mark.parametrize("reason", sorted(BAD))
def test_a_bad_download_leaves_the_good_one_in_force(bench: Bench, reason: str) -> None:
    loader = bench.good()
    before = loader.current.snapshot()
    bench.server.serve("/l", BAD[reason])
    bench.time += HOUR
    outcome = loader.refresh("listed")
    quarantined = reason in {"html", "empty", "shrunk", "unreadable", "grown"}
    assert (outcome.kind, outcome.reason) == ("quarantined" if quarantined else "failed", reason)
    assert outcome.detail
    assert loader.current.snapshot() == before
    assert loader.current.blacklist.lookup("1.1.1.4")
    row = status(loader)
    assert (row.state, row.accepted) == ("quarantined" if quarantined else "stale", 4)
    assert (row.last_error, row.last_error_reason) == (outcome.detail, reason)
    assert loader.counters()["failures", "listed", reason] == 1
    assert loader.next_due_at() == bench.time + HOUR
    # The next start has it too, and the next good download ends the trouble.
    again = bench.loader()
    assert again.load_cached()[0].kind == "replaced"
    assert again.current.blacklist.lookup("1.1.1.4")
    bench.server.serve("/l", srv.body(GOOD + b"1.1.1.5\n"))
    bench.time += 2 * HOUR
    assert loader.refresh("listed").kind == "replaced"
    assert status(loader).state == "ok"


def test_lines_nobody_may_list_are_dropped_and_the_rest_taken(bench: Bench) -> None:
    loader = bench.good()
    bench.server.serve("/l", srv.body(GOOD + b"0.0.0.0/0\n::/0\n10.0.0.1\n192.168.0.0/16\n224.0.0.1\n"))
    bench.time += HOUR
    outcome = loader.refresh("listed")
    assert outcome.kind == "replaced"
    assert outcome.difference.added == ()
    assert [local.address for local in outcome.local_listed] == ["10.0.0.1"]
    assert status(loader).rejected == {"floor": 2, "local": 1, "reserved": 1, "multicast": 1}
    explanation = loader.current.blacklist.explain("10.0.0.1")
    assert not explanation.listed
    assert {dropped.rejected.reason for dropped in explanation.dropped} == {"floor", "local"}


def test_an_operator_accepts_what_was_refused(bench: Bench) -> None:
    loader = bench.good()
    assert loader.accept("listed").detail == "nothing is in quarantine"
    bench.server.serve("/l", BAD["shrunk"])
    bench.time += HOUR
    loader.refresh("listed")
    outcome = loader.accept("listed")
    assert (outcome.kind, len(outcome.difference.removed)) == ("replaced", 3)
    assert status(loader).state == "ok"
    assert not loader.current.blacklist.lookup("1.1.1.4")
    again = bench.loader()
    again.load_cached()
    assert len(again.current.blacklist) == 1


def test_a_web_page_cannot_be_accepted(bench: Bench) -> None:
    loader = bench.good()
    bench.server.serve("/l", BAD["html"])
    bench.time += HOUR
    loader.refresh("listed")
    assert (loader.accept("listed").kind, len(loader.current.blacklist)) == ("quarantined", 4)


def test_the_copy_serves_a_start_without_network(bench: Bench) -> None:
    bench.good()
    bench.time += 60
    loader = bench.loader()
    (outcome,) = loader.load_cached()
    assert (outcome.kind, outcome.reason, bool(outcome.difference)) == ("replaced", "cached", False)
    assert loader.current.blacklist.lookup("1.1.1.4")
    assert loader.refresh("listed").kind == "not-due"
    assert status(loader).age_s == 60
    assert len(bench.server.requests) == 1


def test_a_start_without_copy_or_network(bench: Bench) -> None:
    loader = bench.loader()
    assert loader.load_cached()[0].kind == "unchanged"
    assert status(loader).state == "empty"
    bench.server.serve("/l", BAD["http-5xx"])
    assert loader.refresh("listed").kind == "failed"
    assert loader.next_due_at() == bench.time + 300
    # A daemon that restarts in a loop does not ask each time.
    again = bench.loader()
    again.load_cached()
    assert again.refresh("listed").kind == "not-due"


def test_a_damaged_copy_is_not_used_and_fetched_anew(bench: Bench) -> None:
    bench.good()
    (body,) = bench.folder.glob("*.list")
    body.write_bytes(b"6.6.6.6\n")
    loader = bench.loader()
    (outcome,) = loader.load_cached()
    assert (outcome.kind, outcome.reason) == ("failed", "damaged-copy")
    assert len(loader.current.blacklist) == 0
    assert status(loader).last_error_reason == "damaged-copy"
    assert loader.counters()["damaged_copies", "listed", ""] == 1
    assert loader.refresh("listed").kind == "replaced"


def test_another_url_is_another_source(bench: Bench) -> None:
    bench.server.serve("/l", srv.conditional(GOOD, '"v1"'))
    bench.loader().refresh("listed")
    url = bench.server.serve("/other", srv.body(b"9.9.9.9\n"))
    loader = bench.loader(bench.feed(url=url))
    loader.load_cached()
    assert loader.refresh("listed").kind == "replaced"
    assert "if-none-match" not in bench.server.requests[-1].headers


def test_a_clock_set_back_does_not_stop_refreshes(bench: Bench) -> None:
    loader = bench.good()
    bench.time = 0.0
    assert loader.refresh("listed").kind == "unchanged"


def test_failures_wait_longer_each_time_and_retry_after_holds(bench: Bench) -> None:
    bench.server.serve("/l", srv.body(GOOD))
    day = bench.feed(min_interval_s=24 * HOUR)
    loader = bench.loader(day)
    loader.refresh("listed")
    bench.server.serve("/l", BAD["http-5xx"])
    waits = []
    for _ in range(7):
        bench.time = loader.next_due_at()
        loader.refresh_due()
        waits.append((loader.next_due_at() - bench.time) / HOUR)
    assert waits == [1, 2, 4, 8, 16, 24, 24]
    bench.server.serve("/l", srv.status("503 Busy", f"Retry-After: {int(50 * HOUR)}"))
    bench.time = loader.next_due_at()
    loader.refresh_due()
    assert loader.next_due_at() == bench.time + 50 * HOUR


def test_a_revision_that_did_not_change_saves_the_download(bench: Bench) -> None:
    bench.server.serve("/l", srv.body(GOOD))
    revision_url = bench.server.serve("/rev", srv.body(b"7"))
    loader = bench.loader(bench.feed(revision_url=revision_url))
    loader.refresh("listed")
    bench.time += HOUR
    assert loader.refresh("listed").kind == "unchanged"
    assert [request.path for request in bench.server.requests] == ["/rev", "/l", "/rev"]


def test_several_feeds_keep_their_names_on_every_match(bench: Bench) -> None:
    bench.server.serve("/l", srv.body(GOOD))
    other = bench.feed(name="other", group="h", url=bench.server.serve("/o", srv.body(b"1.1.1.0/24\n1.1.1.1\n")))
    loader = bench.loader(bench.feed(), other)
    assert [outcome.kind for outcome in loader.refresh_due()] == ["replaced", "replaced"]
    assert loader.current.generation == 1
    assert loader.current.blacklist.lookup("1.1.1.1") == (
        Indicator("1.1.1.1/32", "listed", "g"),
        Indicator("1.1.1.1/32", "other", "h"),
        Indicator("1.1.1.0/24", "other", "h"),
    )


def test_a_slow_server_keeps_no_other_list_waiting(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel.blacklist.loader._SWAP_AFTER_S", 0.0)
    bench.server.serve("/l", srv.body(GOOD))
    other = bench.feed(name="other", url=bench.server.serve("/o", srv.body(b"9.9.9.9\n")))
    loader = bench.loader(bench.feed(), other)
    loader.refresh_due()
    assert loader.current.generation == 2


def test_allow_lists_win(bench: Bench, tmp_path: Path) -> None:
    allowed = tmp_path / "allow.txt"
    allowed.write_text("# resolvers\n1.1.1.1\n")
    bench.server.serve("/l", srv.body(GOOD))
    loader = bench.loader(allow=["1.1.1.2/32"], allow_files=[allowed])
    loader.refresh("listed")
    assert [bool(loader.current.blacklist.lookup(f"1.1.1.{n}")) for n in range(5)] == [False, False, False, True, True]
    assert loader.current.blacklist.explain("1.1.1.1").allowed_by[0].source == str(allowed)
    allowed.write_text("1.1.1.1\nnobody\n")
    with pytest.raises(ConfigError, match="line 2: not an IP address: 'nobody'"):
        bench.loader(allow_files=[allowed])
    with pytest.raises(ConfigError, match="no such file"):
        bench.loader(allow_files=[tmp_path / "none"])
    with pytest.raises(ConfigError, match=r"'1\.1\.1' is not an IP address"):
        bench.loader(allow=["1.1.1"])


def test_files_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("192.168.7.7\n198.51.100.1\n")
    loader = Loader([Feed.for_file(path), Feed.for_file(path)], None, local=["10.0.0.0/8"])
    assert [outcome.kind for outcome in loader.load_cached()] == ["replaced", "replaced"]
    assert [one.feed for one in loader.current.blacklist.lookup("192.168.7.7")] == ["own", "own-2"]
    path.write_text("")
    assert loader.refresh("own", force=True).kind == "replaced"
    path.unlink()
    outcome = loader.refresh("own", force=True)
    assert (outcome.kind, outcome.reason) == ("failed", "file")


def test_the_demonstration_needs_no_network() -> None:
    loader = Loader([shipped_descriptors()["demo"]], None, local=["10.0.0.0/8"])
    loader.load_cached()
    row = status(loader)
    assert (row.state, row.accepted, row.rejected) == ("ok", 6, {})
    assert row.attribution


def test_a_full_disk_costs_no_list(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.server.serve("/l", srv.body(GOOD))
    loader = bench.loader()
    monkeypatch.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert loader.refresh("listed").kind == "replaced"
    assert loader.current.blacklist.lookup("1.1.1.1")
    assert loader.counters()["failures", "listed", "disk"] >= 1
    assert "No space" in status(loader).last_error


def test_matching_and_status_go_on_during_a_slow_download(bench: Bench) -> None:
    loader = bench.good()
    asked = threading.Event()

    def slow(request: srv.Request, connection: object) -> None:
        asked.set()
        srv.silent(request, connection)  # type: ignore[arg-type] # the server's own socket

    bench.server.serve("/l", slow)
    bench.time += HOUR
    thread = threading.Thread(target=loader.refresh_due)
    thread.start()
    assert asked.wait(2)
    assert loader.current.blacklist.lookup("1.1.1.1")
    assert status(loader).state == "ok"
    thread.join(5)
    assert status(loader).last_error_reason == "timeout"


def test_expired_indicators_drop_out_by_themselves(bench: Bench) -> None:
    def indicator(address: str, until: str) -> str:
        pattern = f"[ipv4-addr:value = '{address}']"
        return f'{{"type": "indicator", "pattern_type": "stix", "pattern": "{pattern}"{until}}}'

    until = ', "valid_until": "1970-01-12T13:47:00Z"'
    text = f'{{"objects": [{indicator("1.1.1.1", "")}, {indicator("1.1.1.2", until)}]}}'
    bench.server.serve("/l", srv.body(text.encode()))
    loader = bench.loader(bench.feed(format="stix"))
    assert len(loader.refresh("listed").difference.added) == 2
    bench.time += 19
    assert loader.refresh_due() == []
    bench.time += 1
    (outcome,) = loader.refresh_due()
    assert (outcome.kind, outcome.reason) == ("replaced", "expired")
    assert outcome.difference.removed == (Indicator("1.1.1.2/32", "listed", "g"),)
    assert not loader.current.blacklist.lookup("1.1.1.2")
    assert loader.current.blacklist.lookup("1.1.1.1")
    assert status(loader).rejected == {"expired": 1}
    assert loader.refresh_due() == []
    again = bench.loader(bench.feed(format="stix"))
    again.load_cached()
    assert len(again.current.blacklist) == 1


def test_a_warning_list_is_an_allow_list(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "resolvers.json"
    path.write_text('{"name": "public resolvers", "type": "cidr", "list": ["1.1.1.0/31", "dns.example"]}')
    bench.server.serve("/l", srv.body(GOOD))
    loader = bench.loader(allow_files=[path])
    loader.refresh("listed")
    assert not loader.current.blacklist.lookup("1.1.1.1")
    assert loader.current.blacklist.lookup("1.1.1.2")


def test_since_when_is_known_after_a_restart_and_after_other_changes(bench: Bench) -> None:
    loader = bench.good()
    begun = bench.time
    bench.server.serve("/l", srv.body(GOOD.replace(b"1.1.1.4", b"1.1.1.5")))
    bench.time += HOUR
    loader.refresh("listed")
    old, new, gone = (Indicator(f"1.1.1.{n}/32", "listed", "g") for n in (1, 5, 4))
    again = bench.loader()
    again.load_cached()
    for each in (loader, again):
        assert [each.since(one) for one in (old, new, gone)] == [begun, begun + HOUR, None]
    assert loader.since(Indicator("1.1.1.1/32", "nobody", "g")) is None
    # Listed anew after an absence is listed since then.
    bench.server.serve("/l", srv.body(GOOD))
    bench.time += HOUR
    again.refresh("listed")
    assert again.since(gone) == begun + 2 * HOUR


def test_since_when_holds_for_files_of_ones_own_too(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("192.168.7.7\n")
    loader = bench.loader(Feed.for_file(path))
    loader.load_cached()
    begun = bench.time
    bench.time += HOUR
    path.write_text("192.168.7.7\n192.168.7.8\n")
    again = bench.loader(Feed.for_file(path))
    again.load_cached()
    assert [again.since(Indicator(f"192.168.7.{n}/32", "own", "own")) for n in (7, 8)] == [begun, bench.time]


def test_another_group_or_validity_is_a_change(bench: Bench) -> None:
    bench.server.serve("/l", srv.body(b"1.1.1.1,1,10\n1.1.1.2,2,20\n1.1.1.3,3,30\n"))
    loader = bench.loader(bench.feed(format="suricata-iprep"))
    loader.refresh("listed")
    bench.server.serve("/l", srv.body(b"1.1.1.1,1,99\n1.1.1.2,9,20\n1.1.1.3,3,30\n"))
    bench.time += HOUR
    change = loader.refresh("listed").difference
    assert change == Difference(
        changed=(Indicator("1.1.1.1/32", "listed", "category 1"), Indicator("1.1.1.2/32", "listed", "category 9"))
    )


def test_a_feed_of_what_never_matches(bench: Bench) -> None:
    bench.server.serve("/l", srv.body(GOOD))
    url = bench.server.serve("/allowed", srv.body(b'{"list": ["1.1.1.0/31", "10.1.0.0/16", "0.0.0.0/0"]}'))
    resolvers = Feed("resolvers", "misp-warninglist", "resolvers", url=url, min_interval_s=HOUR, allows=True)
    loader = bench.loader(bench.feed(), resolvers)
    outcomes = loader.refresh_due()
    assert [(each.kind, each.allows, each.local_listed) for each in outcomes] == [
        ("replaced", False, ()),
        ("replaced", True, ()),
    ]
    assert [bool(loader.current.blacklist.lookup(f"1.1.1.{n}")) for n in (1, 2)] == [False, True]
    assert loader.current.blacklist.explain("1.1.1.1").allowed_by == (Allowed("1.1.1.0/31", "resolvers"),)
    assert len(loader.current.blacklist) == 4
    row = loader.status()[1]
    assert (row.allows, row.accepted, row.rejected) == (True, 2, {"floor": 1})
    # It changes, it is refused, it is kept, like any feed; what it no longer allows matches again.
    bench.server.serve("/allowed", srv.body(b"<html>\n<body>"))
    bench.time += HOUR
    assert [each.kind for each in loader.refresh_due()] == ["unchanged", "quarantined"]
    assert not loader.current.blacklist.lookup("1.1.1.1")
    bench.server.serve("/allowed", srv.body(b'{"list": ["9.9.9.9"]}'))
    bench.time += HOUR
    assert [each.kind for each in loader.refresh_due()] == ["unchanged", "replaced"]
    assert loader.current.blacklist.lookup("1.1.1.1")


def test_an_allow_file_is_read_again_and_keeps_its_copy_when_it_goes_bad(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "allow.txt"
    path.write_text("1.1.1.1\n")
    bench.server.serve("/l", srv.body(GOOD))
    loader = bench.loader(allow_files=[f"{path}:plain:ours"])
    loader.refresh("listed")
    assert loader.current.blacklist.explain("1.1.1.1").allowed_by == (Allowed("1.1.1.1/32", f"{path} (ours)"),)
    path.write_text("1.1.1.2\n")
    bench.time += HOUR
    loader.refresh_due()
    assert [bool(loader.current.blacklist.lookup(f"1.1.1.{n}")) for n in (1, 2)] == [True, False]
    path.write_text("rubbish\n" * 9)
    bench.time += HOUR
    loader.refresh_due()
    assert not loader.current.blacklist.lookup("1.1.1.2")
    assert loader.status()[1].state == "quarantined"


def test_a_score_is_made_when_lists_come_into_force(bench: Bench) -> None:
    bench.server.serve("/l", srv.body(GOOD))
    other = bench.feed(name="other", url=bench.server.serve("/o", srv.body(b"1.1.1.0/31\n9.9.9.9\n")))
    loader = bench.loader(bench.feed(), other)
    loader.refresh_due()
    listed, others = (row.overlap for row in loader.status())
    assert (listed.unique, dict(listed.shared)) == (3, {"other": 1})
    assert (others.unique, others.unique_share, dict(others.shared)) == (2, 1.0, {})


def test_a_person_does_not_wait_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel.blacklist.loader._PATIENCE_S", 0.01)
    loader = bench.good()
    with loader._refreshing:
        assert [(each.kind, each.reason) for each in (loader.refresh("listed"), loader.accept("listed"))] == [
            ("failed", "busy")
        ] * 2
    assert loader.refresh("listed").kind == "not-due"


def test_an_unknown_feed() -> None:
    with pytest.raises(KeyError):
        Loader([], None).refresh("nobody")
