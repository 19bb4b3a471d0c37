# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Policy lines to rules: what is taken, and why the rest is not."""

import pytest

from switch_acl_api.errors import RuleError
from switch_acl_api.grammar import Site, parse_rules

SITE = Site(
    erspan_destinations=frozenset({"10.0.0.70"}),
    ports=frozenset({"swp1"}),
    own=frozenset({"10.0.0.253", "10.1.1.1"}),
    broadcasts=frozenset({"10.1.1.255"}),
)
SITE_V6 = SITE._replace(ipv6=True)
GOOD = "-A FORWARD -i swp+ -s 10.0.0.10 -d 198.51.100.7 -j ERSPAN --src-ip 10.0.0.253 --dst-ip 10.0.0.70"


def test_the_articles_rule() -> None:
    line = GOOD.replace("-i swp+", "--in-interface swp+")
    (rule,) = parse_rules(["[iptables]", line], SITE)
    assert rule._asdict() == {
        "line": 2,
        "family": 4,
        "port": "swp+",
        "source": "10.0.0.10",
        "destination": "198.51.100.7",
        "erspan_source": "10.0.0.253",
        "erspan_destination": "10.0.0.70",
        "ttl": None,
    }


@pytest.mark.parametrize(
    ("change", "to"),
    [
        ("10.0.0.10", "10.0.0.10/32"),
        ("198.51.100.7", "198.51.100.7/32"),
        ("10.0.0.70", "10.0.0.70 --ttl 64"),
        ("10.0.0.70", "10.0.0.70 --ttl 255"),
        ("swp+", "bond+"),
        ("swp+", "swp1"),
        ("-i swp+ -s 10.0.0.10", "-s 10.0.0.10 -i swp+"),
        ("--src-ip 10.0.0.253 --dst-ip 10.0.0.70", "--dst-ip 10.0.0.70 --src-ip 10.0.0.253"),
        ("-A FORWARD", "  -A\tFORWARD"),
    ],
)
def test_other_ways_to_say_it(change: str, to: str) -> None:
    (rule,) = parse_rules(["# why", "", "[iptables]", GOOD.replace(change, to), "# end"], SITE)
    assert (rule.source, rule.destination, rule.line) == ("10.0.0.10", "198.51.100.7", 4)


def test_ipv6_hosts_in_any_spelling_where_the_driver_can() -> None:
    line = GOOD.replace("10.0.0.10", "2001:DB8:0::1/128").replace("198.51.100.7", "2001:db8:1::7")
    (rule,) = parse_rules(["[ip6tables]", line], SITE_V6)
    assert (rule.family, rule.source, rule.destination) == (6, "2001:db8::1", "2001:db8:1::7")
    with pytest.raises(RuleError, match="cannot mirror IPv6"):
        parse_rules(["[ip6tables]", line], SITE)


@pytest.mark.parametrize(
    ("change", "to", "token", "reason"),
    [
        ("-A FORWARD", "-I FORWARD", "-I", "begins with -A"),
        ("-A FORWARD", "-A INPUT", "INPUT", "only chain"),
        ("-A FORWARD", "-A", "-i", "only chain"),
        ("-j ERSPAN", "-j DROP", "DROP", "only target"),
        ("-j ERSPAN", "-j SPAN", "SPAN", "only target"),
        ("-i swp+", "-i eth0", "eth0", "not among the ports"),
        ("-i swp+", "-i swp1,swp2", "swp1,swp2", "not among the ports"),
        ("-i swp+", "-i +", "+", "not among the ports"),
        ("-i swp+", "-i $INGRESS", "$INGRESS", "not among the ports"),
        ("-i swp+", "-o swp+", "-o", "not allowed"),
        ("-i swp+ ", "", "-i", "missing"),
        ("-s 10.0.0.10 ", "", "-s", "missing"),
        ("-d 198.51.100.7 ", "", "-d", "missing"),
        ("--dst-ip 10.0.0.70", "", "--dst-ip", "missing"),
        ("--src-ip 10.0.0.253", "", "--src-ip", "missing"),
        (" -j ERSPAN --src-ip 10.0.0.253 --dst-ip 10.0.0.70", "", "-j ERSPAN", "missing"),
        ("-s 10.0.0.10", "! -s 10.0.0.10", "!", "negation"),
        ("-s 10.0.0.10", "-s 10.0.0.10 -s 10.0.0.11", "-s", "twice"),
        ("-i swp+", "-i swp+ --in-interface bond+", "--in-interface", "twice"),
        ("--dst-ip 10.0.0.70", "--dst-ip", "--dst-ip", "without a value"),
        ("10.0.0.10", "10.0.0.0/24", "10.0.0.0/24", "one host"),
        ("10.0.0.10", "10.0.0.10/31", "10.0.0.10/31", "one host"),
        ("10.0.0.10", "10.0.0.10/255.255.255.255", "10.0.0.10/255.255.255.255", "one host"),
        ("10.0.0.10", "10.0.0.10/", "10.0.0.10/", "one host"),
        ("10.0.0.10", "0.0.0.0/0", "0.0.0.0/0", "one host"),
        ("10.0.0.10", "010.0.0.10", "010.0.0.10", "not an IPv4"),
        ("10.0.0.10", "10.0.0.10,10.0.0.11", "10.0.0.10,10.0.0.11", "not an IPv4"),
        ("10.0.0.10", "host.example", "host.example", "not an IPv4"),
        ("10.0.0.10", "2001:db8::1", "2001:db8::1", "not an IPv4"),
        ("10.0.0.10", "167772170", "167772170", "not an IPv4"),
        ("10.0.0.10", "198.51.100.7", "198.51.100.7", "the same"),
        ("10.0.0.10", "224.0.0.5", "224.0.0.5", "multicast"),
        ("10.0.0.10", "255.255.255.255", "255.255.255.255", "broadcast"),
        ("10.0.0.10", "10.1.1.255", "10.1.1.255", "broadcast"),
        ("10.0.0.10", "127.0.0.1", "127.0.0.1", "loopback"),
        ("10.0.0.10", "0.0.0.0", "0.0.0.0", "unspecified"),
        ("10.0.0.10", "0.1.2.3", "0.1.2.3", "unspecified"),
        ("10.0.0.10", "10.1.1.1", "10.1.1.1", "address of this switch"),
        ("10.0.0.10", "10.0.0.70", "10.0.0.70", "ERSPAN destination"),
        ("-s 10.0.0.10", "-s 10.0.0.253", "10.0.0.253", "own --src-ip"),
        ("--dst-ip 10.0.0.70", "--dst-ip 10.0.0.71", "10.0.0.71", "erspan_destinations"),
        ("--src-ip 10.0.0.253", "--src-ip 239.1.1.1", "239.1.1.1", "multicast"),
        ("--src-ip 10.0.0.253", "--src-ip 127.0.0.1", "127.0.0.1", "loopback"),
        ("10.0.0.70", "10.0.0.70 --ttl 0", "0", "1 to 255"),
        ("10.0.0.70", "10.0.0.70 --ttl 256", "256", "1 to 255"),
        ("10.0.0.70", "10.0.0.70 --ttl 064", "064", "1 to 255"),
        ("-s 10.0.0.10", "--ttl 64 -s 10.0.0.10", "--ttl", "behind"),
        ("10.0.0.70", "10.0.0.70 -p tcp", "-p", "not allowed"),
        ("10.0.0.70", "10.0.0.70 -s 10.0.0.9", "-s", "before -j"),
        ("10.0.0.70", "10.0.0.70;reboot", "10.0.0.70;reboot", "not an IPv4"),
        ("10.0.0.70", "10.0.0.70 # comment", "#", "not allowed"),
        ("10.0.0.70", "'10.0.0.70'", "'10.0.0.70'", "not an IPv4"),
    ],
)
def test_what_is_refused_says_token_and_reason(change: str, to: str, token: str, reason: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse_rules(["[iptables]", "# a comment", GOOD.replace(change, to)], SITE)
    assert (caught.value.line, caught.value.token) == (3, token)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (7, "not a text"),
        (None, "not a text"),
        (["x"], "not a text"),
        ("#" * 301, "longer"),
        (GOOD + "\n", "printable"),
        (GOOD + "\x00", "printable"),
        ("# \x1b[31m", "printable"),
        ("# ä", "printable"),
        ("[ebtables]", "unknown section"),
        ("[iptables] # x", "unknown section"),
        ("INGRESS = swp+", "begins with -A"),
    ],
)
def test_lines_that_are_no_lines(line: object, reason: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse_rules(["[iptables]", line], SITE)
    assert caught.value.line == 2
    assert reason in caught.value.reason


def test_a_rule_needs_a_section() -> None:
    with pytest.raises(RuleError, match="before any section"):
        parse_rules([GOOD], SITE)


def test_mapped_addresses_are_no_ipv6_hosts() -> None:
    line = GOOD.replace("10.0.0.10", "::ffff:a00:1").replace("198.51.100.7", "2001:db8::7")
    with pytest.raises(RuleError, match="IPv6 clothes"):
        parse_rules(["[ip6tables]", line], SITE_V6)


@pytest.mark.parametrize("host", ["ff02::1", "::1", "::", "fe80::1%swp1", "2001:db8::1/64", "2001:db8::1/32"])
def test_ipv6_hosts_that_are_refused(host: str) -> None:
    line = GOOD.replace("10.0.0.10", host).replace("198.51.100.7", "2001:db8::7")
    with pytest.raises(RuleError):
        parse_rules(["[ip6tables]", line], SITE_V6)


def test_at_most_two_pairs_of_erspan_addresses_in_one_body() -> None:
    lines = ["[iptables]", *(GOOD.replace("10.0.0.253", f"10.2.0.{n}") for n in (1, 2, 1, 2))]
    assert len(parse_rules(lines, SITE)) == 4
    with pytest.raises(RuleError, match="third") as caught:
        parse_rules([*lines, GOOD], SITE)
    assert caught.value.line == 6


def test_too_many_lines() -> None:
    with pytest.raises(RuleError, match="more than 256 lines"):
        parse_rules(["#"] * 257, SITE)
