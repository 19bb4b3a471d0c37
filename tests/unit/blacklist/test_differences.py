# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What came, went and changed, and since when, against a slow and obvious reference."""

import random
import zlib

import pytest

from sentinel.blacklist.differences import Difference, difference, dump_since, load_since, since
from sentinel.blacklist.formats.parsed import Entry
from sentinel.blacklist.overlap import Overlap, overlaps
from sentinel.model import Indicator


def entry(prefix: str, group: str = "g", until: float | None = None, confidence: int | None = None) -> Entry:
    return Entry(prefix, group, 1, until, confidence)


def test_a_prefix_is_new_gone_or_changed() -> None:
    before = [entry("1.1.1.1/32"), entry("1.1.1.2/32", "a"), entry("1.1.1.3/32", until=5.0), entry("1.1.1.4/32")]
    after = [entry("1.1.1.9/32"), entry("1.1.1.2/32", "b"), entry("1.1.1.3/32", until=9.0), entry("1.1.1.4/32")]
    assert difference("f", before, after) == Difference(
        added=(Indicator("1.1.1.9/32", "f", "g"),),
        removed=(Indicator("1.1.1.1/32", "f", "g"),),
        changed=(Indicator("1.1.1.2/32", "f", "b"), Indicator("1.1.1.3/32", "f", "g")),
    )


def test_other_order_and_other_lines_are_no_difference() -> None:
    before = [Entry("1.1.1.1/32", "a", 1), Entry("1.1.1.1/32", "b", 2), Entry("::/64", "a", 3)]
    assert not difference("f", before, [each._replace(line=9) for each in reversed(before)])


@pytest.mark.parametrize("seed", range(20))
def test_as_the_reference_says(seed: int) -> None:
    chosen = random.Random(seed)

    def some() -> list[Entry]:
        made = {(chosen.randrange(12), chosen.choice("ab")): chosen.choice((None, 50)) for _ in range(10)}
        return [entry(f"1.1.1.{n}/32", group, confidence=c) for (n, group), c in made.items()]

    before, after = some(), some()

    def terms(entries: list[Entry], prefix: str) -> set[tuple[object, ...]]:
        return {each[1:2] + each[3:] for each in entries if each.prefix == prefix}

    found = difference("f", before, after)
    old, new = ({each.prefix for each in entries} for entries in (before, after))
    assert {each.prefix for each in found.added} == new - old
    assert {each.prefix for each in found.removed} == old - new
    assert {each.prefix for each in found.changed} == {p for p in old & new if terms(before, p) != terms(after, p)}
    listed = {(each.prefix, each.group) for each in (*found.added, *found.changed)}
    assert listed == {
        (e.prefix, e.group) for e in after if e.prefix in {i.prefix for i in (*found.added, *found.changed)}
    }


def test_since_when_survives_being_written() -> None:
    entries = [entry("1.1.1.1/32"), entry("::/64"), entry("1.1.1.1/32", "b")]
    times = since(entries, {"::/64": 7.0}, 9.0)
    assert times == (9.0, 7.0, 9.0)
    data = dump_since("https://a.example/l", entries, times)
    assert load_since("https://a.example/l", data) == {"1.1.1.1/32": 9.0, "::/64": 7.0}
    assert load_since("https://b.example/l", data) == {}
    assert dump_since("s", [], ()) == dump_since("s", [], ())


@pytest.mark.parametrize("data", [b"", b"rubbish", zlib.compress(b"s\n@x\n1.1.1.1/32", wbits=31), b"s\n@\xff"])
def test_a_damaged_record_tells_nothing(data: bytes) -> None:
    assert load_since("s", data) == {}


def test_overlaps_count_what_lies_inside_too() -> None:
    found = overlaps(
        {
            "nets": [entry("1.1.0.0/16"), entry("2001:db8::/32")],
            "hosts": [
                entry("1.1.1.1/32", "a"),
                entry("1.1.1.1/32", "b"),
                entry("2.2.2.2/32"),
                entry("2001:db8::1/128"),
            ],
            "same": [entry("2.2.2.2/32"), entry("1.1.0.0/16"), entry("0.0.0.1/32")],
            "none": [],
        }
    )
    assert found == {
        "nets": Overlap(2, 1, {"same": 1}),
        "hosts": Overlap(3, 0, {"nets": 2, "same": 2}),
        "same": Overlap(3, 1, {"nets": 1, "hosts": 1}),
        "none": Overlap(0, 0, {}),
    }
    assert (found["same"].unique_share, found["none"].unique_share) == (1 / 3, None)
