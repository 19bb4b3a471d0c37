# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The tries: every feed and group of every covering prefix, allow lists, the swap."""

from socket import AF_INET, inet_pton

import pytest

from sentinel.blacklist.formats.parsed import Entry
from sentinel.blacklist.rules import Rejected
from sentinel.blacklist.trie import Allowed, Blacklist, Current, Dropped
from sentinel.model import Indicator


def entries(*pairs: tuple[str, str]) -> list[Entry]:
    return [Entry(prefix, group, line) for line, (prefix, group) in enumerate(pairs, 1)]


BLACKLIST = Blacklist.build(
    {
        "zeta": entries(("203.0.113.7/32", "c2"), ("203.0.0.0/16", "net")),
        "alpha": entries(("203.0.113.7/32", "scan"), ("203.0.113.7/32", "c2"), ("203.0.113.0/24", "net")),
        "six": entries(("2001:db8::/32", "net"), ("2001:db8::7/128", "c2")),
    },
    allow=[
        Allowed("203.0.114.9", "config"),
        Allowed("203.0.114.0/24", "cdn.txt"),
        Allowed("2001:db8:1::/48", "config"),
    ],
    dropped=[Dropped("zeta", Rejected("192.168.0.0/16", "net", 9, "reserved"))],
)


def test_all_indicators_longest_first_then_feed_then_group() -> None:
    assert BLACKLIST.lookup("203.0.113.7") == (
        Indicator("203.0.113.7/32", "alpha", "c2"),
        Indicator("203.0.113.7/32", "alpha", "scan"),
        Indicator("203.0.113.7/32", "zeta", "c2"),
        Indicator("203.0.113.0/24", "alpha", "net"),
        Indicator("203.0.0.0/16", "zeta", "net"),
    )
    assert BLACKLIST.lookup("2001:db8::7") == (
        Indicator("2001:db8::7/128", "six", "c2"),
        Indicator("2001:db8::/32", "six", "net"),
    )


def test_a_miss_is_empty_in_both_families() -> None:
    assert BLACKLIST.lookup("198.51.100.1") == ()
    assert BLACKLIST.lookup("2001:db9::") == ()
    assert BLACKLIST.lookup_packed(bytes(4)) == ()
    assert BLACKLIST.lookup_packed(bytes(16)) == ()
    assert Blacklist.build({}).lookup("203.0.113.7") == ()


def test_packed_is_the_same_as_text() -> None:
    assert BLACKLIST.lookup_packed(inet_pton(AF_INET, "203.0.113.7")) == BLACKLIST.lookup("203.0.113.7")


@pytest.mark.parametrize("ip", ["", "203.0.113", "203.0.113.7/32", "here", "::g"])
def test_what_is_no_address_is_refused(ip: str) -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        BLACKLIST.lookup(ip)


def test_counts() -> None:
    assert (len(BLACKLIST), BLACKLIST.prefixes_v4, BLACKLIST.prefixes_v6) == (5, 3, 2)
    assert set(BLACKLIST.prefixes()) == {
        *("203.0.113.7/32", "203.0.113.0/24", "203.0.0.0/16", "2001:db8::/32", "2001:db8::7/128")
    }
    assert set(BLACKLIST.allowed_prefixes()) == {"203.0.114.9/32", "203.0.114.0/24", "2001:db8:1::/48"}


@pytest.mark.parametrize("ip", ["203.0.114.9", "203.0.114.10", "2001:db8:1::5"])
def test_an_allowed_address_never_matches(ip: str) -> None:
    assert BLACKLIST.lookup(ip) == ()
    explanation = BLACKLIST.explain(ip)
    assert explanation.indicators
    assert explanation.allowed_by
    assert not explanation.listed


def test_explanations() -> None:
    allowed = BLACKLIST.explain("203.0.114.9")
    assert allowed.allowed_by == (Allowed("203.0.114.9/32", "config"), Allowed("203.0.114.0/24", "cdn.txt"))
    listed = BLACKLIST.explain("2001:DB8::7")
    assert (listed.address, listed.listed) == ("2001:db8::7", True)
    assert listed.indicators == BLACKLIST.lookup("2001:db8::7")
    dropped = BLACKLIST.explain("192.168.3.4")
    assert [(one.feed, one.rejected.line, one.rejected.reason) for one in dropped.dropped] == [("zeta", 9, "reserved")]
    assert not dropped.listed
    assert BLACKLIST.explain("::1").dropped == ()


def test_two_allow_lists_may_name_the_same_prefix() -> None:
    blacklist = Blacklist.build({}, [Allowed("192.0.2.0/24", "a"), Allowed("192.0.2.1/24", "b")])
    assert blacklist.explain("192.0.2.1").allowed_by == (Allowed("192.0.2.0/24", "a"), Allowed("192.0.2.0/24", "b"))


def test_the_holder_swaps_whole() -> None:
    current = Current()
    assert (current.generation, len(current.blacklist)) == (0, 0)
    assert current.replace(BLACKLIST) == 1
    assert current.snapshot() == (1, BLACKLIST)
    assert current.blacklist is BLACKLIST
