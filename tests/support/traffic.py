# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Sampled traffic in few words: matches as the scan makes them, and datagrams as agents send them."""

from typing import Any

from sentinel.model import Indicator, Match

LOCAL = "10.0.0.5"
LISTED = "203.0.113.9"
LEAF1 = "10.0.0.253"
SYN, ACK, RST = 0x02, 0x10, 0x04
INDICATORS = (Indicator("203.0.113.9/32", "compromised", "hosts"), Indicator("203.0.113.0/24", "block", "drop"))


def match(**changes: Any) -> Match:
    """One sampled outbound SYN from LOCAL to LISTED port 443, seen bare by LEAF1 port 3 at 1:1000, unless changed."""
    values: dict[str, Any] = {
        "agent": LEAF1,
        "sender": changes.get("agent", LEAF1),
        "source_class": 0,
        "source_index": 3,
        "input": 3,
        "output": 5,
        "sampling_rate": 1000,
        "frame_length": 100,
        "src_ip": LOCAL,
        "dst_ip": LISTED,
        "protocol": 6,
        "src_port": 51000,
        "dst_port": 443,
        "tcp_flags": SYN,
        "icmp_type": None,
        "layer": 0,
        "vni": None,
        "listed": "destination",
        "indicators": INDICATORS,
        "seen_at": 1_000.0,
    }
    return Match(**(values | changes))


def reply(**changes: Any) -> Match:
    """The other way: from LISTED port 443 to LOCAL, a SYN-ACK, unless changed."""
    values: dict[str, Any] = {
        "src_ip": LISTED,
        "dst_ip": LOCAL,
        "src_port": 443,
        "dst_port": 51000,
        "tcp_flags": SYN | ACK,
        "listed": "source",
        "source_index": 5,
        "input": 5,
        "output": 3,
    }
    return match(**(values | changes))
