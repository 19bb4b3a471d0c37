# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The exposition: what Prometheus would read, and what never gets into it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sentinel.limits import MAX_METRIC_LABEL_CHARS, MAX_METRIC_SERIES
from sentinel.readings import Reading, counters
from sentinel.report.metrics import Metrics


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus's own parser finds."""
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value
        for family in text_string_to_metric_families(text.decode())
        for each in family.samples
    }


def render(*readings: Reading) -> tuple[dict[tuple[str, tuple[tuple[str, str], ...]], float], dict[str, int]]:
    metrics = Metrics(lambda: readings)
    return samples(metrics.render()), metrics.counters.refused


def test_counters_and_gauges() -> None:
    found, refused = render(
        ("sentinel_sflow_datagrams_total", {}, 7, "counter", "datagrams"),
        ("sentinel_feed_entries", {"feed": "et"}, 532, "gauge", "entries"),
        ("sentinel_feed_entries", {"feed": 'b"\\\n'}, 1, "gauge", "entries"),
    )
    assert found["sentinel_sflow_datagrams_total", ()] == 7
    assert found["sentinel_feed_entries", (("feed", "et"),)] == 532
    assert found["sentinel_feed_entries", (("feed", 'b"\\\n'),)] == 1
    assert refused == {}


def test_each_rendering_asks_anew_and_counters_have_help_and_type() -> None:
    value = [1.0]
    metrics = Metrics(lambda: [("sentinel_a_total", {}, value[0], "counter", "what it counts")])
    first = metrics.render()
    value[0] = 2.0
    assert samples(metrics.render())["sentinel_a_total", ()] == 2
    assert b"# HELP sentinel_a_total what it counts\n# TYPE sentinel_a_total counter\nsentinel_a_total 1.0\n" in first


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        (("sentinel_x", {}, 1, "counter", ""), "name"),
        (("sentinel_x_total", {}, 1, "gauge", ""), "name"),
        (("other_total", {}, 1, "counter", ""), "name"),
        (("sentinel_x y", {}, 1, "gauge", ""), "name"),
        (("sentinel_ok_total", {"agent": "10.0.0.1"}, 1, "counter", ""), "label"),
        (("sentinel_ok_total", {"reason": "a"}, 1, "counter", ""), "repeated"),
        (("sentinel_ok_total", {}, 1, "counter", ""), "mixed"),
        (("sentinel_ok_total", {"feed": "a"}, 1, "counter", ""), "mixed"),
    ],
)
def test_what_would_spoil_a_scrape_is_left_out_and_counted(reading: Reading, reason: str) -> None:
    found, refused = render(("sentinel_ok_total", {"reason": "a"}, 5, "counter", ""), reading)
    assert refused == {reason: 1}
    assert found["sentinel_ok_total", (("reason", "a"),)] == 5
    assert found["sentinel_report_readings_refused_total", (("reason", reason),)] == 1


def test_series_and_label_lengths_are_bounded() -> None:
    many: list[Reading] = [("sentinel_x", {"feed": f"{n}"}, 1, "gauge", "") for n in range(MAX_METRIC_SERIES + 7)]
    found, refused = render(*many, ("sentinel_y", {"feed": "z" * 10_000}, 1, "gauge", ""))
    assert len([key for key in found if key[0] == "sentinel_x"]) == MAX_METRIC_SERIES
    assert refused == {"series": 7}
    assert ("sentinel_y", (("feed", "z" * MAX_METRIC_LABEL_CHARS),)) in found


@dataclass(slots=True)
class Slotted:
    received: int = 3
    name: str = "no number"
    on: bool = True
    dropped: dict[str, int] = field(default_factory=lambda: {"too_long": 2, "other": 1})


class Plain:
    def __init__(self) -> None:
        self.seen = 4
        self._hidden = 9
        self.by_feed = Counter({"et": 5})


class Bare:
    __slots__ = ("_lock", "hits")

    def __init__(self) -> None:
        self._lock = object()
        self.hits = 6


def by_name(readings: Iterable[Reading]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {(name, tuple(labels.items())): value for name, labels, value, _, _ in readings}


def test_counters_objects_are_read_whatever_their_form() -> None:
    assert by_name(counters("sflow", Slotted())) == {
        ("sentinel_sflow_received_total", ()): 3,
        ("sentinel_sflow_dropped_total", (("reason", "too_long"),)): 2,
        ("sentinel_sflow_dropped_total", (("reason", "other"),)): 1,
    }
    assert by_name(counters("x", Plain(), "feed")) == {
        ("sentinel_x_seen_total", ()): 4,
        ("sentinel_x_by_feed_total", (("feed", "et"),)): 5,
    }
    assert by_name(counters("y", Bare())) == {("sentinel_y_hits_total", ()): 6}


def test_what_the_helper_yields_is_accepted() -> None:
    found, refused = render(*counters("sflow", Slotted()), *counters("y", Bare()))
    assert refused == {}
    assert found["sentinel_sflow_dropped_total", (("reason", "other"),)] == 1


def test_two_instances_do_not_share_a_registry() -> None:
    first, second = (Metrics(lambda: [("sentinel_a_total", {}, 1, "counter", "")]) for _ in range(2))
    assert first.render() == second.render()
