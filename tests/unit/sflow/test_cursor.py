# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Reading XDR: what is there comes, what isn't is said with its place."""

from collections.abc import Callable

import pytest

from sentinel.errors import DecodeError
from sentinel.sflow.cursor import Cursor


def test_reads_one_value_behind_the_other() -> None:
    cursor = Cursor(bytes.fromhex("00000007 0000000100000002 3fc00000 00000003 616263ff 00000001 0a000001"))
    assert (cursor.u32(), cursor.u64(), cursor.f32(), cursor.opaque()) == (7, 0x100000002, 1.5, b"abc")
    assert cursor.address() == "10.0.0.1"
    assert cursor.left == 0


def test_reads_only_its_part_and_counts_from_the_start_of_the_datagram() -> None:
    cursor = Cursor(bytes(12), 4, 8)
    assert cursor.u32() == 0
    with pytest.raises(DecodeError) as raised:
        cursor.u32()
    assert raised.value.offset == 8


@pytest.mark.parametrize(
    ("read", "octets", "code"),
    [
        (Cursor.u32, "000000", "truncated"),
        (Cursor.u64, "00000000000000", "truncated"),
        (Cursor.f32, "0000", "truncated"),
        (Cursor.opaque, "00000004 616263", "truncated"),
        (Cursor.opaque, "ffffffff 616263", "truncated"),
        (Cursor.address, "00000001 0a0000", "address"),
        (Cursor.address, "00000002 0a000000", "address"),
        (Cursor.address, "00000003 0a000000", "address"),
    ],
)
def test_what_does_not_fit_raises_and_moves_nothing(read: Callable[[Cursor], object], octets: str, code: str) -> None:
    cursor = Cursor(bytes.fromhex(octets))
    with pytest.raises(DecodeError) as raised:
        read(cursor)
    assert raised.value.code == code
    assert cursor.at == 0


def test_address_of_unknown_type_is_none() -> None:
    assert Cursor(bytes(4)).address() is None
    assert Cursor(bytes.fromhex("00000002" + "20010db8" + "0" * 22 + "01")).address() == "2001:db8::1"


def test_a_lying_count_is_refused_before_anything_is_read() -> None:
    cursor = Cursor(bytes.fromhex("ffffffff 00000001"))
    with pytest.raises(DecodeError) as raised:
        cursor.count(4)
    assert raised.value.code == "truncated"
    assert cursor.at == 0


def test_padding_that_is_left_out_at_the_end_is_forgiven() -> None:
    cursor = Cursor(bytes.fromhex("00000003 616263"))
    assert cursor.opaque() == b"abc"
    assert cursor.left == 0
