# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
from sentinel.detect.unlisted import detection_of
from sentinel.flowmodel import FlowCount


def flow(src: str, dst: str, *, agent: str = "10.0.1.1", samples: int = 4, vni: int | None = None) -> FlowCount:
    return FlowCount(agent, 1, 2, src, dst, 6, 40_000, 443, vni, samples * 100, samples * 10_000, samples, 1.0, 2.0)


def test_a_pair_nobody_sampled_is_no_detection() -> None:
    assert detection_of("10.0.0.1", "192.0.2.1", [flow("10.0.0.1", "192.0.2.2"), flow("10.0.0.2", "192.0.2.1")]) is None


def test_both_directions_and_every_observer_are_kept() -> None:
    flows = [
        flow("10.0.0.1", "192.0.2.1", samples=9),
        flow("192.0.2.1", "10.0.0.1", agent="10.0.1.2"),
        flow("10.0.0.1", "192.0.2.1", agent="10.0.1.9", vni=7),
    ]
    found = detection_of("10.0.0.1", "192.0.2.1", flows)
    assert found is not None
    assert (found.direction, found.samples, found.packets) == ("both", 9, 900)
    assert [(o.agent, o.capturable, o.outbound, o.inbound) for o in found.observers] == [
        ("10.0.1.1", True, 9, 0),
        ("10.0.1.2", True, 0, 4),
        ("10.0.1.9", False, 4, 0),
    ]
