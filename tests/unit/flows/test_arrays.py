# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Columns of flows as arrays: sums that stop where figures end, groups that are the obvious ones."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sentinel.flows.arrays import NO_FLOWS, Flows, Groups, binned, picked, total
from sentinel.limits import MAX_FIGURE
from tests.support.flows import flow_count, flows_of, taken

figures = st.integers(0, 9) | st.integers(0, MAX_FIGURE) | st.integers(MAX_FIGURE - 9, MAX_FIGURE)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), figures), max_size=20))
def test_sums_are_exact_until_figures_end(rows: list[tuple[int, int, int]]) -> None:
    keys, inner = (np.array([row[place] for row in rows], np.int64) for place in (0, 1))
    amounts = np.array([row[2] for row in rows], np.uint64)
    assert total(amounts) == min(sum(row[2] for row in rows), MAX_FIGURE)
    in_bins = [min(sum(row[2] for row in rows if row[0] == key), MAX_FIGURE) for key in range(4)]
    assert binned(keys, amounts, 4).tolist() == in_bins

    groups = Groups([keys], [inner])
    there = sorted({row[0] for row in rows})
    assert groups.sums(amounts, groups.begins).tolist() == [in_bins[key] for key in there]
    assert groups.of_rows(np.array(there, np.int64), groups.begins).tolist() == [row[0] for row in rows]
    parts = sorted({row[:2] for row in rows})
    assert [there[group] for group in groups.of_parts] == [key for key, _ in parts]
    of_parts = [min(sum(row[2] for row in rows if row[:2] == part), MAX_FIGURE) for part in parts]
    assert groups.sums(amounts, groups.parts).tolist() == of_parts


def test_rows_are_picked_from_several_tables() -> None:
    flows = [flow_count(input=n, vni=n or None, src_ip="2001:db8::1", dst_ip=f"2001:db8::1{n}") for n in range(6)]
    tables = [taken(flows[:2]).table(), NO_FLOWS, taken(flows[2:]).table()]
    assert flows_of(picked(tables, np.array([5, 0, 2]))) == [flows[5], flows[0], flows[2]]
    assert picked(tables, np.array([], np.intp)) == NO_FLOWS


def test_marked_rows_know_their_table() -> None:
    tables = [taken([flow_count(input=n), flow_count(input=9)]).table() for n in range(3)]
    flows = Flows(tables)
    chosen = flows.marked(flows.numbers("input") == 9)
    assert (len(flows), len(chosen), chosen.table_of.tolist()) == (6, 3, [0, 1, 2])
    assert len(Flows([])) == len(Flows([NO_FLOWS])) == 0
