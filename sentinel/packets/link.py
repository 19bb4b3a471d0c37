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


def ip_packet(link_type: int, data: bytes) -> bytes:
    """Return the octets from the IP header on.

    Raises ``DecodeError``: ``not_ip`` for another protocol, ``link_type``, or ``vlan_tags`` for too many of them.
    """
    if link_type == _ETHERNET:
        return _after_ether_type(data, 12)
    if link_type in _RAW:
        return data
    if link_type in {_NULL, _LOOP}:
        # The address family differs between systems and byte orders; the version nibble behind it doesn't.
        if data[4:5] and data[4] >> 4 in {4, 6}:
            return data[4:]
        raise DecodeError("not_ip", "neither IPv4 nor IPv6 behind the address family", 4)
    if link_type == _SLL:
        return _after_ether_type(data, 14)
    if link_type == _SLL2:
        if (protocol := int.from_bytes(data[:2])) in _IP:
            return data[20:]
        raise _not_ip(protocol, 0)
    raise DecodeError("link_type", f"link type {link_type}, expected Ethernet, raw IP, loopback or Linux cooked", 0)


def _not_ip(ether_type: int, at: int) -> DecodeError:
    return DecodeError("not_ip", f"protocol 0x{ether_type:04x}, expected IPv4 or IPv6", at)


def _after_ether_type(data: bytes, at: int) -> bytes:
    for _ in range(MAX_OUTER_VLAN_TAGS + 1):
        ether_type = int.from_bytes(data[at : at + 2])
        if ether_type in _IP:
            return data[at + 2 :]
        if ether_type not in _TAGS:
            raise _not_ip(ether_type, at)
        at += 4
    raise DecodeError("vlan_tags", f"more than {MAX_OUTER_VLAN_TAGS} outer VLAN tags", at)
