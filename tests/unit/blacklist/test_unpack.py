# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever is packed how, never more than the limit comes out, and what cannot be had has a reason."""

import gzip
import io
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from struct import pack

import pytest

from sentinel.blacklist.unpack import unpacked
from sentinel.errors import FeedError

LIST = b"203.0.113.1\n203.0.113.2\n" * 50
LIMIT = 10_000


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return data.getvalue()


def encrypted() -> bytes:
    """The flag in both headers is what tells."""
    data = bytearray(zipped(("a.txt", LIST)))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def nameless() -> bytes:
    """The library writes no such archive, but reads one: the file's name has no octets (APPNOTE.TXT 4.3.7, 4.3.12)."""
    data = bytearray(zipped(("a", LIST)))
    end, directory = data.index(b"PK\x05\x06"), data.index(b"PK\x01\x02")
    # From the back, so that nothing moves before it was changed.
    data[end + 12 : end + 20] = pack("<II", end - directory - 1, directory - 1)
    del data[directory + 46]
    data[directory + 28 : directory + 30] = bytes(2)
    del data[30]
    data[26:28] = bytes(2)
    return bytes(data)


GOOD: dict[str, bytes] = {
    "as it is": LIST,
    "gzip": gzip.compress(LIST),
    "two gzip members": gzip.compress(LIST[:100]) + gzip.compress(LIST[100:]),
    "padded gzip": gzip.compress(LIST) + b"\0" * 500,
    "zip": zipped(("list.txt", LIST)),
    "stored": zipped(("list.txt", LIST), method=zipfile.ZIP_STORED),
    "zip of a file without a name": nameless(),
    "zip with a folder": zipped(("folder/", b""), ("folder/list.txt", LIST)),
}


@pytest.mark.parametrize("name", sorted(GOOD))
def test_the_list_inside(name: str) -> None:
    assert unpacked("f", GOOD[name], LIMIT) == LIST


def test_one_of_several_files() -> None:
    archive = zipped(("readme.txt", b"hello"), ("list.txt", LIST))
    assert unpacked("f", archive, LIMIT, "list.txt") == LIST
    for member, detail in (("", "2 files are, expected one"), ("other.txt", "'other.txt' is 0 times")):
        with pytest.raises(FeedError, match=detail):
            unpacked("f", archive, LIMIT, member)


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "gzip bomb": (lambda: gzip.compress(bytes(50_000_000)), "too-large"),
    "zip bomb": (lambda: zipped(("a.txt", bytes(50_000_000))), "too-large"),
    "many gzip members": (lambda: gzip.compress(b"") * 1_001, "archive"),
    "many files": (lambda: zipped(*((f"{n}.txt", b"") for n in range(1_001))), "archive"),
    "no file": (zipped, "archive"),
    "two files": (lambda: zipped(("a.txt", LIST), ("b.txt", LIST)), "archive"),
    "gzip in gzip": (lambda: gzip.compress(gzip.compress(LIST)), "archive"),
    "zip in zip": (lambda: zipped(("a.zip", zipped(("a.txt", LIST)))), "archive"),
    "zip in gzip": (lambda: gzip.compress(zipped(("a.txt", LIST))), "archive"),
    "cut gzip": (lambda: gzip.compress(LIST)[:-5], "truncated"),
    "cut zip": (lambda: zipped(("a.txt", LIST))[:-5], "archive"),
    "rubbish behind gzip": (lambda: gzip.compress(LIST) + b"rubbish", "encoding"),
    "wrong checksum": (lambda: zipped(("a.txt", LIST), method=0).replace(b"203.0.113.2", b"203.0.113.3", 1), "archive"),
    "encrypted": (encrypted, "archive"),
    "a method that is not bounded": (lambda: zipped(("a.txt", LIST), method=zipfile.ZIP_LZMA), "archive"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_what_is_refused(name: str) -> None:
    make, reason = BAD[name]
    body = make()
    tracemalloc.start()
    try:
        with pytest.raises(FeedError) as caught:
            unpacked("f", body, LIMIT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (caught.value.reason, caught.value.feed) == (reason, "f")
    assert peak < 2_000_000


@pytest.mark.parametrize(
    "whole",
    [gzip.compress(LIST), zipped(("a.txt", LIST)), zipped(("a", LIST), ("b", LIST))],
    # Their octets hold the second they were made in, by which two test processes would know two tests.
    ids=["gzip", "zip", "two in a zip"],
)
def test_damage_anywhere_gives_a_list_or_a_reason_and_nothing_else(whole: bytes) -> None:
    chosen = random.Random(7)
    for _ in range(400):
        body = bytearray(whole)
        for _ in range(chosen.randint(1, 4)):
            body[chosen.randrange(len(body))] = chosen.randrange(256)
        cut = bytes(body[: chosen.randrange(len(body)) if chosen.random() < 0.3 else len(body)])
        try:
            unpacked("f", cut, LIMIT)
        except FeedError:
            continue
