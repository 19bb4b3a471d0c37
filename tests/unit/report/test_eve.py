# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Every key of the replay contract, and what Suricata's readers expect of them."""

import json
from dataclasses import replace
from typing import Any

import pytest

from sentinel.detect.engine import Detector
from sentinel.model import Capture, Detection, Indicator, Mirror
from sentinel.report import eve
from tests.support.traffic import INDICATORS, LEAF1, LISTED, LOCAL, match

FIRST_SEEN = 1_787_378_400.25  # 2026-08-22 06:00:00.25 UTC


def detection(**changes: Any) -> Detection:
    [event] = Detector(["10.0.0.0/8"]).observe(match(seen_at=FIRST_SEEN), 0.0)
    return replace(event.detection, **changes)


def test_one_alert_whole() -> None:
    event = eve.alert(detection())
    assert event.pop("flow_id") == eve.flow_id(LOCAL, LISTED)
    assert event == {
        "timestamp": "2026-08-22T06:00:00.250000+0000",
        "event_type": "alert",
        "src_ip": LOCAL,
        "src_port": 51000,
        "dest_ip": LISTED,
        "dest_port": 443,
        "proto": "TCP",
        "alert": {
            "action": "allowed",
            "gid": 6343,
            "signature_id": 3,
            "rev": 1,
            "signature": "Sentinel: initiated (outbound) with listed 203.0.113.9/32, feed compromised, group hosts",
            "category": "A Network Trojan was detected",
            "severity": 1,
            "metadata": {
                "feed": ["compromised", "block"],
                "group": ["hosts", "drop"],
                "indicator": ["203.0.113.9/32", "203.0.113.0/24"],
                "direction": ["outbound"],
                "evidence": ["initiated"],
            },
        },
        "sentinel": {
            "local_ip": LOCAL,
            "listed_ip": LISTED,
            "direction": "outbound",
            "evidence": "initiated",
            "indicators": [
                {"prefix": "203.0.113.9/32", "feed": "compromised", "group": "hosts"},
                {"prefix": "203.0.113.0/24", "feed": "block", "group": "drop"},
            ],
            "layer": 0,
            "observers": [
                {
                    "agent": LEAF1,
                    "source_index": 3,
                    "input": 3,
                    "output": 5,
                    "samples": 1,
                    "packets": 1000,
                    "bytes": 100_000,
                }
            ],
            "samples": 1,
            "packets": 1000,
            "packets_error_pct": 196.0,
            "bytes": 100_000,
            "first_seen": "2026-08-22T06:00:00.250000+0000",
            "last_seen": "2026-08-22T06:00:00.250000+0000",
        },
    }


def test_the_daemons_lines_add_state_and_their_own_time() -> None:
    opening, closing = eve.alert(detection()), eve.alert(detection(), state="closed", timestamp=FIRST_SEEN + 60)
    assert closing["sentinel"].pop("state") == "closed"
    assert closing.pop("timestamp") == "2026-08-22T06:01:00.250000+0000"
    del opening["timestamp"]
    assert closing == opening


def test_what_a_packet_does_not_have_is_left_out() -> None:
    event = eve.alert(detection(protocol=1, src_port=None, dst_port=None))
    assert event["proto"] == "ICMP"
    assert not {"src_port", "dest_port"} & set(event)
    assert "proto" not in eve.alert(detection(protocol=None))


@pytest.mark.parametrize(
    ("number", "name"), [(6, "TCP"), (17, "UDP"), (1, "ICMP"), (58, "IPv6-ICMP"), (47, "GRE"), (253, "253"), (9, "009")]
)
def test_protocol_names(number: int, name: str) -> None:
    assert eve.protocol_name(number) == name


@pytest.mark.parametrize(
    ("evidence", "direction", "expected"),
    [
        ("initiated", "outbound", 1),
        ("initiated", "transit", 2),
        ("answered", "both", 2),
        ("answered", "transit", 3),
        ("contacted", "inbound", 3),
        ("contacted", "transit", 3),
    ],
)
def test_severity(evidence: Any, direction: Any, expected: int) -> None:
    assert eve.severity(evidence, direction) == expected


def test_flow_id_is_the_pairs_and_fits_a_double() -> None:
    ids = {eve.flow_id("10.0.0.5", f"203.0.113.{n}") for n in range(256)}
    assert len(ids) == 256
    assert all(0 < number < 2**53 for number in ids)
    assert eve.flow_id(LOCAL, LISTED) == eve.flow_id(LISTED, LOCAL)
    assert eve.flow_id("10.0.0.5", "203.0.113.9") == 3_863_252_143_429_254


def test_text_from_a_feed_stays_data() -> None:
    nasty = Indicator("203.0.113.9/32", 'x"}\n{"event_type":"fake', "\x1b[31m<script>\u2028")
    line = json.dumps(eve.alert(detection(indicators=(nasty, *INDICATORS))))
    assert "\n" not in line
    assert "\x1b" not in line
    assert json.loads(line)["sentinel"]["indicators"][0]["feed"] == nasty.feed


def test_a_capture_changes() -> None:
    capture = Capture(
        id="c1",
        local_ip=LOCAL,
        listed_ip=LISTED,
        state="active",
        reason="initiated",
        requested_by="policy",
        created_at=FIRST_SEEN,
        evidence_at=FIRST_SEEN + 1,
        ends_at=FIRST_SEEN + 600,
        indicators=INDICATORS[:1],
        mirrors=(Mirror("c1", "leaf1", "sentinel_1", ("-A FORWARD",), "active", 7, 700),),
    )
    event = eve.capture_event(capture, "installing")
    assert event["event_type"] == "capture"
    assert event["flow_id"] == eve.alert(detection())["flow_id"]
    assert event["timestamp"] == "2026-08-22T06:00:01.250000+0000"
    assert (event["capture"]["previous_state"], event["capture"]["state"]) == ("installing", "active")
    assert event["capture"]["mirrors"] == [
        {"switch": "leaf1", "rule": "sentinel_1", "state": "active", "packets": 7, "bytes": 700}
    ]
    assert "ended_at" not in event["capture"]
    failed = replace(capture, state="failed", note="refused", mirrors=(replace(capture.mirrors[0], error="no room"),))
    event = eve.capture_event(failed, timestamp=FIRST_SEEN + 9)
    assert event["capture"]["note"] == "refused"
    assert event["capture"]["mirrors"][0]["error"] == "no room"
    assert "previous_state" not in event["capture"]
    json.dumps(event)
