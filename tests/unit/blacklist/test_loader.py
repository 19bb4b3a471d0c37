# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A start needs no network, lists are swapped whole, and allow lists win."""

import threading
from pathlib import Path

import pytest

from sentinel.blacklist.catalogue import Feed, shipped_descriptors
from sentinel.blacklist.loader import Loader
from sentinel.blacklist.trie import Allowed
from sentinel.errors import ConfigError
from sentinel.model import Indicator
from sentinel.readings import counters
from tests.support import feed_server as srv
from tests.support.feed_bench import BAD, GOOD, HOUR, FeedBench, status


def test_the_copy_serves_a_start_without_network(bench: FeedBench) -> None:
    bench.good()
    bench.time += 60
    loader = bench.loader()
    (outcome,) = loader.load_cached()
    assert (outcome.kind, outcome.reason, bool(outcome.difference)) == ("replaced", "cached", False)
    assert loader.current.blacklist.lookup("1.1.1.4")
    assert loader.refresh("listed").kind == "not-due"
    assert status(loader).age_s == 60
    assert len(bench.server.requests) == 1


def test_a_start_without_copy_or_network(bench: FeedBench) -> None:
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


def test_several_feeds_keep_their_names_on_every_match(bench: FeedBench) -> None:
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


def test_a_slow_server_keeps_no_other_list_waiting(bench: FeedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel.blacklist.loader._SWAP_AFTER_S", 0.0)
    bench.server.serve("/l", srv.body(GOOD))
    other = bench.feed(name="other", url=bench.server.serve("/o", srv.body(b"9.9.9.9\n")))
    loader = bench.loader(bench.feed(), other)
    loader.refresh_due()
    assert loader.current.generation == 2


def test_allow_lists_win(bench: FeedBench, tmp_path: Path) -> None:
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


def test_matching_and_status_go_on_during_a_slow_download(bench: FeedBench) -> None:
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


def test_a_warning_list_is_an_allow_list(bench: FeedBench, tmp_path: Path) -> None:
    path = tmp_path / "resolvers.json"
    path.write_text('{"name": "public resolvers", "type": "cidr", "list": ["1.1.1.0/31", "dns.example"]}')
    bench.server.serve("/l", srv.body(GOOD))
    loader = bench.loader(allow_files=[path])
    loader.refresh("listed")
    assert not loader.current.blacklist.lookup("1.1.1.1")
    assert loader.current.blacklist.lookup("1.1.1.2")


def test_since_when_is_known_after_a_restart_and_after_other_changes(bench: FeedBench) -> None:
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


def test_since_when_holds_for_files_of_ones_own_too(bench: FeedBench, tmp_path: Path) -> None:
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


def test_a_feed_of_what_never_matches(bench: FeedBench) -> None:
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


def test_an_allow_file_is_read_again_and_keeps_its_copy_when_it_goes_bad(bench: FeedBench, tmp_path: Path) -> None:
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


def test_a_score_is_made_when_lists_come_into_force(bench: FeedBench) -> None:
    bench.server.serve("/l", srv.body(GOOD))
    other = bench.feed(name="other", url=bench.server.serve("/o", srv.body(b"1.1.1.0/31\n9.9.9.9\n")))
    loader = bench.loader(bench.feed(), other)
    loader.refresh_due()
    listed, others = (row.overlap for row in loader.status())
    assert (listed.unique, dict(listed.shared)) == (3, {"other": 1})
    assert (others.unique, others.unique_share, dict(others.shared)) == (2, 1.0, {})


def test_a_person_does_not_wait_for_ever(bench: FeedBench, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_all_counts_are_there_before_anything_happened(bench: FeedBench) -> None:
    found = list(counters("blacklist", bench.loader().counters()["listed"], feed="listed"))
    assert {value for _, _, value, _, _ in found} == {0.0}
    assert {labels["feed"] for _, labels, _, _, _ in found} == {"listed"}
    names = {(name, labels.get("reason")) for name, labels, _, _, _ in found}
    assert {("sentinel_blacklist_failures_total", "tls"), ("sentinel_blacklist_failures_total", "disk")} < names
    assert {
        ("sentinel_blacklist_refreshes_total", "quarantined"),
        ("sentinel_blacklist_lines_rejected_total", "unreadable"),
        ("sentinel_blacklist_damaged_copies_total", None),
    } < names
