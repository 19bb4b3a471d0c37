# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Detections and captures as Suricata EVE events, so that what reads Suricata reads us.

Plain dictionaries of JSON types; escaping is left to whoever writes JSON. The form is that of Suricata 7 (its user
guide, "EVE JSON Format"): an ``alert`` for a detection, and our own event type ``capture``. ``src`` and ``dest`` of an
alert are those of the first packet seen; absent ports are left out, as Suricata does for ICMP.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from sentinel.model import Capture, Detection, Direction, Evidence, Indicator, Mirror, Observer
from sentinel.times import time_text

# Suricata's own names (src/util-proto-name.c, after /etc/protocols); others are three digits there.
_PROTOCOLS = {
    1: "ICMP",
    2: "IGMP",
    4: "IP-ENCAP",
    6: "TCP",
    17: "UDP",
    33: "DCCP",
    41: "IPv6",
    47: "GRE",
    50: "ESP",
    51: "AH",
    58: "IPv6-ICMP",
    89: "OSPFIGP",
    132: "SCTP",
    136: "UDPLite",
}

# Outside gid 1, so that these never clash with the rules of a Suricata beside us; 6343 is sFlow's port.
GID = 6343
REVISION = 1
_SIGNATURE_IDS: dict[Evidence, int] = {"contacted": 1, "answered": 2, "initiated": 3}
# Texts and priorities of Suricata's classification.config: misc-attack, bad-unknown, trojan-activity.
_CATEGORIES: dict[Evidence, str] = {
    "contacted": "Misc Attack",
    "answered": "Potentially Bad Traffic",
    "initiated": "A Network Trojan was detected",
}
_SEVERITIES: dict[Evidence, int] = {"contacted": 3, "answered": 2, "initiated": 1}
_LOWEST_SEVERITY = 3

# What a 64-bit float, and with it every JSON reader, still holds exactly.
_FLOW_IDS = 2**53 - 1


def alert(detection: Detection, *, state: str | None = None, timestamp: float | None = None) -> dict[str, Any]:
    """One alert; with ``state`` where it is one of several in a detection's life. Its time is else ``first_seen``."""
    event: dict[str, Any] = {
        "timestamp": time_text(detection.first_seen if timestamp is None else timestamp),
        "flow_id": flow_id(detection.local_ip, detection.listed_ip),
        "event_type": "alert",
        "src_ip": detection.src_ip,
        "src_port": detection.src_port,
        "dest_ip": detection.dst_ip,
        "dest_port": detection.dst_port,
        "proto": protocol_name(detection.protocol),
        "alert": {
            "action": "allowed",
            "gid": GID,
            "signature_id": _SIGNATURE_IDS[detection.evidence],
            "rev": REVISION,
            "signature": signature(detection),
            "category": _CATEGORIES[detection.evidence],
            "severity": severity(detection.evidence, detection.direction),
            "metadata": _metadata(detection),
        },
        "sentinel": {
            "local_ip": detection.local_ip,
            "listed_ip": detection.listed_ip,
            "direction": detection.direction,
            "evidence": detection.evidence,
            "indicators": _indicators(detection.indicators),
            "layer": detection.layer,
            "observers": [_observer(observer) for observer in detection.observers],
            "samples": detection.samples,
            "packets": detection.packets,
            "packets_error_pct": detection.packets_error_pct,
            "bytes": detection.bytes,
            "first_seen": time_text(detection.first_seen),
            "last_seen": time_text(detection.last_seen),
        },
    }
    if state is not None:
        event["sentinel"]["state"] = state
    return {key: value for key, value in event.items() if value is not None}


def capture_event(
    capture: Capture, previous_state: str | None = None, *, timestamp: float | None = None
) -> dict[str, Any]:
    """One change of a capture; ``flow_id`` is that of its detection's alerts, its time else the capture's latest."""
    at = max(capture.created_at, capture.evidence_at, capture.ended_at or 0.0) if timestamp is None else timestamp
    details = {
        "id": capture.id,
        "state": capture.state,
        "previous_state": previous_state,
        "reason": capture.reason,
        "requested_by": capture.requested_by,
        "local_ip": capture.local_ip,
        "listed_ip": capture.listed_ip,
        "created_at": time_text(capture.created_at),
        "evidence_at": time_text(capture.evidence_at),
        "ends_at": time_text(capture.ends_at),
        "ended_at": None if capture.ended_at is None else time_text(capture.ended_at),
        "note": capture.note or None,
        "indicators": _indicators(capture.indicators),
        "mirrors": [_mirror(mirror) for mirror in capture.mirrors],
    }
    return {
        "timestamp": time_text(at),
        "flow_id": flow_id(capture.local_ip, capture.listed_ip),
        "event_type": "capture",
        "src_ip": capture.local_ip,
        "dest_ip": capture.listed_ip,
        "capture": {key: value for key, value in details.items() if value is not None},
    }


def signature(detection: Detection) -> str:
    """One line for people: what happened, and the first indicator's prefix, feed and group."""
    first = detection.indicators[0]
    return (
        f"Sentinel: {detection.evidence} ({detection.direction}) with listed {first.prefix}, "
        f"feed {first.feed}, group {first.group or '-'}"
    )


def severity(evidence: Evidence, direction: Direction) -> int:
    """1 (worst) to 3: by evidence, one milder for traffic between strangers."""
    milder = 1 if direction == "transit" else 0
    return min(_SEVERITIES[evidence] + milder, _LOWEST_SEVERITY)


def flow_id(one_ip: str, other_ip: str) -> int:
    """A number for the pair, whoever comes first: 53 bits, never 0, the same in every run."""
    text = "|".join(sorted((one_ip, other_ip)))
    digest = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
    return digest % _FLOW_IDS + 1


def protocol_name(protocol: int | None) -> str | None:
    """Suricata's name of an IP protocol number."""
    return None if protocol is None else _PROTOCOLS.get(protocol, f"{protocol:03d}")


def _metadata(detection: Detection) -> dict[str, list[str]]:
    """Lists of strings, the only form every EVE reader takes there."""
    return {
        "feed": _distinct(indicator.feed for indicator in detection.indicators),
        "group": _distinct(indicator.group for indicator in detection.indicators if indicator.group),
        "indicator": _distinct(indicator.prefix for indicator in detection.indicators),
        "direction": [detection.direction],
        "evidence": [detection.evidence],
    }


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _indicators(indicators: Iterable[Indicator]) -> list[dict[str, str]]:
    return [{"prefix": i.prefix, "feed": i.feed, "group": i.group} for i in indicators]


def _observer(observer: Observer) -> dict[str, Any]:
    return {
        "agent": observer.agent,
        "source_index": observer.source_index,
        "input": observer.input,
        "output": observer.output,
        "samples": observer.samples,
        "packets": observer.packets,
        "bytes": observer.bytes,
    }


def _mirror(mirror: Mirror) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "switch": mirror.switch,
        "rule": mirror.rule,
        "state": mirror.state,
        "packets": mirror.packets,
        "bytes": mirror.bytes,
    }
    if mirror.error:
        fields["error"] = mirror.error
    return fields
