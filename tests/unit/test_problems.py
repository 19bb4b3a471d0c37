# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""When problems began, which are news, which are over."""

from sentinel.problems import Problem, Watch, status_of

LEAF = Problem("switch_failing", "degraded", "leaf1", "timeout")
STORE = Problem("store", "failing", "sentinel.db", "disk is full")


def test_a_problem_begins_lasts_and_ends() -> None:
    watch = Watch()
    began = watch.look([LEAF], 10.0)
    assert [(each.key, each.since) for each in began.began] == [(LEAF.key, 10.0)]
    lasts = watch.look([LEAF, STORE], 20.0)
    assert [each.key for each in lasts.began] == [STORE.key]
    assert [(each.code, each.since) for each in watch.current] == [("store", 20.0), ("switch_failing", 10.0)]
    over = watch.look([STORE], 30.0)
    assert ([each.key for each in over.ended], over.began) == ([LEAF.key], ())
    assert watch.look([STORE, LEAF], 40.0).began[0].since == 40.0


def test_two_reports_of_one_thing_are_one_problem() -> None:
    watch = Watch()
    watch.look([LEAF, Problem("switch_failing", "failing", "leaf1", "refused")], 1.0)
    assert [each.text for each in watch.current] == ["timeout"]


def test_the_status_is_the_worst() -> None:
    assert [status_of(each) for each in ([], [LEAF], [LEAF, STORE])] == ["ok", "degraded", "failing"]
