# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever the rule parser accepts is one host to one host, mirrored to an allowed destination."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from switch_acl_api.errors import RuleError
from switch_acl_api.grammar import Rule, Site, parse_rules, read_rules

DESTINATIONS = frozenset({"10.0.0.70", "10.0.0.71"})
OWN = frozenset({"10.0.0.1", "2001:db8::1"})
SITE = Site(DESTINATIONS, frozenset({"swp1", "swp2"}), OWN, frozenset({"10.0.0.255"}), ipv6=True)

octet = st.integers(0, 255)
v4 = st.builds("{}.{}.{}.{}".format, octet, octet, octet, octet)
v6 = st.integers(0, 2**128 - 1).map(lambda number: str(ipaddress.IPv6Address(number)))
interesting = st.sampled_from(
    [
        *DESTINATIONS,
        *OWN,
        "10.0.0.255",
        "0.0.0.0",
        "255.255.255.255",
        "127.0.0.1",
        "224.0.0.1",
        "::1",
        "ff02::1",
        "::",
        "10.9.9.9",
    ]
)
host = st.one_of(v4, v6, interesting)
collectors = st.one_of(st.just("10.0.0.72"), v4, host)
length = st.one_of(st.just(""), st.just("/32"), st.just("/128"), st.integers(0, 130).map("/{}".format))
port = st.sampled_from(["swp+", "bond+", "swp1", "swp2", "eth0", "+", "swp1,swp2", "!", "swp"])


@st.composite
def rule_lines(draw: st.DrawFn, family: int) -> str:
    """A legal line, or one with a flaw or two: any host, any length, any port, parts dropped or of another target."""
    flaws = draw(
        st.sets(st.sampled_from(["host", "length", "port", "part", "target", "collector", "source", "ttl"]), max_size=2)
    )
    flaws = flaws if draw(st.integers(0, 2)) == 0 else set()
    hosts = host if "host" in flaws else v4 if family == 4 else v6
    lengths = length if "length" in flaws else st.sampled_from(["", "/32" if family == 4 else "/128"])
    ports = port if "port" in flaws else st.sampled_from(["swp+", "bond+", "swp1"])
    matches = [
        draw(st.sampled_from(["-i ", "--in-interface "])) + draw(ports),
        "-s " + draw(hosts) + draw(lengths),
        "-d " + draw(hosts) + draw(lengths),
    ]
    matches = draw(st.permutations(matches))[: 2 if "part" in flaws else 3]
    target = "-j " + ("DROP" if "target" in flaws else "ERSPAN")
    sources = host if "source" in flaws else st.sampled_from(["10.0.0.250", "10.0.0.251", "10.0.0.252"])
    options = ["--src-ip " + draw(sources)]
    options.append("--dst-ip " + draw(collectors if "collector" in flaws else st.sampled_from(sorted(DESTINATIONS))))
    if draw(st.booleans()):
        options.append(f"--ttl {draw(st.integers(-1, 300) if 'ttl' in flaws else st.integers(1, 255))}")
    return " ".join(["-A FORWARD", *matches, target, *draw(st.permutations(options))])


@st.composite
def bodies(draw: st.DrawFn) -> list[str]:
    lines: list[str] = []
    for family in draw(st.lists(st.sampled_from([4, 6]), min_size=1, max_size=3)):
        lines.append("[iptables]" if family == 4 else "[ip6tables]")
        lines += draw(st.lists(st.one_of(st.sampled_from(["# x", ""]), rule_lines(family)), max_size=3))
    return lines


def accepted(lines: list[str]) -> list[Rule]:
    try:
        return parse_rules(lines, SITE)
    except RuleError:
        return []


@given(bodies())
def test_accepted_rules_are_host_pairs_to_allowed_destinations(lines: list[str]) -> None:
    for rule in accepted(lines):
        width = 32 if rule.family == 4 else 128
        assert ipaddress.ip_network(rule.source).prefixlen == width
        assert ipaddress.ip_network(rule.destination).prefixlen == width
        assert rule.erspan_destination in DESTINATIONS
        assert rule.port in {"swp+", "bond+", "swp1", "swp2"}
        for address in (rule.source, rule.destination):
            value = ipaddress.ip_address(address)
            assert address not in DESTINATIONS | OWN | {rule.erspan_source, "10.0.0.255", "255.255.255.255"}
            assert not any((value.is_multicast, value.is_loopback, value.is_unspecified))


@given(bodies())
def test_at_most_two_pairs_of_erspan_addresses(lines: list[str]) -> None:
    assert len({rule.erspan_pair for rule in accepted(lines)}) <= 2


@given(bodies())
def test_every_line_that_is_accepted_is_a_rule_a_heading_a_comment_or_empty(lines: list[str]) -> None:
    rules = accepted(lines)
    if rules:
        by_line = {rule.line for rule in rules}
        for number, line in enumerate(lines, 1):
            assert (number in by_line) == line.startswith("-A")


@given(
    st.builds(
        Rule,
        st.just(2),
        st.just(4),
        port.filter(lambda p: p.startswith(("swp+", "bond"))),
        v4,
        v4,
        v4,
        v4,
        st.none() | st.integers(1, 255),
    )
)
def test_what_is_written_is_what_is_read(rule: Rule) -> None:
    line = (
        f"-A FORWARD -i {rule.port} -s {rule.source} -d {rule.destination}"
        f" -j ERSPAN --src-ip {rule.erspan_source} --dst-ip {rule.erspan_destination}"
    )
    if rule.ttl is not None:
        line += f" --ttl {rule.ttl}"
    assert read_rules(["[iptables]", line]) == [rule]


def test_the_generator_reaches_acceptance_and_refusal() -> None:
    """Otherwise the properties above would hold of nothing."""
    seen: set[bool] = set()

    @given(bodies())
    def look(lines: list[str]) -> None:
        if any(line.startswith("-A") for line in lines):
            seen.add(bool(accepted(lines)))

    look()
    assert seen == {True, False}
