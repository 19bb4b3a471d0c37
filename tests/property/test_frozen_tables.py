# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled scan's flat tables answer every address exactly as the tries do that they were made from."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.blacklist import trie
from sentinel.blacklist.formats.parsed import Entry
from sentinel.blacklist.formats.prefixes import bounds, canonical_prefix, unpack
from sentinel.blacklist.trie import Allowed, Blacklist, Current
from tests.support.twins import native


def prefix(value: int, length: int, bits: int) -> str:
    return canonical_prefix(f"{unpack(value.to_bytes(bits // 8))}/{length}")[0]


def around(prefixes: list[str]) -> Iterator[bytes]:
    """Both ends of each prefix and their neighbours outside."""
    for one in prefixes:
        family, first, last = bounds(one)
        size = 4 if family == 4 else 16
        for value in (first, last, first - 1, last + 1):
            if 0 <= value < 1 << 8 * size:
                yield value.to_bytes(size)


def compare(listed: list[str], allowed: list[str], asked: list[bytes]) -> None:
    entries: dict[str, list[Entry]] = {"one": [], "two": []}
    for number, each in enumerate(listed):
        entries["two" if number % 3 == 0 else "one"].append(Entry(each, f"group{number % 4}", number))
    lists = Blacklist.build(entries, [Allowed(each, "config") for each in allowed])
    tables = native().Frozen(lists)
    for packed in [*asked, *around(listed), *around(allowed)]:
        assert tables.lookup_packed(packed) == lists.lookup_packed(packed), packed.hex()


def close(bits: int) -> st.SearchStrategy[str]:
    """Prefixes that often nest: few different upper bits, any length."""
    values = st.integers(0, 7).flatmap(
        lambda upper: st.integers(0, 255).map(lambda lower: upper << (bits - 3) | lower << (bits // 2) | lower)
    )
    return st.builds(lambda value, length: prefix(value, length, bits), values, st.integers(0, bits))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(close(32) | close(128), max_size=25),
    st.lists(close(32) | close(128), max_size=4),
    st.lists(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16), max_size=20),
)
def test_any_lists(listed: list[str], allowed: list[str], asked: list[bytes]) -> None:
    compare(listed, allowed, asked)


@pytest.mark.parametrize("bits", [32, 128])
@pytest.mark.parametrize("seed", range(3))
def test_many_prefixes(bits: int, seed: int) -> None:
    chance = random.Random(seed)
    shortest = 8 if bits == 32 else 19
    listed = [prefix(chance.getrandbits(bits), chance.randint(shortest, bits), bits) for _ in range(4_000)]
    allowed = [prefix(chance.getrandbits(bits), chance.randint(4, 12), bits) for _ in range(3)]
    compare(listed, allowed, [chance.getrandbits(bits).to_bytes(bits // 8) for _ in range(4_000)])


@pytest.mark.parametrize("with_tables", [False, True])
def test_large_lists_answer_from_tables_alone(monkeypatch: pytest.MonkeyPatch, *, with_tables: bool) -> None:
    chance = random.Random(9)
    listed = [prefix(chance.getrandbits(32), chance.randint(8, 32), 32) for _ in range(500)]
    listed += [prefix(chance.getrandbits(128), chance.randint(19, 128), 128) for _ in range(500)]
    allowed = [Allowed(prefix(chance.getrandbits(32), 6, 32), "config")]
    entries = {"one": [Entry(each, f"group{n % 3}", n) for n, each in enumerate(listed)]}
    small = Blacklist.build(entries, allowed)
    monkeypatch.setattr(trie, "_FROZEN_UP_TO", 0)
    large = Blacklist.build(entries, allowed)
    current = Current(prepare=native().frozen if with_tables else None)
    current.replace(large)
    assert (large.compiled is not None) == with_tables
    assert len(large) == len(small)
    assert (large.prefixes_v4, large.prefixes_v6) == (small.prefixes_v4, small.prefixes_v6)
    assert sorted(large.entries()) == sorted(small.entries())
    assert sorted(large.prefixes()) == sorted(small.prefixes())
    for packed in around([*listed, allowed[0].prefix]):
        assert large.lookup_packed(packed) == small.lookup_packed(packed)
        assert large.explain(unpack(packed)) == small.explain(unpack(packed))


@pytest.mark.parametrize("bits", [32, 128])
def test_a_million_prefixes_fit_their_budget_of_memory(bits: int) -> None:
    chance, size = random.Random(5), bits // 8
    listed = [Entry(f"{unpack(chance.getrandbits(bits).to_bytes(size))}/{bits}", "hosts", 1) for _ in range(200_000)]
    tables = native().Frozen(Blacklist.build({"one": listed}))
    # Whatever the number: a bitmap of /24s or a filter no larger, and an index. Beside them 13 or 25 octets each.
    assert tables.size_bytes <= 200_000 * (13 if bits == 32 else 25) + (1 << 21) + (1 << 19)
