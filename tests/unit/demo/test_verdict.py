# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest

from sentinel.demo.verdict import Evidence, missing

SENT = [(float(at), bytes([at])) for at in range(10)]
FRAMES = [frame for _, frame in SENT]
GOOD = Evidence(
    switch="leaf1",
    detected=True,
    mirrored_at=3.5,
    stopped=True,
    ended=True,
    sent=SENT,
    captured=FRAMES[3:],
    rules_seen={"leaf1": frozenset({"r"}), "leaf2": frozenset()},
    rules_left={"leaf1": [], "leaf2": []},
)


def test_nothing_is_missing_when_all_of_it_happened() -> None:
    assert missing(GOOD) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"detected": False}, "never detected"),
        ({"mirrored_at": None}, "no rule was installed on leaf1"),
        ({"rules_seen": {}}, "never listed"),
        ({"rules_seen": {"leaf1": frozenset({"r"}), "spine": frozenset({"r"})}}, "a rule was on spine"),
        ({"rules_seen": {"leaf1": frozenset({"r", "s"})}}, "more than one rule: r, s"),
        ({"stopped": False}, "no time"),
        ({"ended": False}, "did not end"),
        ({"captured": []}, "no frame"),
        ({"captured": FRAMES[3:-1]}, "differs"),
        ({"captured": [*FRAMES[3:5], *FRAMES[6:]]}, "differs"),
        ({"captured": [*FRAMES[3:], b"stranger"]}, "1 unknown"),
        ({"captured": [*FRAMES[3:4], *FRAMES[3:]]}, "differs"),
        ({"captured": FRAMES[6:]}, "2 frames are missing since"),
        ({"rules_left": {"leaf1": ["r"]}}, "leaf1 still has r"),
        ({"rules_left": {"spine": None}}, "spine does not say"),
    ],
)
def test_each_thing_missing_is_named(changes: dict[str, object], said: str) -> None:
    (found,) = missing(replace(GOOD, **changes))  # type: ignore[arg-type]  # parametrised by field
    assert said in found
