# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Which way a packet goes, seen from our network."""

import pytest

from sentinel.detect import direction
from sentinel.detect.engine import Detector
from tests.support.traffic import match

US, US_TOO, STRANGER, OTHER = "10.0.0.5", "10.9.9.9", "198.51.100.7", "203.0.113.9"


@pytest.mark.parametrize(
    ("src", "dst", "listed", "expected", "evidence"),
    [
        (US, OTHER, "destination", "outbound", "initiated"),
        (OTHER, US, "source", "inbound", "contacted"),
        (STRANGER, OTHER, "destination", "transit", "initiated"),
        (OTHER, STRANGER, "source", "transit", "contacted"),
        # Both ours: the unlisted one stands for us.
        (US, US_TOO, "destination", "outbound", "initiated"),
        (US_TOO, US, "source", "inbound", "contacted"),
        # A feed lists an address of ours: what leaves our network is outbound all the same.
        (US, STRANGER, "source", "outbound", "initiated"),
        (STRANGER, US, "destination", "inbound", "contacted"),
        ("fd00::5", "2001:db8::9", "destination", "outbound", "initiated"),
        ("2001:db8::9", "fd00::5", "source", "inbound", "contacted"),
    ],
)
def test_one_packet(src: str, dst: str, listed: str, expected: str, evidence: str) -> None:
    detector = Detector(["10.0.0.0/8", "fd00::/8"])
    [event] = detector.observe(match(src_ip=src, dst_ip=dst, listed=listed), 0.0)
    assert (event.detection.direction, event.detection.evidence) == (expected, evidence)
    unlisted, listed_ip = (dst, src) if listed == "source" else (src, dst)
    assert (event.detection.local_ip, event.detection.listed_ip) == (unlisted, listed_ip)


def test_transit_stays_transit_when_both_directions_are_seen() -> None:
    assert direction.of(False, outbound_seen=True, inbound_seen=True) == "transit"


@pytest.mark.parametrize("prefix", ["bogus", "10.0.0.0/x", "10.0.0.0/33", "", "10.0.0.0/8 "])
def test_what_is_no_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="does not appear"):
        direction.LocalNetworks([prefix])


def test_host_bits_and_single_addresses_are_taken() -> None:
    local = direction.LocalNetworks(["10.1.2.3/8", "192.0.2.7", "fd00::1"])
    assert [ip in local for ip in ("10.200.0.1", "192.0.2.7", "192.0.2.8", "fd00::1", "fd00::2")] == [
        True, True, False, True, False,
    ]  # fmt: skip
