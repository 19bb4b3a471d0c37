# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The table of evidence, line by line."""

import pytest

from sentinel.detect import evidence
from tests.support.traffic import ACK, RST, SYN, match

FIN, PSH, ECE, CWR = 0x01, 0x08, 0x40, 0x80
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58

# protocol, our port, listed port, flags, ICMP type → evidence of a packet from us
OUTBOUND = [
    # A bare SYN says it, whatever the ports, whatever the congestion bits.
    (TCP, 51000, 443, SYN, None, "initiated"),
    (TCP, 443, 51000, SYN, None, "initiated"),
    (TCP, 51000, 61000, SYN | ECE | CWR, None, "initiated"),
    (TCP, None, None, SYN, None, "initiated"),
    # Answers to a connection attempt, whatever the ports.
    (TCP, 443, 51000, SYN | ACK, None, "answered"),
    (TCP, 51000, 443, SYN | ACK, None, "answered"),
    (TCP, 51000, 443, RST, None, "answered"),
    (TCP, 51000, 443, RST | ACK, None, "answered"),
    (TCP, 51000, 443, SYN | RST, None, "answered"),
    # Within a connection, with unknown flags, with none: the better class of port is the server.
    (TCP, 51000, 443, ACK, None, "initiated"),
    (TCP, 51000, 443, PSH | ACK, None, "initiated"),
    (TCP, 51000, 443, FIN | ACK, None, "initiated"),
    (TCP, 51000, 443, 0, None, "initiated"),
    (TCP, 51000, 443, None, None, "initiated"),
    (TCP, 443, 51000, ACK, None, "answered"),
    (TCP, 22, 51000, None, None, "answered"),
    (TCP, 51000, 8080, ACK, None, "initiated"),
    (TCP, 8080, 51000, ACK, None, "answered"),
    (TCP, 3000, 443, ACK, None, "initiated"),
    (TCP, 443, 3000, ACK, None, "answered"),
    (TCP, 51000, 61000, ACK, None, "answered"),
    (TCP, 4000, 5000, ACK, None, "answered"),
    (TCP, 51000, 0, ACK, None, "answered"),
    # UDP has only ports.
    (UDP, 51000, 53, None, None, "initiated"),
    (UDP, 53, 51000, None, None, "answered"),
    (UDP, 51000, 443, None, None, "initiated"),
    (UDP, 443, 51000, None, None, "answered"),
    (UDP, 51000, 123, None, None, "initiated"),
    (UDP, 123, 123, None, None, "answered"),
    (UDP, 53, 53, None, None, "answered"),
    (UDP, 53, 80, None, None, "answered"),
    (UDP, 40000, 51820, None, None, "answered"),
    (UDP, 1023, 1024, None, None, "answered"),
    (UDP, 1024, 1023, None, None, "initiated"),
    (UDP, 32768, 32767, None, None, "initiated"),
    (UDP, 32767, 32768, None, None, "answered"),
    (132, 50000, 36, None, None, "initiated"),
    # A later fragment has neither ports nor flags.
    (TCP, None, None, None, None, "answered"),
    (UDP, None, None, None, None, "answered"),
    # ICMP: who asks, initiates.
    (ICMP, None, None, None, 8, "initiated"),
    (ICMP, None, None, None, 0, "answered"),
    (ICMP, None, None, None, 3, "answered"),
    (ICMP, None, None, None, 11, "answered"),
    (ICMP, None, None, None, 13, "initiated"),
    (ICMP, None, None, None, None, "answered"),
    (ICMPV6, None, None, None, 128, "initiated"),
    (ICMPV6, None, None, None, 129, "answered"),
    (ICMPV6, None, None, None, 1, "answered"),
    (ICMPV6, None, None, None, 8, "answered"),
    # Ports of a protocol that has none mean nothing.
    (47, None, None, None, None, "answered"),
    (50, 51000, 443, None, None, "answered"),
    (None, None, None, None, None, "answered"),
]


Line = tuple[int | None, int | None, int | None, int | None, int | None, str]


@pytest.mark.parametrize("line", OUTBOUND)
def test_what_our_own_packet_proves(line: Line) -> None:
    protocol, ours, listed, flags, icmp, expected = line
    packet = match(protocol=protocol, src_port=ours, dst_port=listed, tcp_flags=flags, icmp_type=icmp)
    assert evidence.of(packet, outbound=True) == expected


@pytest.mark.parametrize("line", OUTBOUND)
def test_their_packet_proves_only_contact(line: Line) -> None:
    protocol, theirs, ours, flags, icmp, _ = line
    packet = match(protocol=protocol, src_port=theirs, dst_port=ours, tcp_flags=flags, icmp_type=icmp)
    assert evidence.of(packet, outbound=False) == "contacted"


@pytest.mark.parametrize(
    ("port", "rank"), [(None, 0), (0, 0), (1, 2), (1023, 2), (1024, 1), (32767, 1), (32768, 0), (65535, 0)]
)
def test_class_of_port(port: int | None, rank: int) -> None:
    assert evidence.port_class(port) == rank
