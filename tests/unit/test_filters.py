# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The filter language: what terms mean, and how an error names the place, the token and what was expected."""

from collections.abc import Mapping

import pytest

from sentinel.filters import Address, Choice, FilterError, Keys, Number, Term, Text, Value, exactly, of_terms, parse
from sentinel.limits import MAX_FILTER_CHARS, MAX_FILTER_EXPRESSIONS, MAX_FILTER_TERMS, MAX_FILTER_VALUE_CHARS

KEYS: Keys = {
    "name": Text(),
    "state": Choice(("open", "closed", "delisted")),
    "port": Number(65_535, fields=("src_port", "dst_port")),
    "protocol": Number(255, {"tcp": 6, "udp": 17}),
    "ip": Address(("src_ip", "dst_ip")),
    "feed": Text(("feeds",)),
}
ROW: dict[str, Value] = {
    "name": "leaf 1.example",
    "state": "open",
    "src_port": 40_000,
    "dst_port": 53,
    "protocol": 17,
    "src_ip": "10.1.2.3",
    "dst_ip": "2001:db8::5",
    "feeds": ("demo", "drop"),
}


def passes(text: str, row: Mapping[str, Value] = ROW) -> bool:
    return parse(text, KEYS).matches(row.get)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \t\n",
        "state:open",
        "state:closed state:open",
        "state:open port:53",
        "-state:closed",
        "-state:closed -state:delisted state:open",
        "state:o*",
        'name:"leaf 1.example"',
        "name:leaf*",
        "name:leaf?1.example",
        "name:*",
        "name~leaf.[0-9]+.*",
        'name~"leaf 1\\.example"',
        "-name~leaf",
        "port:53",
        "port:1-1023",
        "port:40000",
        "protocol:udp",
        "protocol:6 protocol:17",
        "ip:10.0.0.0/8",
        "ip:10.1.2.3",
        "ip:2001:db8::/32",
        "-ip:10.2.0.0/16",
        "feed:demo",
        "feed:drop feed:nothing",
        "feed:d* -feed:x",
    ],
)
def test_a_row_passes(text: str) -> None:
    assert passes(text)


@pytest.mark.parametrize(
    "text",
    [
        "state:closed",
        "state:open port:54",
        "-state:open",
        "state:open -state:o*",
        "name:leaf",
        "name:1.example",
        "name:LEAF*",
        "name:leaf\\*",
        "name~leaf",
        "name~example",
        "port:54",
        "port:1-52",
        "protocol:tcp",
        "ip:10.2.0.0/16",
        "ip:::/0 ip:0.0.0.0/0 -ip:10.1.2.3",
        "-feed:drop",
        "feed:demodrop",
    ],
)
def test_a_row_does_not_pass(text: str) -> None:
    assert not passes(text)


def test_a_field_that_is_absent_passes_only_what_excludes() -> None:
    for text in ("name:*", "port:0-65535", "ip:0.0.0.0/0", "feed:*", "name~.*"):
        assert not passes(text, {})
        assert passes("-" + text, {})
        assert not passes(text, {"feeds": ()})


def test_a_prefix_in_a_row_lies_in_the_filter_s_as_a_whole() -> None:
    assert passes("ip:10.0.0.0/8", {"src_ip": "10.1.0.0/16"})
    assert not passes("ip:10.1.0.0/24", {"src_ip": "10.1.0.0/16"})
    assert not passes("ip:0.0.0.0/0", {"src_ip": "rubbish"})


def test_rows_of_text_that_utf8_cannot_write_are_read() -> None:
    assert passes("name~a.b", {"name": "a\ud800b"})
    assert passes("name:a*b", {"name": "a\ud800\nb"})


def test_a_whole_value_has_no_wildcards() -> None:
    wanted = of_terms([exactly("name", "a*b?\\c")], KEYS)
    assert wanted.matches({"name": "a*b?\\c"}.get)
    assert not wanted.matches({"name": "axb?\\c"}.get)


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("state:opne", 0, "character 1: state: got 'opne', expected one of open, closed, delisted"),
        ("name:x stat:open", 7, "character 8: got 'stat', expected a key: did you mean state?"),
        ("-nam:x", 1, "character 2: got 'nam', expected a key: did you mean name?"),
        ("zzz:x", 0, "expected a key: known are feed, ip, name, port, protocol, state"),
        ("name:a b", 7, "character 8: got 'b', expected a term such as key:value, -key:value or key~regex"),
        ("-", 0, "got '-', expected a term"),
        ("name:", 5, "got '', expected a value; an empty one is written \"\""),
        ('name:"a', 5, 'expected a closing "'),
        ('name:"a"b', 8, "got 'b', expected white space behind a value in quotes"),
        ("port:65536", 0, "port: got '65536', expected a number from 0 to 65535, a range such as 1-6"),
        ("port:9-3", 0, "expected a number"),
        ("protocol:tpc", 0, "or one of tcp, udp"),
        ("ip:10.1.2.3/8", 0, "did you mean 10.0.0.0/8?"),
        ("ip:fe80::1%eth0", 0, "an address or a prefix"),
        ("ip~10", 0, "ip: got '10', expected ip:value, since expressions are for text"),
        ("name~(", 0, "expected an expression in RE2's syntax: missing )"),
        ("name~(?=a)", 0, "expected an expression in RE2's syntax"),
        ("name~" + "((a{9}){9}){9}" * 4, 0, "expected an expression in RE2's syntax: pattern too large"),
        ("name~" + "a" * (MAX_FILTER_VALUE_CHARS + 1), 0, "expected at most 200 characters, these are 201"),
        ("name:\ud800", 0, "text that UTF-8 can write"),
        ("name:x " * (MAX_FILTER_TERMS + 1), 7 * MAX_FILTER_TERMS, "expected at most 64 terms"),
        ("name~x " * (MAX_FILTER_EXPRESSIONS + 1), 7 * MAX_FILTER_EXPRESSIONS, "expected at most 4 terms with ~"),
        (" " * (MAX_FILTER_CHARS + 1), 0, "expected a filter of at most 4000 characters, this one has 4001"),
    ],
)
def test_an_error_names_the_place(text: str, position: int, message: str) -> None:
    with pytest.raises(FilterError) as error:
        parse(text, KEYS)
    assert error.value.position == position
    assert message in str(error.value)


def test_a_program_s_terms_have_no_place() -> None:
    with pytest.raises(FilterError, match=r"^port: got 'x', expected a number") as error:
        of_terms([Term("port", ":", "x")], KEYS)
    assert error.value.position is None


def test_a_filter_becomes_ranges_of_fields() -> None:
    (ports, addresses) = parse("-port:53 ip:10.0.0.0/31 -port:1-6", KEYS).tests
    assert (ports.fields, ports.ranges, ports.negated) == (("src_port", "dst_port"), ((53, 53), (1, 6)), True)
    assert (addresses.fields, addresses.ranges) == (("src_ip", "dst_ip"), ((b"\n\0\0\0", b"\n\0\0\1"),))
