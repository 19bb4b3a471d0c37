# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Filters: printed and read again they are the same, and a slow obvious reading of them finds the same rows."""

import fnmatch
import ipaddress
import time

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentinel.filters import (
    Address,
    Choice,
    Filter,
    FilterError,
    Keys,
    Number,
    Term,
    Text,
    Value,
    exactly,
    of_terms,
    parse,
)
from sentinel.limits import MAX_FILTER_VALUE_CHARS

STATES = ("open", "closed", "delisted")
KEYS: Keys = {"name": Text(("names",)), "state": Choice(STATES), "port": Number(9), "ip": Address(("src", "dst"))}
# Few letters, so that values meet; among them all that mean something to the language or to RE2.
LETTERS = 'ab*?."\\ \n-:~[(é'
WORDS = st.text(LETTERS, max_size=6)
HOSTS = st.builds(lambda last: f"10.0.0.{last}", st.integers(0, 7)) | st.sampled_from(["::1", "::2"])


def _prefix(host: str, shorter: int) -> str:
    address = ipaddress.ip_address(host)
    return str(ipaddress.ip_network((host, address.max_prefixlen - shorter), strict=False))


TERMS = st.one_of(
    st.builds(Term, st.just("name"), st.just(":"), WORDS, st.booleans()),
    st.builds(Term, st.just("state"), st.just(":"), st.sampled_from([*STATES, "*ed", "o*", "?pen"]), st.booleans()),
    st.builds(Term, st.just("port"), st.just(":"), st.sampled_from(["1", "3", "0-4", "5-9", "007"]), st.booleans()),
    st.builds(Term, st.just("ip"), st.just(":"), st.builds(_prefix, HOSTS, st.integers(0, 3)), st.booleans()),
)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "names": st.lists(WORDS, max_size=3),
        "state": st.sampled_from(STATES),
        "port": st.integers(0, 9),
        "src": HOSTS,
        "dst": HOSTS,
    },
)


def _fits(term: Term, value: Value) -> bool:
    if term.key == "port":
        first, _, last = term.value.partition("-")
        return isinstance(value, int) and int(first) <= value <= int(last or first)
    if term.key == "ip":
        return ipaddress.ip_address(str(value)) in ipaddress.ip_network(term.value)
    return _glob_fits(term.value, str(value))


def _glob_fits(glob: str, text: str) -> bool:
    """Try every length for every star."""
    if not glob:
        return not text
    if glob[0] == "*":
        return any(_glob_fits(glob[1:], text[cut:]) for cut in range(len(text) + 1))
    literal, rest = (glob[1], glob[2:]) if glob[0] == "\\" and len(glob) > 1 else (glob[0], glob[1:])
    same = bool(text) and (glob[0] == "?" or text[0] == literal)
    return same and _glob_fits(rest, text[1:])


def _passes(terms: list[Term], row: dict[str, Value]) -> bool:
    """Read the terms one by one, as the module's text says."""
    for key in {term.key for term in terms}:
        found: list[Value] = []
        for name in KEYS[key].fields or (key,):
            value = row.get(name)
            found += value if isinstance(value, list) else [value] if value is not None else []
        mine = [(term, any(_fits(term, value) for value in found)) for term in terms if term.key == key]
        if any(hit for term, hit in mine if term.negated):
            return False
        wanted = [hit for term, hit in mine if not term.negated]
        if wanted and not any(wanted):
            return False
    return True


@given(st.lists(TERMS, max_size=6), ROWS)
def test_the_obvious_reading_finds_the_same_rows(terms: list[Term], row: dict[str, Value]) -> None:
    assert of_terms(terms, KEYS).matches(row.get) == _passes(terms, row)


@given(st.lists(TERMS | st.builds(Term, st.just("name"), st.just("~"), st.text('ab.\\ "*', max_size=5)), max_size=4))
def test_a_printed_filter_is_the_same_again(terms: list[Term]) -> None:
    try:
        made = of_terms(terms, KEYS)
    except FilterError:
        return
    again = parse(str(made), KEYS)
    assert again == made
    assert [(test.fields, test.ranges, test.negated) for test in again.tests] == [
        (test.fields, test.ranges, test.negated) for test in made.tests
    ]


@given(WORDS, WORDS)
def test_an_exact_term_is_equality(one: str, other: str) -> None:
    wanted = of_terms([exactly("name", one)], KEYS)
    assert wanted.matches({"names": one}.get)
    assert wanted.matches({"names": other}.get) == (one == other)


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=12))
def test_a_glob_is_the_shell_s(glob: str, text: str) -> None:
    wanted = of_terms([Term("name", ":", glob)], KEYS)
    assert wanted.matches({"names": text}.get) == fnmatch.fnmatchcase(text, glob)


@given(st.text(max_size=60) | st.text(LETTERS + "namestport019/", max_size=60))
@example("name~((a{9}){9}){9}")
@example('name~"\ud800"')
def test_any_text_is_a_filter_or_an_error_of_its_own(text: str) -> None:
    try:
        found = parse(text, KEYS)
    except FilterError as error:
        assert error.position is None or 0 <= error.position <= len(text)
        return
    assert isinstance(found, Filter)
    row: dict[str, Value] = {"names": text, "state": "open", "port": 3, "src": text}
    found.matches(row.get)
    assert parse(str(found), KEYS) == found


@settings(deadline=None)
@given(
    st.sampled_from(["(a*)*b", "(a|aa)*b", "(a+)+b", "(a?){50}a{50}", "(.*a.*){10}b", "a*a*a*a*a*a*b", "([^b]*a)*b"]),
    st.sampled_from(":~"),
)
def test_hostile_expressions_and_globs_finish(expression: str, operator: str) -> None:
    """Python's own expressions need more than the age of the universe for most of these."""
    assert len(expression) <= MAX_FILTER_VALUE_CHARS
    value = expression if operator == "~" else "*a" * 60 + "b"
    wanted = parse(f"name{operator}{value}", KEYS)
    began = time.monotonic()
    assert not wanted.matches({"names": "a" * 20_000}.get)
    assert time.monotonic() - began < 5
