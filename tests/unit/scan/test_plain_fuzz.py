# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever arrives, the scan neither raises nor loses count: a datagram is refused, bad, or its samples are counted."""

from hypothesis import given
from hypothesis import strategies as st

from sentinel.detect.engine import Detector
from sentinel.scan.plain import PlainScan
from tests.support.traffic import (
    LISTED,
    blacklist,
    datagram,
    discard,
    erspan,
    flow,
    frame,
    nat,
    nat_port,
    packet,
    vxlan,
)

GOOD = [
    datagram(flow(frame(packet())), flow(frame(vxlan(frame(packet("fd00::5", "2001:db8::9")))))),
    datagram(flow(frame(erspan(frame(packet())))), discard(frame(packet(LISTED, "10.0.0.5")))),
    datagram(flow(frame(packet()), extra_records=[nat("198.51.100.1", LISTED), nat_port(1, 2)])),
]
# Everything is listed, so that every decoded address goes all the way through.
EVERYTHING = blacklist("0.0.0.0/0", "::/0")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    octets = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(0, 8))):
        octets[draw(st.integers(0, len(octets) - 1))] = draw(st.integers(0, 255))
    return bytes(octets[: draw(st.integers(0, len(octets)))]) + draw(st.binary(max_size=40))


@given(st.lists(damaged() | st.binary(max_size=200), max_size=5))
def test_any_octets(payloads: list[bytes]) -> None:
    scanner, detector = PlainScan(erspan_destinations=["10.0.0.70"]), Detector(["10.0.0.0/8"])
    result = scanner.scan([(payload, "10.0.0.253", 1.0) for payload in payloads], EVERYTHING)
    for match in result.matches:
        detector.observe(match, 0.0)
    counters = scanner.counters
    assert counters.datagrams == len(payloads)
    assert counters.samples == (
        counters.flow_samples
        + counters.discards
        + counters.counters_samples
        + counters.unknown_samples
        + counters.bad_samples
    )
    assert counters.matches == len(result.matches) == 2 * counters.hits
    assert len(result.counters_samples) == counters.counters_samples
    for detection in detector.open_detections():
        assert detection.samples >= 1


def test_cut_at_every_offset() -> None:
    for whole in GOOD:
        expected = PlainScan().scan([(whole, "10.0.0.253", 1.0)], EVERYTHING).matches
        for end in range(len(whole)):
            found = PlainScan().scan([(whole[:end], "10.0.0.253", 1.0)], EVERYTHING).matches
            assert found == expected[: len(found)]
        assert PlainScan().scan([(whole + b"rubbish!", "10.0.0.253", 1.0)], EVERYTHING).matches == expected
