# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The readings of all parts as Prometheus reads them.

Labels come from what the configuration names, or are literals of the code, never from the wire: a forger would make
series without end. So label names are a closed set, and the series of one metric are bounded.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sentinel.limits import MAX_METRIC_LABEL_CHARS, MAX_METRIC_SERIES
from sentinel.readings import Kind, Reading

LABELS = frozenset(
    {
        "feed",
        "switch",
        "reason",
        "state",
        "listener",
        "thread",
        "mode",
        "version",
        "implementation",
        "stage",
        "kind",
        "code",
        "severity",
        "family",
        "other",
    }
)

_NAME = re.compile(r"sentinel_[a-z][a-z0-9_]*")


@dataclass(slots=True)
class MetricsCounters:
    """Readings that were left out, by reason; each one is a bug of ours or a bound that was met."""

    refused: dict[str, int] = field(default_factory=dict)


class Metrics:
    """Makes the text exposition from whatever ``sources`` yields at that moment; a registry of its own."""

    def __init__(self, sources: Callable[[], Iterable[Reading]]) -> None:
        self.counters = MetricsCounters()
        self._sources = sources
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Adapter(self._families))

    def render(self) -> bytes:
        """Return the Prometheus text format 0.0.4."""
        return generate_latest(self._registry)

    def _families(self) -> Iterator[Metric]:
        found: dict[str, _Family] = {}
        for name, labels, value, kind, text in self._sources():
            reason = self._fault(found, name, labels, kind)
            if reason:
                self._refuse(reason)
                continue
            family = found.setdefault(name, _Family(name, kind, text, tuple(sorted(labels))))
            reason = family.add(labels, value)
            if reason:
                self._refuse(reason)
        yield from (each.metric() for each in found.values())
        yield self._own()

    def _own(self) -> Metric:
        family = CounterMetricFamily(
            "sentinel_report_readings_refused_total", "readings left out of the metrics", labels=("reason",)
        )
        for reason, count in self.counters.refused.items():
            family.add_metric((reason,), count)
        return family

    def _refuse(self, reason: str) -> None:
        self.counters.refused[reason] = self.counters.refused.get(reason, 0) + 1

    @staticmethod
    def _fault(found: "Mapping[str, _Family]", name: str, labels: Mapping[str, str], kind: Kind) -> str:
        if not _NAME.fullmatch(name) or (kind == "counter") != name.endswith("_total"):
            return "name"
        if not labels.keys() <= LABELS:
            return "label"
        known = found.get(name)
        if known is not None and (known.kind != kind or known.labels != tuple(sorted(labels))):
            return "mixed"
        return ""


class _Family:
    """The series of one metric."""

    def __init__(self, name: str, kind: Kind, text: str, labels: tuple[str, ...]) -> None:
        self.name = name
        self.kind = kind
        self.text = text
        self.labels = labels
        self.series: dict[tuple[str, ...], float] = {}

    def add(self, labels: Mapping[str, str], value: float) -> str:
        """Take one reading; returns why not."""
        key = tuple(labels[label][:MAX_METRIC_LABEL_CHARS] for label in self.labels)
        # Prometheus throws a whole scrape away over one series that comes twice.
        if key in self.series:
            return "repeated"
        if len(self.series) >= MAX_METRIC_SERIES:
            return "series"
        self.series[key] = value
        return ""

    def metric(self) -> Metric:
        family = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        metric = family(self.name, self.text, labels=self.labels)
        for key, value in self.series.items():
            metric.add_metric(key, value)
        return metric


class _Adapter(Collector):
    """What a registry wants to be given."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()
