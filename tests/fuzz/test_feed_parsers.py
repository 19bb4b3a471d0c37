# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Any bytes into any feed parser give values or a FormatError, and every value is canonical."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.blacklist.formats.parsed import FormatError, Parsed
from sentinel.blacklist.formats.prefixes import canonical_prefix
from sentinel.blacklist.formats.registry import FORMATS
from sentinel.blacklist.networks import Networks
from sentinel.blacklist.rules import sift
from sentinel.blacklist.text import decode, is_html

WORDS = [
    *("203.0.113.7", "203.0.113.0/24", "2001:db8::1", "2001:db8::/32", "10.0.0.1", "0.0.0.0/0", "::/0", "/24", "-"),
    *(
        "#",
        ";",
        "//",
        "# Rev 7",
        "#fields",
        "\t",
        " ",
        ",",
        "\n",
        "\r\n",
        "\r",
        "\0",
        "\ufeff",
        '"',
        "{",
        "}",
        "[",
        "]",
    ),
    *("ExitAddress", "Intel::ADDR", "Intel::SUBNET", "indicator", "indicator_type", "cidr", "type", "metadata"),
    *("null", "1e999", "-1", "99999999999999999999", "١", "\ud800", "records", ":", "\\"),
]
TOKENS = st.sampled_from(WORDS)
PIECES = st.lists(st.one_of(TOKENS, st.text(max_size=8)), max_size=60).map("".join)


def check(parsed: Parsed) -> None:
    for entry in parsed.entries:
        assert canonical_prefix(entry.prefix) == (entry.prefix, False)
        ip_network(entry.prefix)
        assert entry.group.isprintable()
    assert all(error.excerpt.isprintable() for error in parsed.errors)
    assert len(parsed.errors) <= parsed.error_count
    sift("f", parsed.entries, Networks(["10.0.0.0/8"]), reserved_is_legal=False, now=0.0)


def parse(name: str, text: str) -> None:
    try:
        check(FORMATS[name](text, "g"))
    except FormatError:
        return


@pytest.mark.parametrize("name", sorted(FORMATS))
@given(text=PIECES)
def test_any_text(name: str, text: str) -> None:
    parse(name, text)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    text = decode(data)
    is_html(text)
    for name in FORMATS:
        parse(name, text)
