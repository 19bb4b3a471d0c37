# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Ethernet frames in, ERSPAN packets out: the bytes of the emulated data plane. Pure."""

import struct
from typing import NamedTuple, Optional, Tuple

from switch_acl_api.limits import MAX_VLAN_TAGS

_VLAN_TYPES = {0x8100, 0x88A8, 0x9100}
GRE_ERSPAN = 0x88BE
_GRE_SEQUENCE = 0x1000
# ERSPAN type II carries version 1 in its header; type I has no header at all.
_ERSPAN_II_VERSION = 1
_SESSION_ID = 1


class Addresses(NamedTuple):
    """The outermost IP addresses of a frame, packed as on the wire."""

    family: int
    source: bytes
    destination: bytes


def split_datagram(data: bytes) -> Optional[Tuple[str, bytes]]:
    """1 octet length of the in-port's name, the name, an Ethernet frame: (port, frame), or ``None``."""
    if not data or len(data) < 1 + data[0] + 14:
        return None
    try:
        port = data[1 : 1 + data[0]].decode("ascii")
    except UnicodeDecodeError:
        return None
    return port, data[1 + data[0] :]


def addresses_of(frame: bytes) -> Optional[Addresses]:
    """The outermost IPv4 or IPv6 addresses behind up to ``MAX_VLAN_TAGS`` tags, or ``None``."""
    offset = 12
    for _ in range(MAX_VLAN_TAGS + 1):
        if len(frame) < offset + 2:
            return None
        ether_type = (frame[offset] << 8) | frame[offset + 1]
        if ether_type not in _VLAN_TYPES:
            break
        offset += 4
    packet = frame[offset + 2 :]
    if ether_type == 0x0800 and len(packet) >= 20 and packet[0] >> 4 == 4:
        return Addresses(4, packet[12:16], packet[16:20])
    if ether_type == 0x86DD and len(packet) >= 40 and packet[0] >> 4 == 6:
        return Addresses(6, packet[8:24], packet[24:40])
    return None


def erspan(frame: bytes, version: int, sequence: int) -> bytes:
    """GRE and ERSPAN in front of the frame. Version 1: four octets of GRE only, the form Cumulus documents.

    Version 2 is type II of draft-foschiano-erspan-03, section 4.2: GRE with a sequence number, eight octets of header.
    """
    if version == 1:
        return struct.pack("!HH", 0, GRE_ERSPAN) + frame
    vlan, tagged = 0, 0
    if len(frame) >= 16 and ((frame[12] << 8) | frame[13]) in _VLAN_TYPES:
        vlan, tagged = ((frame[14] << 8) | frame[15]) & 0x0FFF, 3
    gre = struct.pack("!HHI", _GRE_SEQUENCE, GRE_ERSPAN, sequence & 0xFFFFFFFF)
    header = struct.pack("!HHI", (_ERSPAN_II_VERSION << 12) | vlan, (tagged << 11) | _SESSION_ID, 0)
    return gre + header + frame
