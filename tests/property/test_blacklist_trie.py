# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The tries say what a linear scan over all prefixes says, whatever the nesting, feeds, groups and allow lists."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sentinel.blacklist.formats.parsed import Entry
from sentinel.blacklist.formats.prefixes import bounds, canonical_prefix, range_prefixes, unpack
from sentinel.blacklist.trie import Allowed, Blacklist
from sentinel.model import Indicator

Network = IPv4Network | IPv6Network


@st.composite
def networks(draw: st.DrawFn, bits: int) -> str:
    """Prefixes crowded under a few stems, so that they nest and repeat."""
    value = draw(st.sampled_from([0, 1 << (bits - 1), 0b1011 << (bits - 4), (1 << bits) - 1]))
    value ^= draw(st.integers(0, 255)) << draw(st.integers(0, bits - 8))
    length = draw(st.integers(0, bits))
    host_bits = bits - length
    packed = (value >> host_bits << host_bits).to_bytes(bits // 8, "big")
    return f"{unpack(packed)}/{length}"


both_families = st.one_of(networks(32), networks(128))
listings = st.lists(st.tuples(st.sampled_from("abc"), both_families, st.sampled_from(["x", "y"])), max_size=30)


def scan(listed: list[tuple[str, str, str]], address: str) -> tuple[Indicator, ...]:
    ip = ip_address(address)
    hits = {(-ip_network(p).prefixlen, feed, group, p) for feed, p, group in listed if ip in ip_network(p)}
    return tuple(Indicator(prefix, feed, group) for _, feed, group, prefix in sorted(hits))


def addresses_of(prefixes: list[str]) -> set[str]:
    """First, last and the ones just outside of each prefix: where mistakes are."""
    found = {"0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
    for prefix in prefixes:
        family, first, last = bounds(prefix)
        bits = 32 if family == 4 else 128
        for value in (first - 1, first, last, last + 1):
            if 0 <= value < 1 << bits:
                found.add(unpack(value.to_bytes(bits // 8, "big")))
    return found


@given(listings, st.lists(both_families, max_size=4))
def test_tries_agree_with_a_linear_scan(listed: list[tuple[str, str, str]], allowed: list[str]) -> None:
    by_feed: dict[str, list[Entry]] = {}
    for line, (feed, prefix, group) in enumerate(listed, 1):
        by_feed.setdefault(feed, []).append(Entry(prefix, group, line))
    blacklist = Blacklist.build(by_feed, [Allowed(prefix, "config") for prefix in allowed])
    assert len(blacklist) == len({prefix for _, prefix, _ in listed})
    assert set(blacklist.prefixes()) == {prefix for _, prefix, _ in listed}
    for address in addresses_of([prefix for _, prefix, _ in listed] + allowed):
        is_allowed = any(ip_address(address) in ip_network(prefix) for prefix in allowed)
        expected = scan(listed, address)
        assert blacklist.explain(address).indicators == expected
        assert blacklist.lookup(address) == (() if is_allowed else expected)


@given(both_families)
def test_canonical_text_is_what_the_standard_library_writes(prefix: str) -> None:
    network = ip_network(prefix)
    assert canonical_prefix(prefix) == (prefix, False)
    assert canonical_prefix(f"{network.broadcast_address}/{network.prefixlen}")[0] == prefix
    assert bounds(prefix)[1:] == (int(network.network_address), int(network.broadcast_address))
    if network.version == 4:
        assert prefix == str(network)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_range_is_its_prefixes_and_no_more(one: int, other: int) -> None:
    low, high = sorted((one, other))
    found = [bounds(p) for p in range_prefixes(unpack(low.to_bytes(4, "big")), unpack(high.to_bytes(4, "big")))]
    assert found[0][1] == low
    assert found[-1][2] == high
    assert all(left[2] + 1 == right[1] for left, right in pairwise(found))
    assert len(found) <= 62
