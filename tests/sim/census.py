# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""How often each thing happened, so that a day without it cannot pass for a proof."""

from collections import Counter

from sentinel.capture import events
from sentinel.capture.lifecycle import CAPTURE_EDGES, MIRROR_EDGES

# What the engine may decide beside the lifecycle, by its own counters.
DECISIONS = {
    "adopted",
    "bulk_repairs",
    "bulk_repairs_failed",
    "drift_restored",
    "ended_by_lease",
    "ended_delisted",
    "ended_evicted",
    "ended_flood",
    "ended_longest",
    "ended_overload",
    "ended_quiet",
    "ended_stopped",
    "moved",
    "orphans_removed",
    "over_budget",
    "probed",
    "replanned",
    "second_dropped",
    "second_placed",
}


class Census:
    """Edges of the lifecycle, faults, answers of switches; sums of days can be added up."""

    def __init__(self) -> None:
        self.edges: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.decisions: Counter[str] = Counter()
        self.events = 0

    def edge(self, old: str, new: str) -> None:
        self.edges[f"{old} -> {new}"] += 1

    def fault(self, kind: str) -> None:
        self.faults[kind] += 1

    def answer(self, event: events.Event) -> None:
        self.answers[type(event).__name__] += 1
        self.events += 1

    def add(self, other: "Census") -> None:
        self.edges += other.edges
        self.faults += other.faults
        self.answers += other.answers
        self.decisions += other.decisions
        self.events += other.events

    def never(self, faults: set[str]) -> list[str]:
        """Edges of the table and kinds of fault that did not happen."""
        edges = {f"{old} -> {new}" for old, news in CAPTURE_EDGES.items() for new in news}
        mirrors = {f"mirror_edge_{old}_{new}" for old, news in MIRROR_EDGES.items() for new in news if new != old}
        never = [sorted(edges - set(self.edges)), sorted(faults - set(self.faults))]
        return [*never[0], *never[1], *sorted((DECISIONS | mirrors) - set(+self.decisions))]

    def lines(self) -> list[str]:
        rows = [("edge", self.edges), ("fault", self.faults), ("answer", self.answers), ("engine", self.decisions)]
        return [f"{kind:7} {name:32} {count:9,}" for kind, counts in rows for name, count in sorted(counts.items())]
