# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Whom a mirrored frame is between: the outermost addresses, which are what a switch's rule matched."""

import socket

_IPV4, _IPV6 = 0x0800, 0x86DD
# IEEE 802.1Q, 802.1ad, and the tags switches used before the latter.
_TAGS = frozenset({0x8100, 0x88A8, 0x9100, 0x9200})


def address_pair(frame: bytes) -> tuple[str, str] | None:
    """(source, destination) of the IP header behind any VLAN tags; ``None`` where there is none whole."""
    at = 12
    ether_type = int.from_bytes(frame[at : at + 2])
    while ether_type in _TAGS:
        at += 4
        ether_type = int.from_bytes(frame[at : at + 2])
    header = at + 2
    if ether_type == _IPV4 and len(frame) >= header + 20 and frame[header] >> 4 == 4:
        return (
            socket.inet_ntop(socket.AF_INET, frame[header + 12 : header + 16]),
            socket.inet_ntop(socket.AF_INET, frame[header + 16 : header + 20]),
        )
    if ether_type == _IPV6 and len(frame) >= header + 40 and frame[header] >> 4 == 6:
        return (
            socket.inet_ntop(socket.AF_INET6, frame[header + 8 : header + 24]),
            socket.inet_ntop(socket.AF_INET6, frame[header + 24 : header + 40]),
        )
    return None
