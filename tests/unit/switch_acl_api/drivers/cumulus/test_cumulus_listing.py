# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What cl-acltool prints, in the forms its documentation shows."""

import pytest

from switch_acl_api.drivers.base import Count
from switch_acl_api.drivers.cumulus.listing import error_text, find_blame, parse_listing

LISTING = """\
-------------------------------
Listing rules of type iptables:
-------------------------------
TABLE filter :
Chain INPUT (policy ACCEPT 167 packets, 16481 bytes)
 pkts bytes target     prot opt in     out     source               destination
    0     0 DROP       all  --  swp+   any     240.0.0.0/5          anywhere
    0     0 SETCLASS   udp  --  swp+   any     anywhere  anywhere             udp dpt:3785 SETCLASS  class:7

Chain FORWARD (policy ACCEPT 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination
   69  6804 ERSPAN     all  --  swp1   any     anywhere  anywhere ERSPAN src-ip:10.0.0.1 dst-ip:10.0.0.2
41229 4368K ERSPAN     all  --  swp+   *       10.0.0.10  198.51.100.7 ERSPAN src-ip:10.0.0.253 dst-ip:10.0.0.70
17540   12M ERSPAN 0 --  bond+  * 198.51.100.7/32  10.0.0.10 ERSPAN src-ip:10.0.0.253 dst-ip:10.0.0.70 ttl:64
40722   47M SPAN       all  --  any    swp4    anywhere  anywhere             dport:swp19
-------------------------------
Listing rules of type ip6tables:
-------------------------------
TABLE filter :
Chain FORWARD (policy ACCEPT 0 packets, 0 bytes)
 7   448 ERSPAN all swp+   * 2001:db8::1 2001:db8:1::2/128 ERSPAN src-ip:10.0.0.253 dst-ip:10.0.0.70
"""


def test_the_erspan_rules_of_a_listing() -> None:
    pair = ("10.0.0.253", "10.0.0.70")
    assert parse_listing(LISTING) == {
        (4, "swp1", "anywhere", "anywhere", "10.0.0.1", "10.0.0.2"): Count(69, 6804),
        (4, "swp+", "10.0.0.10", "198.51.100.7", *pair): Count(41229, 4_368_000),
        (4, "bond+", "198.51.100.7", "10.0.0.10", *pair): Count(17540, 12_000_000),
        (6, "swp+", "2001:db8::1", "2001:db8:1::2", *pair): Count(7, 448),
    }


def test_the_first_of_two_equal_rules_has_the_packets() -> None:
    row = "{} 0 ERSPAN all -- swp+ * 10.0.0.1 10.0.0.2 ERSPAN src-ip:1.1.1.1 dst-ip:2.2.2.2\n"
    assert list(parse_listing(row.format(5) + row.format(0)).values()) == [Count(5, 0)]


@pytest.mark.parametrize("cut", range(0, len(LISTING), 97))
def test_a_listing_cut_anywhere_gives_no_more_than_it_says(cut: int) -> None:
    whole = parse_listing(LISTING)
    assert len(parse_listing(LISTING[:cut])) <= len(whole)


@pytest.mark.parametrize(
    "text", ["", "\x00" * 99, "ERSPAN src-ip:a dst-ip:b", "x y ERSPAN a b c d e ERSPAN src-ip:a dst-ip:b"]
)
def test_what_is_no_listing_has_no_rules(text: str) -> None:
    assert parse_listing(text) == {}


@pytest.mark.parametrize(
    ("lines", "file", "line"),
    [
        (["Processing rules in file /p/60a.rules ...", "error: /p/60a.rules: line 3: Bad rule"], "/p/60a.rules", 3),
        (["error: /p/60a.rules:12: unknown"], "/p/60a.rules", 12),
        (["Error in /p/60a.rules"], "/p/60a.rules", None),
        (["error: hw sync failed (sync_acl hardware installation failed) Rolling back .. failed."], None, None),
        (["Processing rules in file /p/60a.rules ..."], None, None),
        ([], None, None),
    ],
)
def test_blame_from_what_the_tool_says(lines: list[str], file: str | None, line: int | None) -> None:
    assert find_blame(lines) == (file, line)


def test_the_error_line_is_the_error() -> None:
    assert error_text(["Reading", "error: one", "done"]) == "error: one"
    assert error_text(["a", "b"]) == "b"
    assert error_text([]) == "no output"
