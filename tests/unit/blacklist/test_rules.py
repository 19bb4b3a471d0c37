# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Line rules drop a line; feed rules refuse a download."""

import pytest

from sentinel.blacklist.formats import plain
from sentinel.blacklist.formats.parsed import Entry, Parsed
from sentinel.blacklist.networks import Networks
from sentinel.blacklist.rules import LocalListed, Rejected, check_download, check_text, sift
from sentinel.errors import FeedError
from sentinel.limits import MAX_FEED_LOCAL_LISTED_KEPT, MAX_FEED_REJECTS_KEPT

LOCAL = ["10.0.0.0/8", "fd00::/8", "8.8.8.0/24", "2606:4700::/32"]


def reason(prefix: str, *, reserved_is_legal: bool = False) -> str | None:
    entries = [Entry(prefix, "g", 1)]
    sifted = sift("f", entries, Networks(LOCAL), reserved_is_legal=reserved_is_legal, now=0.0)
    reasons = [name for name, count in sifted.rejected.items() if count]
    assert len(reasons) + len(sifted.entries) == 1
    return reasons[0] if reasons else None


@pytest.mark.parametrize(
    ("prefix", "expected", "own_list"),
    [
        ("0.0.0.0/0", "floor", "floor"),
        ("::/0", "floor", "floor"),
        ("64.0.0.0/7", "floor", "floor"),
        ("64.0.0.0/8", None, None),
        ("2400::/18", "floor", "floor"),
        ("2400::/19", None, None),
        ("224.0.0.1/32", "multicast", "multicast"),
        ("224.0.0.0/8", "multicast", "multicast"),
        ("ff02::1/128", "multicast", "multicast"),
        ("0.0.0.0/8", "reserved", None),
        ("127.0.0.1/32", "reserved", None),
        ("192.168.1.0/24", "reserved", None),
        ("192.0.0.0/8", "reserved", None),
        ("172.16.0.0/12", "reserved", None),
        ("100.64.0.0/10", "reserved", None),
        ("169.254.169.254/32", "reserved", None),
        ("255.255.255.255/32", "reserved", None),
        ("198.51.100.7/32", "reserved", None),
        ("2001:db8::/32", "reserved", None),
        ("::1/128", "reserved", None),
        ("fe80::/64", "reserved", None),
        ("fc00::1/128", "reserved", None),
        ("::ffff:1.2.3.4/128", "reserved", None),
        ("198.48.0.0/13", None, None),
        ("10.1.2.3/32", "local", "local"),
        ("10.1.0.0/16", "local", "local"),
        ("10.0.0.0/8", "reserved", "local"),
        ("fd00::1/128", "local", "local"),
        ("8.8.8.8/32", "local", "local"),
        ("8.0.0.0/9", "local", "local"),
        ("8.8.9.0/24", None, None),
        ("2606:4700::1111/128", "local", "local"),
        ("1.1.1.1/32", None, None),
        ("2606:4701::/32", None, None),
        ("2606:4701::1/128", None, None),
        ("2a00::1/128", None, None),
    ],
)
def test_line_rules(prefix: str, expected: str | None, own_list: str | None) -> None:
    assert reason(prefix) == expected
    assert reason(prefix, reserved_is_legal=True) == own_list


def test_a_feed_that_lists_us_says_where() -> None:
    entries = [Entry("1.1.1.1/32", "a", 1), Entry("8.8.8.8/32", "b", 2), Entry("8.0.0.0/9", "b", 3)]
    sifted = sift("f", entries, Networks(LOCAL), reserved_is_legal=False, now=0.0)
    assert sifted.entries == (entries[0],)
    assert sifted.local_listed == (
        LocalListed("f", "b", "8.8.8.8/32", 2, "8.8.8.8"),
        LocalListed("f", "b", "8.0.0.0/9", 3, "8.8.8.0"),
    )
    assert sifted.rejected_kept[0] == Rejected("8.8.8.8/32", "b", 2, "local")


def test_what_is_kept_of_many_rejected_lines_is_bounded() -> None:
    entries = [Entry(f"10.0.{n >> 8}.{n & 255}/32", "g", n) for n in range(1000)]
    sifted = sift("f", entries, Networks(LOCAL), reserved_is_legal=False, now=0.0)
    assert sifted.rejected["local"] == 1000
    assert len(sifted.rejected_kept) == MAX_FEED_REJECTS_KEPT
    assert len(sifted.local_listed) == MAX_FEED_LOCAL_LISTED_KEPT


def test_duplicates_count_once_per_group() -> None:
    entries = [Entry("1.1.1.1/32", "a", 1), Entry("1.1.1.1/32", "b", 2), Entry("1.1.1.1/32", "a", 3)]
    sifted = sift("f", entries, Networks([]), reserved_is_legal=False, now=0.0)
    assert sifted.entries == (entries[0], entries[1])
    assert sifted.duplicates == 1


def test_expired_entries_drop_out_and_the_longest_listing_counts() -> None:
    entries = [
        Entry("1.1.1.1/32", "g", 1, valid_until=100.0),
        Entry("1.1.1.2/32", "g", 2, valid_until=100.1),
        Entry("1.1.1.2/32", "g", 3),
        Entry("1.1.1.3/32", "g", 4, valid_until=200.0),
        Entry("1.1.1.3/32", "g", 5, valid_until=150.0),
    ]
    sifted = sift("f", entries, Networks([]), reserved_is_legal=False, now=100.0)
    assert sifted.entries == (entries[2], entries[3])
    assert sifted.rejected["expired"] == 1


def judged(text: str, *, empty_is_legal: bool = False, **sizes: int | None) -> str | None:
    """The reason of the refusal."""
    sizes = {"last_entries": None, **sizes}
    try:
        check_text("f", text)
        parsed = plain.parse(text, "g")
        sifted = sift("f", parsed.entries, Networks(LOCAL), reserved_is_legal=False, now=0.0)
        check_download("f", parsed, sifted, empty_is_legal=empty_is_legal, **sizes)
    except FeedError as error:
        return error.reason
    return None


def lines(count: int) -> str:
    return "".join(f"1.1.{n >> 8}.{n & 255}\n" for n in range(count))


@pytest.mark.parametrize(
    ("text", "last", "expected"),
    [
        (lines(10), None, None),
        ("<html>\n<body>" + lines(10), None, "html"),
        ("", None, "empty"),
        ("# nothing today\n", 0, "empty"),
        ("10.1.2.3\n" * 5, None, "empty"),
        (lines(95) + "rubbish\n" * 5, None, None),
        (lines(94) + "rubbish\n" * 6, None, "unreadable"),
        (lines(3) + "rubbish\n", None, None),
        ("rubbish\n", None, "unreadable"),
        ("rubbish\n" * 10, None, "unreadable"),
        (lines(10) + "0.0.0.0/0\n" * 90, 10, None),
        (lines(50), 100, None),
        (lines(49), 100, "shrunk"),
        (lines(1), 4, "shrunk"),
        (lines(100), 1, None),
        (lines(101), 1, "grown"),
        (lines(10) + "2000::1-3fff:ffff:ffff:ffff:ffff:ffff:ffff:fffe\n", 10, None),
        (lines(2000), 200, None),
        (lines(2001), 200, "grown"),
    ],
)
def test_feed_rules(text: str, last: int | None, expected: str | None) -> None:
    assert judged(text, last_entries=last) == expected


def test_a_feed_that_may_be_empty_may_shrink() -> None:
    assert judged("# END 0 entries\n", empty_is_legal=True, last_entries=100) is None
    assert judged("10.1.2.3\n", empty_is_legal=True, last_entries=100) is None
    assert judged("rubbish\n", empty_is_legal=True, last_entries=100) == "unreadable"
    assert judged("<html>", empty_is_legal=True) == "html"
    assert judged(lines(500), empty_is_legal=True, last_entries=0) == "grown"
    assert judged(lines(500), empty_is_legal=True, last_entries=0, expected_entries=50) is None


def test_a_file_that_announces_more_than_it_has_is_truncated() -> None:
    parsed = Parsed(entries=[Entry("1.1.1.1/32", "g", 1)], declared_entries=2)
    sifted = sift("f", parsed.entries, Networks([]), reserved_is_legal=False, now=0.0)
    with pytest.raises(FeedError) as caught:
        check_download("f", parsed, sifted, empty_is_legal=False, last_entries=None)
    assert caught.value.reason == "truncated"


def test_networks_merge_and_answer_at_their_edges() -> None:
    networks = Networks(["10.0.0.0/9", "10.128.0.0/9", "12.0.0.0/8"])
    ten, eleven = 10 << 24, 11 << 24
    assert networks.contain(4, ten, eleven - 1)
    assert not networks.contain(4, ten, eleven)
    assert networks.touch(4, eleven - 1, eleven)
    assert not networks.touch(4, eleven, (12 << 24) - 1)
    assert not networks.touch(6, ten, eleven)
    assert networks.first_touched(4, 0, 2**32 - 1) == "10.0.0.0"
    assert networks.first_touched(4, eleven, 2**32 - 1) == "12.0.0.0"
    assert networks.first_touched(4, ten + 5, ten + 6) == "10.0.0.5"
    assert networks.first_touched(4, 0, 5) == ""
    with pytest.raises(ValueError, match="not an IP address"):
        Networks(["here"])
