# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The filter language: any text is a filter that is read the same when printed, or an allowed error.

The first line is the filter, the rest is a value that it is tried on.
Allowed: ``FilterError``, whose position lies in the text.
"""

from sentinel.filters import FilterError, Value, parse
from tests.property.test_filters import KEYS

WORDS = [b"name:", b"name~", b"state:open", b"port:1-6", b"ip:10.0.0.0/8", b"ip:::/0", b"-", b'"', b'""', b" ", b"*"]
WORDS += [b"\\", b"(?s)", b"(?:", b"{1,99}", b"\\pL", b"[^", b"|", b"\\Q", b"\\E"]


def one(data: bytes) -> None:
    first, _, rest = data.partition(b"\n")
    text, value = first.decode("utf-8", "surrogateescape"), rest.decode("utf-8", "surrogateescape")
    try:
        found = parse(text, KEYS)
    except FilterError as error:
        assert error.position is not None
        assert 0 <= error.position <= len(text)
        return
    assert parse(str(found), KEYS) == found
    row: dict[str, Value] = {"names": value, "state": "open", "port": len(value), "src": value}
    assert found.matches(row.get) == parse(str(found), KEYS).matches(row.get)


def seeds() -> list[bytes]:
    return [
        b"name:leaf* -name:leaf?1\nleaf1",
        b'name:"a ""b"" c" state:open\na "b" c',
        b"name~(a*)*b|\\d+ port:1-6\naaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"ip:10.0.0.0/8 ip:2001:db8::/32 -ip:10.1.0.0/16\n10.2.0.1",
        b"state:o* port:3\nabc",
    ]
