# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Plain lists and the bytes they come in."""

import codecs

import pytest

from sentinel.blacklist.formats.parsed import Entry, FormatError, LineError
from sentinel.blacklist.formats.plain import parse
from sentinel.blacklist.text import decode, is_html
from sentinel.limits import MAX_FEED_EXCERPT_CHARS, MAX_FEED_LINE_CHARS, MAX_FEED_LINE_ERRORS_KEPT, MAX_FEED_LINES


def prefixes(text: str) -> list[str]:
    parsed = parse(text, "g")
    assert parsed.errors == []
    return [entry.prefix for entry in parsed.entries]


@pytest.mark.parametrize(
    ("line", "prefix"),
    [
        ("198.51.100.7", ["198.51.100.7/32"]),
        ("  198.51.100.7\t", ["198.51.100.7/32"]),
        ("198.51.100.0/24", ["198.51.100.0/24"]),
        ("198.51.100.0/255.255.255.0", ["198.51.100.0/24"]),
        ("198.51.100.7/0.0.0.0", ["0.0.0.0/0"]),
        ("198.51.100.7/024", ["198.51.100.0/24"]),
        ("198.51.100.0/24 ; SBL123", ["198.51.100.0/24"]),
        ("198.51.100.7 # seen today", ["198.51.100.7/32"]),
        ("198.51.100.7//seen", ["198.51.100.7/32"]),
        ("198.51.100.7;seen", ["198.51.100.7/32"]),
        ("2001:DB8:0:0::1", ["2001:db8::1/128"]),
        ("2001:db8::/32", ["2001:db8::/32"]),
        ("2001:db8::1 # seen: today", ["2001:db8::1/128"]),
        ("2001:db8::1,2001:db8::2", ["2001:db8::1/128", "2001:db8::2/128"]),
        ("::ffff:198.51.100.7", ["::ffff:198.51.100.7/128"]),
        ("198.51.100.7, 198.51.100.8", ["198.51.100.7/32", "198.51.100.8/32"]),
        ("198.51.100.6-198.51.100.9", ["198.51.100.6/31", "198.51.100.8/31"]),
        ("198.51.100.7 - 198.51.100.7", ["198.51.100.7/32"]),
        ("0.0.0.0-255.255.255.255", ["0.0.0.0/0"]),
        ("2001:db8::-2001:db8::ffff", ["2001:db8::/112"]),
        ("# 198.51.100.7", []),
        ("; 198.51.100.7", []),
        ("// 198.51.100.7", []),
        ("", []),
    ],
)
def test_a_line(line: str, prefix: list[str]) -> None:
    assert prefixes(line) == prefix


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("198.51.100", "not an IP address"),
        ("198.51.100.256", "not an IP address"),
        ("198.51.100.07", "not an IP address"),
        ("0x7f.1", "not an IP address"),
        ("fe80::1%eth0", "not an IP address"),
        ("listed.example", "not an IP address"),
        ("198.51.100.7/", "prefix length is not 0 to 32"),
        ("198.51.100.7/33", "prefix length is not 0 to 32"),
        ("198.51.100.7/-1", "prefix length is not 0 to 32"),
        ("198.51.100.7/٢٤", "prefix length is not 0 to 32"),
        ("198.51.100.7/255.0.255.0", "netmask with holes"),
        ("198.51.100.7/1.2", "not an IP address"),
        ("2001:db8::/129", "prefix length is not 0 to 128"),
        ("198.51.100.7 10", "more on the line than addresses"),
        ("198.51.100.9-198.51.100.6", "range ends before it starts"),
        ("198.51.100.9-2001:db8::1", "range between an IPv4 and an IPv6 address"),
        ("198.51.100.7\0", "not an IP address"),
        ("1.2.3.4\0.5", "not an IP address"),
        ("1" * 100, "not an IP address"),
        ("7" * (MAX_FEED_LINE_CHARS + 1), f"line longer than {MAX_FEED_LINE_CHARS} characters"),
    ],
)
def test_an_unreadable_line_is_named_and_the_next_one_read(line: str, reason: str) -> None:
    parsed = parse(f"203.0.113.1\n{line}\n203.0.113.3\n", "g")
    assert [entry.line for entry in parsed.entries] == [1, 3]
    (error,) = parsed.errors
    assert (error.line, error.reason) == (2, reason)
    assert len(error.excerpt) <= MAX_FEED_EXCERPT_CHARS
    assert error.excerpt.isprintable()


def test_host_bits_are_cleared_and_counted() -> None:
    parsed = parse("198.51.100.7/24\n198.51.100.0/24\n2001:db8::1/32\n", "g")
    assert [entry.prefix for entry in parsed.entries] == ["198.51.100.0/24", "198.51.100.0/24", "2001:db8::/32"]
    assert parsed.masked == 2


def test_errors_kept_are_few_and_counted_all() -> None:
    parsed = parse("rubbish\n" * 1000, "g")
    assert parsed.error_count == 1000
    assert parsed.errors == [
        LineError(n, "rubbish", "not an IP address") for n in range(1, MAX_FEED_LINE_ERRORS_KEPT + 1)
    ]


def test_more_lines_than_any_feed_has() -> None:
    with pytest.raises(FormatError) as caught:
        parse("\n" * (MAX_FEED_LINES + 1), "g")
    assert caught.value.reason == "too-many-lines"


LINES = ["198.51.100.7\n", "198.51.100.0/24\n", "198.51.100.0-198.51.100.255\n", "2001:db8::1\n"]


@pytest.mark.parametrize("line", LINES)
def test_more_entries_than_any_feed_has(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel.blacklist.formats.parsed.MAX_FEED_ENTRIES", 10)
    monkeypatch.setattr("sentinel.blacklist.formats.plain.MAX_FEED_ENTRIES", 10)
    assert len(parse(line * 10, "g").entries) == 10
    with pytest.raises(FormatError) as caught:
        parse(line * 11, "g")
    assert caught.value.reason == "too-many-entries"


TEXT = "# caf\u00e9\r\n198.51.100.7\r\n2001:db8::1\r\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.replace("\u00e9", "e").encode("utf-16-le"),
        TEXT.replace("\u00e9", "e").encode("utf-16-be"),
        TEXT.encode("latin-1"),
        TEXT.replace("\r\n", "\n").encode(),
        TEXT.replace("\r\n", "\r").encode(),
    ],
)
def test_every_encoding_and_line_end_gives_the_same(data: bytes) -> None:
    parsed = parse(decode(data), "g")
    assert parsed.entries == [Entry("198.51.100.7/32", "g", 2), Entry("2001:db8::1/128", "g", 3)]
    assert parsed.errors == []


@pytest.mark.parametrize(
    "text", ["<!DOCTYPE html>", "\ufeff \n<html>", "<?xml version='1.0'?>", "Warning: x\n<HTML lang=en>\n <head>"]
)
def test_a_web_page_is_known(text: str) -> None:
    assert is_html(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "198.51.100.7\n",
        "# a < b\n198.51.100.7",
        "1.2.3.4\n<script>x\n1.2.3.5\n",
        "1.2.3.4,<html><body>\n",
        '{"cidr": "1.2.3.0/24"}',
    ],
)
def test_a_list_is_no_web_page(text: str) -> None:
    assert not is_html(text)
