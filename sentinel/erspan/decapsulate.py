# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Mirrored packets, out of what a switch wrapped around them.

What is understood, by GRE protocol type (RFC 2784, RFC 2890; draft-foschiano-erspan-03):

- 0x88BE without a sequence number: ERSPAN type I, the frame follows at once (section 4.1);
- 0x88BE with one, and 0x22EB: the version field tells type II (1, 8 octets) from type III (2, 12 octets, and 8 more
  of platform subheader where the O bit says so), whichever of the two protocol types carried it;
- 0x8949: NVIDIA (Mellanox) mirroring as SONiC's Everflow has it, 22 opaque octets before the frame;
- 0x6558: Ethernet bridged over GRE.

Nothing else comes out, so that ordinary tunnels which pass by are never taken for mirrored traffic.
"""

import struct
from typing import Literal, NamedTuple

from sentinel.errors import DecodeError
from sentinel.limits import MIN_MIRRORED_FRAME_BYTES
from sentinel.packets.ip import GRE, UDP, Outer, parse

Kind = Literal["I", "II", "III", "mellanox", "teb"]

GRE_IN_UDP_PORT = 4754

_ERSPAN_I_II = 0x88BE
_ERSPAN_III = 0x22EB
_MELLANOX = 0x8949
_BRIDGED = 0x6558

_CHECKSUM, _ROUTING, _KEY, _SEQUENCE = 0x8000, 0x4000, 0x2000, 0x1000
_MELLANOX_HEADER_BYTES = 22
_PLATFORM_SUBHEADER_BYTES = 8
_ETHERNET_FRAME_TYPE = 0

_TWO = struct.Struct("!HH")
_WORD = struct.Struct("!I")
_TYPE_II = struct.Struct("!HHI")
_TYPE_III = struct.Struct("!HHIHH")
_UDP = struct.Struct("!HHHH")


class NotMirroredError(DecodeError):
    """A well-formed packet that carries no mirrored frame: another protocol, or GRE with another payload."""


class Mirrored(NamedTuple):
    """One mirrored frame, from its destination MAC on, without FCS, byte for byte as the switch sent it.

    ``truncated``: the switch (T bit), the path or the recording cut the frame; ``missing`` counts the octets lost on
    this side of the switch. ``session``, ``vlan`` and ``cos`` are of types II and III, ``span_index`` of II;
    ``timestamp`` (ticks of the switch, unit by ``granularity``: 0 100 µs, 1 100 ns, 2 IEEE 1588) and ``direction`` of
    III; ``sequence`` and ``key`` of GRE.
    """

    outer_src: str
    outer_dst: str
    kind: Kind
    frame: bytes
    truncated: bool = False
    missing: int = 0
    session: int | None = None
    span_index: int | None = None
    vlan: int | None = None
    cos: int | None = None
    sequence: int | None = None
    key: int | None = None
    direction: Literal["ingress", "egress"] | None = None
    timestamp: int | None = None
    granularity: int | None = None


def decapsulate(packet: bytes) -> Mirrored:
    """A whole outer IPv4 or IPv6 packet.

    Raises ``NotMirroredError`` where it carries something else, ``DecodeError`` where it is malformed or a fragment.
    """
    return decapsulate_outer(parse(packet))


def decapsulate_outer(outer: Outer) -> Mirrored:
    """An outer packet already parsed (and put together): GRE, or GRE in UDP to port 4754 (RFC 8086)."""
    if outer.fragment is not None:
        raise DecodeError("fragment", "a fragment, to be reassembled first", 0)
    if outer.protocol == GRE:
        return decapsulate_gre(outer.payload, outer.src, outer.dst, outer.missing)
    if outer.protocol != UDP:
        raise NotMirroredError("not_mirrored", f"IP protocol {outer.protocol}, not GRE", 0)
    return _decapsulate_udp(outer)


def _decapsulate_udp(outer: Outer) -> Mirrored:
    if len(outer.payload) < _UDP.size:
        raise DecodeError("truncated", "UDP header cut short", len(outer.payload))
    _, port, length, _ = _UDP.unpack_from(outer.payload)
    if port != GRE_IN_UDP_PORT:
        raise NotMirroredError("not_mirrored", f"UDP port {port}, not GRE", 2)
    if length < _UDP.size:
        raise DecodeError("udp_length", f"UDP length {length}, expected at least 8", 4)
    missing = max(0, length - len(outer.payload))
    return decapsulate_gre(outer.payload[_UDP.size : length], outer.src, outer.dst, missing)


def decapsulate_gre(payload: bytes, outer_src: str, outer_dst: str, missing: int = 0) -> Mirrored:
    """From the first octet of the GRE header, as a raw socket or a GRE-in-UDP datagram gives it; raises as above."""
    if len(payload) < _TWO.size:
        raise DecodeError("truncated", "GRE header cut short", len(payload))
    flags, protocol = _TWO.unpack_from(payload)
    if flags & 0x0007:
        raise NotMirroredError("not_mirrored", f"GRE version {flags & 7}, expected 0", 0)
    if protocol not in {_ERSPAN_I_II, _ERSPAN_III, _MELLANOX, _BRIDGED}:
        raise NotMirroredError("not_mirrored", f"GRE protocol type 0x{protocol:04x} carries no mirrored frame", 2)
    if flags & _ROUTING:
        raise DecodeError("source_routes", "GRE with source routes (RFC 1701), which no switch mirrors with", 0)
    at = 4 + (4 if flags & _CHECKSUM else 0)
    key, at = _optional_word(payload, at, flags & _KEY)
    sequence, at = _optional_word(payload, at, flags & _SEQUENCE)
    if at > len(payload):
        raise DecodeError("truncated", "GRE header cut short", len(payload))
    if protocol == _ERSPAN_III or (protocol == _ERSPAN_I_II and sequence is not None):
        return _versioned(payload, at, _Gre(outer_src, outer_dst, missing, sequence, key))
    kind: Kind = "I"
    if protocol == _MELLANOX:
        kind, at = "mellanox", at + _MELLANOX_HEADER_BYTES
    elif protocol == _BRIDGED:
        kind = "teb"
    frame = _frame(payload, at)
    return Mirrored(outer_src, outer_dst, kind, frame, missing > 0, missing, sequence=sequence, key=key)


class _Gre(NamedTuple):
    src: str
    dst: str
    missing: int
    sequence: int | None
    key: int | None


def _versioned(payload: bytes, at: int, gre: _Gre) -> Mirrored:
    if len(payload) < at + _TYPE_II.size:
        raise DecodeError("truncated", "ERSPAN header cut short", at)
    first, second, word = _TYPE_II.unpack_from(payload, at)
    version = first >> 12
    vlan, cos, session = first & 0x0FFF, second >> 13, second & 0x03FF
    truncated = bool(second & 0x0400) or gre.missing > 0
    if version == 1:
        return Mirrored(
            gre.src,
            gre.dst,
            "II",
            _frame(payload, at + _TYPE_II.size),
            truncated,
            gre.missing,
            session=session,
            span_index=word & 0xFFFFF,
            vlan=vlan,
            cos=cos,
            sequence=gre.sequence,
            key=gre.key,
        )
    if version != 2:
        raise DecodeError("erspan_version", f"ERSPAN version {version}, expected 1 or 2", at)
    if len(payload) < at + _TYPE_III.size:
        raise DecodeError("truncated", "ERSPAN type III header cut short", at)
    _, _, timestamp, _, bits = _TYPE_III.unpack_from(payload, at)
    frame_type = (bits >> 10) & 0x1F
    if frame_type != _ETHERNET_FRAME_TYPE:
        raise NotMirroredError("not_mirrored", f"ERSPAN frame type {frame_type}, which is not Ethernet", at + 10)
    start = at + _TYPE_III.size + (_PLATFORM_SUBHEADER_BYTES if bits & 1 else 0)
    return Mirrored(
        gre.src,
        gre.dst,
        "III",
        _frame(payload, start),
        truncated,
        gre.missing,
        session=session,
        vlan=vlan,
        cos=cos,
        sequence=gre.sequence,
        key=gre.key,
        direction="egress" if bits & 0x0008 else "ingress",
        timestamp=timestamp,
        granularity=(bits >> 1) & 3,
    )


def _optional_word(payload: bytes, at: int, present: int) -> tuple[int | None, int]:
    if not present:
        return None, at
    if len(payload) < at + 4:
        raise DecodeError("truncated", "GRE header cut short", len(payload))
    return _WORD.unpack_from(payload, at)[0], at + 4


def _frame(payload: bytes, at: int) -> bytes:
    frame = payload[at:]
    if len(frame) < MIN_MIRRORED_FRAME_BYTES:
        raise DecodeError("no_frame", f"{len(frame)} octets where an Ethernet frame should be", at)
    return frame
