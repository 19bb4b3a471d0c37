# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Tables as columns: in place, whole, and the same in another process."""

import subprocess
import sys
from struct import pack

import numpy as np
import pytest

from sentinel.columns import Column, Schema, Table, address_octets, address_text
from sentinel.flowmodel import FLOWS
from tests.support.flows import flow_count, flows_of, taken

THREE = Schema("three", (Column("address", "16s"), Column("load", "d", "1"), Column("state", "B")))
ROWS = Table(THREE, 2, bytes(range(32)) + pack("=2d", 0.5, -1.0) + b"\1\2")


def test_columns_are_looked_at_in_place() -> None:
    assert ROWS.column("load").tolist() == [0.5, -1.0]
    assert ROWS.column("state").tolist() == [1, 2]
    assert bytes(ROWS.column("address")) == bytes(range(32))
    array = np.frombuffer(ROWS.column("load"), "f8")
    assert np.shares_memory(array, np.frombuffer(ROWS.octets, "u1"))
    assert (THREE.row_bytes, [column.width for column in THREE.columns]) == (25, [16, 8, 1])


@pytest.mark.parametrize("rows", range(9))
def test_each_column_begins_at_a_multiple_of_its_width(rows: int) -> None:
    table = taken([flow_count(input=n) for n in range(rows)]).table()
    start = np.frombuffer(table.octets, "u1").ctypes.data if rows else 0
    for column in FLOWS.columns:
        place = np.frombuffer(table.column(column.name), "u1").ctypes.data if rows else 0
        assert (place - start) % min(column.width, 8) == 0
        assert len(bytes(table.column(column.name))) == rows * column.width


def test_the_widest_come_first_and_octets_are_those_of_the_rows() -> None:
    with pytest.raises(ValueError, match="the widest columns come first"):
        Schema("wrong", (Column("small", "B"), Column("wide", "Q")))
    with pytest.raises(ValueError, match="three: 3 octets, expected 1 rows of 25 octets"):
        Table(THREE, 1, b"abc")


def test_a_table_is_the_same_in_another_process() -> None:
    flows = [flow_count(src_ip="2001:db8::5", dst_ip="2001:db8::6", vni=7), flow_count(protocol=None, src_port=None)]
    table = taken(flows).table()
    program = (
        "import sys\n"
        "from sentinel.columns import Table\n"
        "from sentinel.flowmodel import FLOWS\n"
        "from tests.support.flows import flows_of\n"
        f"print(flows_of(Table(FLOWS, {table.rows}, sys.stdin.buffer.read())))\n"
    )
    told = subprocess.run([sys.executable, "-c", program], input=table.octets, capture_output=True, check=True)
    assert told.stdout.decode().strip() == str(flows_of(table)) == str(flows)


@pytest.mark.parametrize("text", ["10.0.0.1", "0.0.0.0", "2001:db8::1", "::ffff:10.0.0.1", "::"])
def test_an_address_is_what_it_was(text: str) -> None:
    octets, family = address_octets(text)
    assert len(octets) == 16
    assert address_text(octets, family) == text
