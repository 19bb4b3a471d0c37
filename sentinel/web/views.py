# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Model values → what the API says of them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from sentinel.flowmodel import FlowAnswer, FlowGroup, FlowQuery, FlowSums
from sentinel.limits import MAX_OBSERVERS_SHOWN
from sentinel.model import Capture, Detection, Indicator, Mirror, Observer, error_pct
from sentinel.rows import FeedRow, Health, ReceivedRow
from sentinel.times import maybe_utc, utc

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Json = dict[str, object]


def row(value: "DataclassInstance", *times: str) -> Json:
    """Return a row of ``sentinel.rows`` with the fields named in ``times`` as text."""
    return {**asdict(value), **{name: maybe_utc(getattr(value, name)) for name in times}}


def feed(value: FeedRow) -> Json:
    """Return a feed as the API shows it."""
    return row(value, "fetched_at", "changed_at", "checked_at", "next_at")


def health(value: Health, now: float) -> Json:
    """Return the daemon's health; ``now`` is UTC seconds since 1970."""
    problems = [row(each, "since") for each in value.problems]
    return {**row(value, "started_at"), "problems": problems, "now": utc(now)}


def indicator(value: Indicator) -> Json:
    """Return an indicator as the API says it."""
    return {"prefix": value.prefix, "feed": value.feed, "group": value.group}


def observer(value: Observer) -> Json:
    """Return an observer as the API says it."""
    return {
        "agent": value.agent,
        "source_class": value.source_class,
        "source_index": value.source_index,
        "input": value.input,
        "output": value.output,
        "samples": value.samples,
        "packets": value.packets,
        "bytes": value.bytes,
        "outbound": value.outbound,
        "inbound": value.inbound,
        "capturable": value.capturable,
        "vni": value.vni,
    }


def mirror(value: Mirror) -> Json:
    """Return a mirror as the API says it."""
    return {
        "switch": value.switch,
        "rule": value.rule,
        "lines": list(value.lines),
        "state": value.state,
        "packets": value.packets,
        "bytes": value.bytes,
        "attempts": value.attempts,
        "error": value.error,
    }


def capture(value: Capture, received: ReceivedRow | None = None, rate_bps: int | None = None) -> Json:
    """Return a capture as the API says it, with what was received of it here and what its mirror carries."""
    return {
        "id": value.id,
        "local_ip": value.local_ip,
        "listed_ip": value.listed_ip,
        "state": value.state,
        "reason": value.reason,
        "note": value.note,
        "ending": value.ending or "",
        "ending_note": value.ending_note,
        "requested_by": value.requested_by,
        "created_at": utc(value.created_at),
        "evidence_at": utc(value.evidence_at),
        "ends_at": utc(value.ends_at),
        "ended_at": maybe_utc(value.ended_at),
        "indicators": [indicator(each) for each in value.indicators],
        "mirrors": [mirror(each) for each in value.mirrors],
        "packets": sum(each.packets for each in value.mirrors),
        "bytes": sum(each.bytes for each in value.mirrors),
        "rate_bps": rate_bps,
        "received": None if received is None else row(received),
    }


def why_not(value: Detection) -> str | None:
    """Say what the detection itself shows against capturing it."""
    if any(each.capturable for each in value.observers):
        return None
    vnis = sorted({each.vni for each in value.observers if each.vni is not None})
    if vnis:
        return f"not capturable: only inside vni {', '.join(str(vni) for vni in vnis)}"
    return "not capturable: no switch sees the pair as outermost addresses"


def detection(value: Detection, latest: Capture | None, note: str | None) -> Json:
    """Return a detection with its latest capture, and why it has none that lives."""
    live = latest is not None and latest.state != "ended"
    observers = sorted(value.observers, key=lambda each: each.packets, reverse=True)
    return {
        "id": value.id,
        "state": value.state,
        "local_ip": value.local_ip,
        "listed_ip": value.listed_ip,
        "direction": value.direction,
        "evidence": value.evidence,
        "layer": value.layer,
        "indicators": [indicator(each) for each in value.indicators],
        "observers": [observer(each) for each in observers[:MAX_OBSERVERS_SHOWN]],
        "observers_total": len(observers),
        "samples": value.samples,
        "packets": value.packets,
        "packets_error_pct": value.packets_error_pct,
        "bytes": value.bytes,
        "first_seen": utc(value.first_seen),
        "last_seen": utc(value.last_seen),
        "src_ip": value.src_ip,
        "dst_ip": value.dst_ip,
        "src_port": value.src_port,
        "dst_port": value.dst_port,
        "protocol": value.protocol,
        "capture": {"id": latest.id, "state": latest.state, "note": latest.note} if latest else None,
        "why_not": None if live else (note or why_not(value)),
    }


def flows(query: FlowQuery, answer: FlowAnswer) -> Json:
    """Return the answer to a question about flows as the API says it."""
    return {
        "flows": [flow_group(query, each, answer.seconds) for each in answer.groups],
        "total": answer.groups_total,
        "limit": query.limit,
        "group": list(query.group),
        "metric": query.metric,
        "counted_once": answer.counted_once,
        "window": {
            "from": utc(answer.starts_at),
            "until": utc(answer.starts_at + answer.seconds),
            "seconds": answer.seconds,
        },
        "amounts": {
            "passed": flow_sums(answer.passed),
            "elsewhere": flow_sums(answer.elsewhere),
            "unnamed": flow_sums(answer.unnamed),
            "all": flow_sums(answer.total),
            "evicted_samples": answer.evicted_samples,
        },
        "series": flow_series(query, answer),
    }


def flow_group(query: FlowQuery, value: FlowGroup, seconds: int) -> Json:
    """Return one group: the values of its keys, then its amounts."""
    return {
        **dict(zip(query.group, value.key, strict=True)),
        **flow_sums(value.sums),
        "packets_error_pct": error_pct(value.sums.samples) if value.sums.samples else None,
        "bps": round(8 * value.sums.bytes / max(seconds, 1)),
        "agents": value.agents,
        "first_seen": utc(value.first_seen),
        "last_seen": utc(value.last_seen),
    }


def flow_sums(value: FlowSums) -> Json:
    """Return amounts as the API says them."""
    return {"packets": value.packets, "bytes": value.bytes, "samples": value.samples}


def flow_series(query: FlowQuery, answer: FlowAnswer) -> Json | None:
    """Return the first groups second by second, where that was asked."""
    series = answer.series
    if series is None:
        return None
    return {
        "step_s": 1,
        "groups": [
            {"key": dict(zip(query.group, group.key, strict=True)), "values": list(values)}
            for group, values in zip(answer.groups, series.groups, strict=False)
        ],
        "other": list(series.other),
        "elsewhere": list(series.elsewhere),
        "unnamed": list(series.unnamed),
        "all": list(series.total),
    }


def latest_by_pair(captures: Iterable[Capture]) -> dict[tuple[str, str], Capture]:
    """Return the youngest capture of every pair."""
    latest: dict[tuple[str, str], Capture] = {}
    for each in captures:
        pair = each.local_ip, each.listed_ip
        if pair not in latest or latest[pair].created_at <= each.created_at:
            latest[pair] = each
    return latest


def events(found: Sequence[Mapping[str, object]], after: int) -> Json:
    """Return events with where to go on from and whether some were lost in between.

    Ids rise by one: a hole after ``after`` means the ring has moved on, ids below it another life of the daemon.
    """
    ids = [each["id"] for each in found]
    numbers = [each for each in ids if isinstance(each, int)]
    if not numbers:
        return {"events": [], "next": after, "gap": False}
    return {
        "events": [dict(each) for each in found],
        "next": numbers[-1],
        "gap": after > 0 and numbers[0] != after + 1,
    }
