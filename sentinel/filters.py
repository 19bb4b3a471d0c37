# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The filter language of every list.

A filter is terms with white space between them::

    key:value    the value of ``key`` is this one; of several such terms of one key, one is enough
    key~regex    the same, with an expression in RE2's syntax that the whole value has to match
    -key:value   none of the terms of this key that begin with ``-`` may match

Terms of different keys must all hold. The kind of a key says how its values are written:

- text: a glob over the whole value, ``*`` any characters, ``?`` one, a backslash before a character takes it as it is;
- choice: the same, and at least one of the choices must match it;
- number: ``53``, a range ``1024-65535``, or a name that the key knows;
- address: an address or a prefix, ``10.1.0.0/16``, in which the value lies.

A value with white space stands in ``"``, and a ``"`` inside is doubled; the backslash has no meaning there beyond that
of globs and expressions. RE2 takes time linear in the value's length, whatever the expression.
"""

import difflib
import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_pton
from typing import Literal, cast

import re2

from sentinel.errors import OutsideError
from sentinel.limits import (
    MAX_FILTER_CHARS,
    MAX_FILTER_EXPRESSION_BYTES,
    MAX_FILTER_EXPRESSIONS,
    MAX_FILTER_TERMS,
    MAX_FILTER_VALUE_CHARS,
    MAX_FILTER_VALUES_KEPT,
)

Range = tuple[int, int] | tuple[bytes, bytes]
# The value of a field of a row: one, several of which one is enough, or none.
Value = str | int | float | None | Collection[str | int | float]
Getter = Callable[[str], Value]

_LARGEST = 2**64 - 1
_SPACE = " \t\r\n"
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_RANGE = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")
_EXCERPT_CHARS = 60
_SHOWN_KEYS = 40


@dataclass(frozen=True, slots=True)
class Text:
    """A key whose values are text; ``fields`` names the fields of a row if they are not the one of the key's name."""

    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """A key whose value is one of ``choices``."""

    choices: tuple[str, ...]
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Number:
    """A key whose value is a number from 0 to ``largest``; ``names`` are words for some of them."""

    largest: int = _LARGEST
    names: Mapping[str, int] = field(default_factory=dict, hash=False)
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Address:
    """A key whose value is an address, or a prefix that lies in the one of the filter as a whole."""

    fields: tuple[str, ...] = ()


Key = Text | Choice | Number | Address
Keys = Mapping[str, Key]


class FilterError(OutsideError):
    """A filter that means nothing: ``got`` at ``position`` (characters from 0), and what was ``expected`` there.

    ``position`` is ``None`` for terms that were not written as a filter.
    """

    def __init__(self, got: str, expected: str, position: int | None = None, key: str = "") -> None:
        self.got = got[:_EXCERPT_CHARS]
        self.expected = expected
        self.position = position
        self.key = key
        where = f"{key}: " if key else ""
        at = "" if position is None else f"character {position + 1}: "
        super().__init__(f"{at}{where}got {self.got!r}, expected {expected}")


@dataclass(frozen=True, slots=True)
class Term:
    """One term as it was written, without the quotes."""

    key: str
    operator: Literal[":", "~"]
    value: str
    negated: bool = False

    def __str__(self) -> str:
        """Return the term as ``parse`` reads it."""
        bare = self.value and not self.value.startswith('"') and not any(each in _SPACE for each in self.value)
        value = self.value if bare else '"' + self.value.replace('"', '""') + '"'
        return f"{'-' if self.negated else ''}{self.key}{self.operator}{value}"


@dataclass(frozen=True, slots=True)
class Test:
    """All terms of one key and sign: one of ``fields`` lies in one of ``ranges`` or fits one of ``patterns``."""

    fields: tuple[str, ...]
    ranges: tuple[Range, ...]
    patterns: tuple[Callable[[str], bool], ...]
    negated: bool

    def matches(self, get: Getter) -> bool:
        """Return whether a row passes, whose fields ``get`` returns."""
        found = any(self._fits(value) for name in self.fields for value in _values(get(name)))
        return found != self.negated

    def _fits(self, value: str | int | float) -> bool:
        if self.patterns:
            text = str(value)
            return any(pattern(text) for pattern in self.patterns)
        if not isinstance(value, str):
            # Ranges of one key are all of one type: numbers here, octets below.
            return any(first <= value <= last for first, last in cast("tuple[tuple[int, int], ...]", self.ranges))
        low, high = _octets(value)
        ranges = cast("tuple[tuple[bytes, bytes], ...]", self.ranges)
        return any(len(low) == len(first) and first <= low and high <= last for first, last in ranges)


@dataclass(frozen=True, slots=True)
class Filter:
    """Terms, and the tests that they are: all must hold. ``str`` returns what ``parse`` makes the same filter of."""

    terms: tuple[Term, ...] = ()
    tests: tuple[Test, ...] = field(default=(), compare=False)

    def matches(self, get: Getter) -> bool:
        """Return whether a row passes, whose fields ``get`` returns: a value, several, or ``None``."""
        return all(test.matches(get) for test in self.tests)

    def __str__(self) -> str:
        """Return the filter as text."""
        return " ".join(map(str, self.terms))


def parse(text: str, keys: Keys) -> Filter:
    """Return the filter that ``text`` writes; FilterError."""
    if len(text) > MAX_FILTER_CHARS:
        raise FilterError(text, f"a filter of at most {MAX_FILTER_CHARS} characters, this one has {len(text)}", 0)
    terms, positions = [], []
    for position, term in _terms(text, keys):
        terms.append(term)
        positions.append(position)
        if len(terms) > MAX_FILTER_TERMS:
            raise FilterError(str(term), f"at most {MAX_FILTER_TERMS} terms", position)
    return _compiled(terms, keys, positions)


def of_terms(terms: Iterable[Term], keys: Keys) -> Filter:
    """Return the filter of terms that a program made; FilterError without a position."""
    return _compiled(list(terms), keys, None)


def exactly(key: str, value: str) -> Term:
    """Return the term of one whole value, in which no character is a wildcard."""
    return Term(key, ":", re.sub(r"([*?\\])", r"\\\1", value))


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that was probably meant, in words, else the known ones."""
    listed = sorted(known)
    near = difflib.get_close_matches(word[:64], listed, 1)
    if near:
        return f"did you mean {near[0]}?"
    more = f" and {len(listed) - _SHOWN_KEYS} more" if len(listed) > _SHOWN_KEYS else ""
    return f"known are {', '.join(listed[:_SHOWN_KEYS])}{more}" if listed else "none is known here"


def _terms(text: str, keys: Keys) -> Iterator[tuple[int, Term]]:
    at = 0
    while True:
        while at < len(text) and text[at] in _SPACE:
            at += 1
        if at == len(text):
            return
        start = at
        negated = text[at] == "-"
        at += negated
        name = _KEY.match(text, at)
        end = name.end() if name else at
        if name is None or text[end : end + 1] not in (":", "~"):
            raise FilterError(_word(text, start), "a term such as key:value, -key:value or key~regex", start)
        if name[0] not in keys:
            raise FilterError(name[0], f"a key: {nearest(name[0], keys)}", at)
        operator: Literal[":", "~"] = ":" if text[end] == ":" else "~"
        value, at = _value(text, end + 1)
        yield start, Term(name[0], operator, value, negated)


def _word(text: str, at: int) -> str:
    end = at
    while end < len(text) and text[end] not in _SPACE:
        end += 1
    return text[at:end]


def _value(text: str, at: int) -> tuple[str, int]:
    """Return a value that begins at ``at``, and the place behind it."""
    if text[at : at + 1] != '"':
        word = _word(text, at)
        if not word:
            raise FilterError(text[at : at + 1], 'a value; an empty one is written ""', at)
        return word, at + len(word)
    pieces, start = [], at + 1
    while True:
        end = text.find('"', start)
        if end < 0:
            raise FilterError(text[at:], 'a closing "', at)
        pieces.append(text[start:end])
        if text[end + 1 : end + 2] != '"':
            break
        pieces.append('"')
        start = end + 2
    if text[end + 1 : end + 2] not in ("", *_SPACE):
        raise FilterError(text[end + 1 :], "white space behind a value in quotes", end + 1)
    return "".join(pieces), end + 1


def _compiled(terms: list[Term], keys: Keys, positions: list[int] | None) -> Filter:
    ranges: dict[tuple[str, bool], list[Range]] = {}
    patterns: dict[tuple[str, bool], list[Callable[[str], bool]]] = {}
    expressions = 0
    for number, term in enumerate(terms):
        position = None if positions is None else positions[number]
        expressions += term.operator == "~"
        if expressions > MAX_FILTER_EXPRESSIONS:
            raise FilterError(str(term), f"at most {MAX_FILTER_EXPRESSIONS} terms with ~", position)
        try:
            place = (term.key, term.negated)
            kind = keys[term.key]
            ranges.setdefault(place, [])
            patterns.setdefault(place, [])
            if isinstance(kind, Text | Choice):
                patterns[place].append(_pattern(kind, term))
            else:
                ranges[place].append(_range(kind, term))
        except _UnexpectedError as error:
            raise FilterError(term.value, error.expected, position, term.key) from None
    tests = (
        Test(keys[key].fields or (key,), tuple(ranges[key, negated]), tuple(patterns[key, negated]), negated)
        for key, negated in ranges
    )
    return Filter(tuple(terms), tuple(tests))


class _UnexpectedError(Exception):
    """A value that its key does not take."""

    def __init__(self, expected: str) -> None:
        self.expected = expected


def _check_text(value: str) -> None:
    if len(value) > MAX_FILTER_VALUE_CHARS:
        raise _UnexpectedError(f"at most {MAX_FILTER_VALUE_CHARS} characters, these are {len(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _UnexpectedError("text that UTF-8 can write") from None


def _pattern(kind: Text | Choice, term: Term) -> Callable[[str], bool]:
    _check_text(term.value)
    pattern = _expression(term.value) if term.operator == "~" else _glob(term.value)
    pattern = lru_cache(MAX_FILTER_VALUES_KEPT)(pattern)
    if isinstance(kind, Choice) and not any(map(pattern, kind.choices)):
        raise _UnexpectedError(f"one of {', '.join(kind.choices)}")
    return pattern


def _glob(text: str) -> Callable[[str], bool]:
    """Return the test of a glob; by RE2, since Python's own expressions are slow on several ``*``."""
    parts, literal, at = [], [], 0
    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text):
            at += 1
            literal.append(text[at])
            parts.append(re2.escape(text[at]))
        elif char in "*?":
            parts.append(".*" if char == "*" else ".")
        else:
            literal.append(char)
            parts.append(re2.escape(char))
        at += 1
    if len(literal) == len(parts):
        return "".join(literal).__eq__
    return _expression("(?s)" + "".join(parts))


def _expression(text: str) -> Callable[[str], bool]:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = MAX_FILTER_EXPRESSION_BYTES
    try:
        compiled = re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise _UnexpectedError(f"an expression in RE2's syntax: {reason[:_EXCERPT_CHARS]}") from None
    # A row may hold half of a surrogate pair, as text from outside does; RE2 reads UTF-8.
    return lambda value: compiled.fullmatch(value.encode("utf-8", "replace").decode()) is not None


def _range(kind: Number | Address, term: Term) -> Range:
    if term.operator == "~":
        raise _UnexpectedError(f"{term.key}:value, since expressions are for text")
    return _numbers(kind, term.value) if isinstance(kind, Number) else _addresses(term.value)


def _numbers(kind: Number, word: str) -> tuple[int, int]:
    if word in kind.names:
        return kind.names[word], kind.names[word]
    found = _RANGE.fullmatch(word)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not first <= last <= kind.largest:
        names = f" or one of {', '.join(kind.names)}" if kind.names else ""
        raise _UnexpectedError(f"a number from 0 to {kind.largest}, a range such as 1-6{names}")
    return first, last


def _addresses(word: str) -> tuple[bytes, bytes]:
    """Return the first and the last address of a prefix, 4 or 16 octets each."""
    try:
        network = ipaddress.ip_network(word, strict=False) if "%" not in word else None
    except ValueError:
        network = None
    if network is None:
        raise _UnexpectedError("an address or a prefix, such as 10.1.0.0/16")
    if ipaddress.ip_address(word.partition("/")[0]) != network.network_address:
        raise _UnexpectedError(f"no bits beyond the prefix: did you mean {network}?")
    return network.network_address.packed, network.broadcast_address.packed


def _octets(text: str) -> tuple[bytes, bytes]:
    """Return the first and last address of a row's address or prefix; octets of no address if it is neither."""
    try:
        packed = inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            return b"", b""
        return network.network_address.packed, network.broadcast_address.packed
    return packed, packed


def _values(value: Value) -> Iterable[str | int | float]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str | int | float) else value
