# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""From a recorded link-layer frame to the IP packet in it (link types: the tcpdump.org registry)."""

from sentinel.errors import DecodeError
from sentinel.limits import MAX_OUTER_VLAN_TAGS

_NULL, _ETHERNET, _LOOP, _SLL, _SLL2 = 0, 1, 108, 113, 276
# LINKTYPE_RAW, the DLT_RAW values that some systems wrote instead, and LINKTYPE_IPV4/IPV6.
_RAW = frozenset({12, 14, 101, 228, 229})
_IP = frozenset({0x0800, 0x86DD})
_TAGS = frozenset({0x8100, 0x88A8, 0x9100, 0x9200})


def ip_packet(link_type: int, data: bytes) -> bytes | None:
    """The octets from the IP header on; ``None`` for a frame with something else.

    Raises ``DecodeError`` for an unknown link type or too many VLAN tags.
    """
    if link_type == _ETHERNET:
        return _after_ether_type(data, 12)
    if link_type in _RAW:
        return data
    if link_type in {_NULL, _LOOP}:
        # The address family differs between systems and byte orders; the version nibble behind it doesn't.
        return data[4:] if data[4:5] and data[4] >> 4 in {4, 6} else None
    if link_type == _SLL:
        return _after_ether_type(data, 14)
    if link_type == _SLL2:
        return data[20:] if int.from_bytes(data[:2]) in _IP else None
    raise DecodeError("link_type", f"link type {link_type}, expected Ethernet, raw IP, loopback or Linux cooked", 0)


def _after_ether_type(data: bytes, at: int) -> bytes | None:
    for _ in range(MAX_OUTER_VLAN_TAGS + 1):
        ether_type = int.from_bytes(data[at : at + 2])
        if ether_type in _IP:
            return data[at + 2 :]
        if ether_type not in _TAGS:
            return None
        at += 4
    raise DecodeError("vlan_tags", f"more than {MAX_OUTER_VLAN_TAGS} outer VLAN tags", at)
