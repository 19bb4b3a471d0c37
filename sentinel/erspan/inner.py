# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Whom a mirrored frame is between: the outermost addresses, which are what a switch's rule matched."""

from typing import NamedTuple

from sentinel.limits import DUPLICATE_PREFIX_BYTES
from sentinel.packets.ip import address_text

_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
# IEEE 802.1Q, 802.1ad, and the tags switches used before the latter.
_TAGS = frozenset({b"\x81\x00", b"\x88\xa8", b"\x91\x00", b"\x92\x00"})


class Inner(NamedTuple):
    """Source and destination; ``identity`` is the same for the packet at every hop.

    It leaves out what a hop changes: link header, tags, traffic class, TTL and header checksum; and what lies beyond
    the first ``DUPLICATE_PREFIX_BYTES``, which a switch may cut and the transport's checksum covers.
    """

    src: str
    dst: str
    identity: bytes


def inner_packet(frame: bytes) -> Inner | None:
    """The IP header behind any VLAN tags; ``None`` where there is none whole."""
    at = 12
    while (ether_type := frame[at : at + 2]) in _TAGS:
        at += 4
    header = at + 2
    if ether_type == _IPV4 and len(frame) >= header + 20 and frame[header] >> 4 == 4:
        end = _end(header, int.from_bytes(frame[header + 2 : header + 4]))
        return Inner(
            address_text(frame[header + 12 : header + 16]),
            address_text(frame[header + 16 : header + 20]),
            frame[header + 2 : header + 8] + frame[header + 9 : header + 10] + frame[header + 12 : end],
        )
    if ether_type == _IPV6 and len(frame) >= header + 40 and frame[header] >> 4 == 6:
        end = _end(header, 40 + int.from_bytes(frame[header + 4 : header + 6]))
        return Inner(
            address_text(frame[header + 8 : header + 24]),
            address_text(frame[header + 24 : header + 40]),
            frame[header + 4 : header + 7] + frame[header + 8 : end],
        )
    return None


def _end(header: int, length: int) -> int:
    """Where comparing ends: before the padding of a short frame, which differs from link to link."""
    return header + min(DUPLICATE_PREFIX_BYTES, length)
