# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The engine as rows, problems and metrics. Pure; callers hold the loop's lock."""

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from sentinel.capture.engine import CaptureEngine
from sentinel.model import CaptureState
from sentinel.problems import Problem
from sentinel.readings import Reading
from sentinel.rows import SwitchRow

LIVE_STATES = tuple(state for state in get_args(CaptureState) if state != "ended")


def switch_rows(engine: CaptureEngine, now: float, utc_now: float) -> list[SwitchRow]:
    """Return one row per switch; ``now`` is monotonic, ``utc_now`` UTC seconds since 1970."""
    book = engine.book
    rows = []
    for name in book.names():
        switch = book.get(name)
        if switch is None:
            continue
        failing = book.trouble(name)
        answered = book.answered_mono(name)
        rows.append(
            SwitchRow(
                name=name,
                role=switch.role,
                url=switch.url,
                agents=switch.agents,
                erspan_source=switch.erspan_source,
                state="failing" if failing else "degraded" if book.unreachable(name) else "ok",
                detail=failing or book.unreachable(name) or "",
                rules=book.entries(name),
                max_rules=book.max_rules(name),
                mirrored_bps=engine.budget.bps(name),
                max_mirrored_bps=engine.policy.max_bps_per_switch,
                ipv6=switch.ipv6,
                answered_at=utc_now - (now - answered) if answered > 0 else None,
            )
        )
    return rows


def switch_problems(engine: CaptureEngine) -> Iterator[Problem]:
    """Yield what keeps switches from mirroring."""
    for name in engine.book.names():
        trouble, unreachable = engine.book.trouble(name), engine.book.unreachable(name)
        if trouble:
            yield Problem("switch_failing", "degraded", name, trouble, f"look at switch-acl-api on {name}")
        elif unreachable:
            remedy = f"look at the route and the neighbour of the ERSPAN destination on {name}"
            yield Problem("switch_unreachable", "degraded", name, unreachable, remedy)


def readings(engine: CaptureEngine) -> Iterator[Reading]:
    """Yield the engine's metrics."""
    for kind, count in dict(engine.counters).items():
        yield "sentinel_capture_events_total", {"kind": kind}, float(count), "counter", "Capture engine, by kind"
    states = Counter(capture.state for capture in engine.live())
    for state in LIVE_STATES:
        yield "sentinel_capture_live", {"state": state}, float(states[state]), "gauge", "Live captures by state"
    for name in engine.book.names():
        labels = {"switch": name}
        entries, bps = float(engine.book.entries(name)), float(engine.budget.bps(name))
        yield "sentinel_capture_entries", labels, entries, "gauge", "ACL entries of ours on a switch"
        yield "sentinel_capture_mirrored_bps", labels, bps, "gauge", "Estimated bit/s that a switch mirrors"
    text = "Estimated bit/s of all mirrors at the ERSPAN destination"
    yield "sentinel_capture_destination_bps", {}, float(engine.budget.total_bps), "gauge", text
