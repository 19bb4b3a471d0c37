# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever jobs there are and however long they run: each is due every interval, and never twice at once."""

from hypothesis import given
from hypothesis import strategies as st

from sentinel.deadlines import Deadlines

EVERY_S = st.integers(1, 20)
PLAN = st.dictionaries(st.sampled_from("abcdef"), st.tuples(EVERY_S, st.booleans()), min_size=1)
RUN_S = st.integers(0, 40)


@given(PLAN, st.data())
def test_each_job_is_due_every_interval_and_never_twice_at_once(
    plan: dict[str, tuple[int, bool]], data: st.DataObject
) -> None:
    deadlines = Deadlines()
    for name, (every_s, at_once) in plan.items():
        deadlines.add(name, every_s, 0.0, at_once=at_once)
    ends: dict[str, int] = {}
    # The time from which the next run of each job may not be farther away than its interval.
    since = dict.fromkeys(plan, 0)
    for now in range(120):
        for name in [name for name, end in ends.items() if end <= now]:
            del ends[name]
            deadlines.done(name, now)
        due = deadlines.due(now)
        assert len(set(due)) == len(due)
        assert not set(due) & set(ends)
        for name in due:
            assert now - since[name] <= max(plan[name][0], 0)
            lasts_s = data.draw(RUN_S)
            # One that took longer than its interval is due at once.
            since[name] = now + lasts_s
            ends[name] = now + lasts_s
            if not lasts_s:
                del ends[name]
                deadlines.done(name, now)
        for name, (every_s, _) in plan.items():
            assert name in ends or now - since[name] < every_s
        next_at = deadlines.next_at
        assert (next_at is None) == (len(ends) == len(plan))
        assert next_at is None or next_at > now


@given(PLAN, st.lists(st.integers(0, 400), max_size=20).map(sorted))
def test_a_late_look_takes_each_job_once(plan: dict[str, tuple[int, bool]], looks: list[int]) -> None:
    deadlines = Deadlines()
    for name, (every_s, at_once) in plan.items():
        deadlines.add(name, every_s, 0.0, at_once=at_once)
    last: dict[str, int] = {}
    for now in looks:
        for name in deadlines.due(now):
            assert name not in last or now > last[name]
            last[name] = now
            deadlines.done(name, now)
        assert all(now - last.get(name, 0) <= plan[name][0] for name in plan)
