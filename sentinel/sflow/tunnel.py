# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Tunnels in UDP and GRE.

VXLAN (RFC 7348) and its GPE, Geneve (RFC 8926), GRE (RFC 2784, 2890; in UDP 8086), MPLS (RFC 7510), GTP-U (TS 29.281).

Mirror traffic ends the walk: were our own ERSPAN matched inside, where a switch samples it on its way, it would feed
itself.
"""

from sentinel.sflow.layer import ETHERNET, IPV4, IPV6, MPLS, NSH, PPP, Layer, Step, by_nibble, u16

_TEB = 0x6558
_ETHER_TYPES = {_TEB: ETHERNET, 0x0800: IPV4, 0x86DD: IPV6, 0x8847: MPLS, 0x8848: MPLS, 0x880B: PPP, 0x894F: NSH}
# ERSPAN I and II, ERSPAN III, and what some switches use in their place.
_MIRROR = frozenset({0x88BE, 0x22EB, 0x8949})
_GPE_NEXT = {1: IPV4, 2: IPV6, 3: ETHERNET, 4: NSH, 5: MPLS}
_CHECKSUM, _ROUTING, _KEY, _SEQUENCE, _ACKNOWLEDGE = 0x8000, 0x4000, 0x2000, 0x1000, 0x0080
# The I flag: the VNI counts.
_VXLAN_VNI = 0x08
_VXLAN_FLAGS = b"\x08\0\0\0"
_GTP_DATA = 0xFF


def behind_udp(data: bytes, at: int, end: int, layer: Layer) -> Step | None:
    """The tunnel that the destination port names, else the source port; ``at`` is behind the UDP header."""
    parser = _BY_PORT.get(layer["dst_port"]) or _BY_SOURCE_PORT.get(layer["src_port"])
    return None if parser is None or at >= end else parser(data, at, end, layer)


def _vxlan(data: bytes, at: int, end: int, layer: Layer) -> Step | None:
    if end - at < 8 or not data[at] & _VXLAN_VNI:
        return None
    layer["vni"] = int.from_bytes(data[at + 4 : at + 7])
    return Step(ETHERNET, at + 8, end, inner=True)


def _vxlan_from(data: bytes, at: int, end: int, layer: Layer) -> Step | None:
    """By source port only what is VXLAN to the letter: any client may have drawn that number."""
    exact = data[at : min(at + 4, end)] == _VXLAN_FLAGS and at + 7 < end and data[at + 7] == 0
    return _vxlan(data, at, end, layer) if exact else None


def _vxlan_gpe(data: bytes, at: int, end: int, layer: Layer) -> Step | None:
    if end - at < 8 or not data[at] & _VXLAN_VNI:
        return None
    # The last octet of the flags' word names the protocol; some senders forget the P flag that says so.
    following = _GPE_NEXT.get(data[at + 3]) if data[at + 3] else ETHERNET
    layer["vni"] = int.from_bytes(data[at + 4 : at + 7])
    return None if following is None else Step(following, at + 8, end, inner=True)


def _geneve(data: bytes, at: int, end: int, layer: Layer) -> Step | None:
    if end - at < 8 or data[at] >> 6:
        return None
    layer["vni"] = int.from_bytes(data[at + 4 : at + 7])
    following = _ETHER_TYPES.get(u16(data, at + 2))
    # Options in words of four octets.
    return None if following is None else Step(following, at + 8 + (data[at] & 0x3F) * 4, end, inner=True)


def _mpls_in_udp(_data: bytes, at: int, end: int, _layer: Layer) -> Step | None:
    return Step(MPLS, at, end, inner=True)


def _gtp_user(data: bytes, at: int, end: int, _layer: Layer) -> Step | None:
    """3GPP TS 29.281: version 1, user data; with sequence, N-PDU or extensions four octets more and the extensions."""
    if end - at < 8 or data[at] >> 4 != 3 or data[at + 1] != _GTP_DATA:
        return None
    flags = data[at] & 0x07
    at += 8
    if flags:
        at += 4
        while flags & 0x04 and at <= end and data[at - 1]:
            if at >= end or not data[at]:
                return None
            at += data[at] * 4
    return by_nibble(data, at, end, inner=True)


def gre(data: bytes, at: int, end: int, layer: Layer) -> Step | None:
    """GRE of version 0 and 1; mirror traffic is marked and not entered."""
    if end - at < 4:
        return None
    flags, protocol = u16(data, at), u16(data, at + 2)
    version = flags & 7
    if protocol in _MIRROR:
        layer["mirror"] = "erspan"
        return None
    # Source routes (RFC 1701) were dropped in 2000; without their length nothing behind them is found.
    if version > 1 or flags & _ROUTING:
        return None
    at += 4 + sum(4 for flag in (_CHECKSUM, _KEY, _SEQUENCE) if flags & flag)
    if version == 1 and flags & _ACKNOWLEDGE:
        at += 4
    following = _ETHER_TYPES.get(protocol)
    return None if following is None else Step(following, at, end, inner=True)


_BY_PORT = {
    4789: _vxlan,
    8472: _vxlan,  # Linux before the number was assigned
    4790: _vxlan_gpe,
    6081: _geneve,
    4754: gre,
    6635: _mpls_in_udp,
    2152: _gtp_user,
}
_BY_SOURCE_PORT = {4789: _vxlan_from, 8472: _vxlan_from, 4790: _vxlan_gpe, 6081: _geneve, 2152: _gtp_user}
