# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever comes, or does not come, the last good list is in force, and the reason is known."""

import pytest

from sentinel.blacklist.differences import Difference
from sentinel.blacklist.refresh import Refreshed
from sentinel.blacklist.rules import LocalListed
from sentinel.limits import MAX_FEED_AGE_WITHOUT_BODY_S
from sentinel.model import Indicator
from tests.support import feed_server as srv
from tests.support.feed_bench import BAD, GOOD, HOUR, FeedBench, status


def test_a_first_download_is_in_force_with_its_difference(bench: FeedBench) -> None:
    bench.server.serve("/l", srv.body(b"1.1.1.1 # x\n2606:4700::/32\n1.1.1.1\n10.2.3.4\nrubbish\n1.1.1.9/24\n"))
    loader = bench.loader()
    outcome = loader.refresh("listed")
    assert outcome == Refreshed(
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
    counters = loader.counters()["listed"]
    assert counters.refreshes == {"replaced": 1, "unchanged": 0, "quarantined": 0, "failed": 0}
    assert counters.lines_rejected["local"] == counters.lines_rejected["unreadable"] == 1
    assert not any(counters.failures.values())


def test_nobody_is_asked_before_the_interval_is_over(bench: FeedBench) -> None:
    loader = bench.good()
    bench.time += HOUR - 1
    assert loader.refresh("listed").kind == "not-due"
    assert loader.refresh_due() == []
    assert loader.refresh("listed", force=True).kind == "unchanged"
    bench.time += HOUR
    assert [outcome.kind for outcome in loader.refresh_due()] == ["unchanged"]
    assert len(bench.server.requests) == 3


def test_a_change_is_a_difference(bench: FeedBench) -> None:
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


def test_not_modified_costs_nothing(bench: FeedBench) -> None:
    bench.server.serve("/l", srv.conditional(GOOD, '"v1"'))
    loader = bench.loader()
    loader.refresh("listed")
    bench.time += HOUR
    assert loader.refresh("listed").kind == "unchanged"
    assert loader.current.generation == 1
    row = status(loader)
    assert (row.age_s, row.checked_at, row.next_due_at) == (HOUR, bench.time, bench.time + HOUR)


def test_an_etag_is_not_believed_for_ever(bench: FeedBench) -> None:
    bench.server.serve("/l", srv.conditional(GOOD, '"lie"'))
    loader = bench.loader()
    loader.refresh("listed")
    bench.time += MAX_FEED_AGE_WITHOUT_BODY_S
    loader.refresh("listed")
    assert "if-none-match" not in bench.server.requests[-1].headers
    bench.time += HOUR
    loader.refresh("listed")
    assert "if-none-match" in bench.server.requests[-1].headers


@pytest.mark.parametrize("reason", sorted(BAD))
def test_a_bad_download_leaves_the_good_one_in_force(bench: FeedBench, reason: str) -> None:
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
    failures = loader.counters()["listed"].failures
    assert {why: count for why, count in failures.items() if count} == {reason: 1}
    assert loader.next_due_at() == bench.time + HOUR
    # The next start has it too, and the next good download ends the trouble.
    again = bench.loader()
    assert again.load_cached()[0].kind == "replaced"
    assert again.current.blacklist.lookup("1.1.1.4")
    bench.server.serve("/l", srv.body(GOOD + b"1.1.1.5\n"))
    bench.time += 2 * HOUR
    assert loader.refresh("listed").kind == "replaced"
    assert status(loader).state == "ok"


def test_lines_nobody_may_list_are_dropped_and_the_rest_taken(bench: FeedBench) -> None:
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


def test_an_operator_accepts_what_was_refused(bench: FeedBench) -> None:
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


def test_a_web_page_cannot_be_accepted(bench: FeedBench) -> None:
    loader = bench.good()
    bench.server.serve("/l", BAD["html"])
    bench.time += HOUR
    loader.refresh("listed")
    assert (loader.accept("listed").kind, len(loader.current.blacklist)) == ("quarantined", 4)


def test_a_damaged_copy_is_not_used_and_fetched_anew(bench: FeedBench) -> None:
    bench.good()
    (body,) = bench.folder.glob("*.list")
    body.write_bytes(b"6.6.6.6\n")
    loader = bench.loader()
    (outcome,) = loader.load_cached()
    assert (outcome.kind, outcome.reason) == ("failed", "damaged-copy")
    assert len(loader.current.blacklist) == 0
    assert status(loader).last_error_reason == "damaged-copy"
    assert loader.counters()["listed"].damaged_copies == 1
    assert loader.refresh("listed").kind == "replaced"


def test_another_url_is_another_source(bench: FeedBench) -> None:
    bench.server.serve("/l", srv.conditional(GOOD, '"v1"'))
    bench.loader().refresh("listed")
    url = bench.server.serve("/other", srv.body(b"9.9.9.9\n"))
    loader = bench.loader(bench.feed(url=url))
    loader.load_cached()
    assert loader.refresh("listed").kind == "replaced"
    assert "if-none-match" not in bench.server.requests[-1].headers


def test_a_clock_set_back_does_not_stop_refreshes(bench: FeedBench) -> None:
    loader = bench.good()
    bench.time = 0.0
    assert loader.refresh("listed").kind == "unchanged"


def test_failures_wait_longer_each_time_and_retry_after_holds(bench: FeedBench) -> None:
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


def test_a_revision_that_did_not_change_saves_the_download(bench: FeedBench) -> None:
    bench.server.serve("/l", srv.body(GOOD))
    revision_url = bench.server.serve("/rev", srv.body(b"7"))
    loader = bench.loader(bench.feed(revision_url=revision_url))
    loader.refresh("listed")
    bench.time += HOUR
    assert loader.refresh("listed").kind == "unchanged"
    assert [request.path for request in bench.server.requests] == ["/rev", "/l", "/rev"]


def test_a_full_disk_costs_no_list(bench: FeedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.server.serve("/l", srv.body(GOOD))
    loader = bench.loader()
    monkeypatch.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert loader.refresh("listed").kind == "replaced"
    assert loader.current.blacklist.lookup("1.1.1.1")
    assert loader.counters()["listed"].failures["disk"] >= 1
    assert "No space" in status(loader).last_error


def test_expired_indicators_drop_out_by_themselves(bench: FeedBench) -> None:
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


def test_another_group_or_validity_is_a_change(bench: FeedBench) -> None:
    bench.server.serve("/l", srv.body(b"1.1.1.1,1,10\n1.1.1.2,2,20\n1.1.1.3,3,30\n"))
    loader = bench.loader(bench.feed(format="suricata-iprep"))
    loader.refresh("listed")
    bench.server.serve("/l", srv.body(b"1.1.1.1,1,99\n1.1.1.2,9,20\n1.1.1.3,3,30\n"))
    bench.time += HOUR
    change = loader.refresh("listed").difference
    assert change == Difference(
        changed=(Indicator("1.1.1.1/32", "listed", "category 1"), Indicator("1.1.1.2/32", "listed", "category 9"))
    )
