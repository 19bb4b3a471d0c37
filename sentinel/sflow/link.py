# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Link layers: Ethernet II, 802.3 with LLC/SNAP, tags, PPPoE, PPP and MPLS.

Sources: IEEE 802.3, 802.1Q, 802.1ah; RFC 1042 (SNAP), 1661 (PPP), 2516 (PPPoE), 3032 and 4385 (MPLS), 8300 (NSH).
"""

from sentinel.limits import MAX_MPLS_LABELS, MAX_VLAN_TAGS
from sentinel.sflow.layer import ETHERNET, IPV4, IPV6, MPLS, NSH, PPP, Layer, Step, by_nibble, u16

# 802.1Q, 802.1ad, and what was used before it.
_VLAN_TAGS = frozenset({0x8100, 0x88A8, 0x9100, 0x9200, 0x9300})
# Tags without a VLAN for us, and the octets up to the EtherType behind: VN-Tag, 802.1BR E-Tag, Cisco MetaData.
_OTHER_TAGS = {0x8926: 4, 0x893F: 6, 0x8909: 6}
_NEXT = {0x0800: IPV4, 0x86DD: IPV6, 0x8847: MPLS, 0x8848: MPLS, 0x894F: NSH}
_PPPOE, _PBB = 0x8864, 0x88E7
# Below it stands a length (802.3), from it on a type.
_FIRST_ETHER_TYPE = 0x600
_SNAP = b"\xaa\xaa\x03"
# RFC 1042 and the bridge tunnel of 802.1H.
_SNAP_ETHERNET = frozenset({b"\0\0\0", b"\0\0\xf8"})
_PPP_NEXT = {0x0021: IPV4, 0x0057: IPV6, 0x0281: MPLS, 0x0283: MPLS}
_IPV4_EXPLICIT_NULL, _IPV6_EXPLICIT_NULL = 0, 2


def ethernet(data: bytes, at: int, end: int, layer: Layer) -> Step | None:
    """Destination, source, then what ether_type() reads."""
    if end - at < 6:
        return None
    layer["dst_mac"] = data[at : at + 6].hex(":")
    if end - at < 12:
        return None
    layer["src_mac"] = data[at + 6 : at + 12].hex(":")
    return ether_type(data, at + 12, end, layer)


def ether_type(data: bytes, at: int, end: int, layer: Layer) -> Step | None:
    """An EtherType with any tags before it; ``ether_type`` becomes the one behind the tags."""
    vlans: list[int] = []
    step = _behind_tags(data, at, end, layer, vlans)
    if vlans:
        layer["vlans"] = tuple(vlans)
    return step


def _behind_tags(data: bytes, at: int, end: int, layer: Layer, vlans: list[int]) -> Step | None:
    for _ in range(MAX_VLAN_TAGS + 1):
        if end - at < 2:
            return None
        kind = u16(data, at)
        at += 2
        if kind in _VLAN_TAGS:
            if end - at < 2:
                return None
            vlans.append(u16(data, at) & 0xFFF)
            at += 2
        elif kind in _OTHER_TAGS:
            at += _OTHER_TAGS[kind]
        elif kind < _FIRST_ETHER_TYPE:
            return _llc(data, at, min(end, at + kind), layer)
        else:
            layer["ether_type"] = kind
            return _payload(kind, data, at, end)
    return None


def _payload(kind: int, data: bytes, at: int, end: int) -> Step | None:
    following = _NEXT.get(kind)
    if following is not None:
        return Step(following, at, end)
    # PPPoE: version and type, code 0 (session data), session, length; then PPP without its address and control.
    if kind == _PPPOE and end - at >= 6 and data[at + 1] == 0:
        return Step(PPP, at + 6, end)
    # 802.1ah: four octets of I-TAG, then the customer's frame.
    if kind == _PBB and end - at >= 4:
        return Step(ETHERNET, at + 4, end, inner=True)
    return None


def _llc(data: bytes, at: int, end: int, layer: Layer) -> Step | None:
    """802.2: only SNAP with an EtherType leads on."""
    if end - at < 8 or data[at : at + 3] != _SNAP or data[at + 3 : at + 6] not in _SNAP_ETHERNET:
        return None
    layer["ether_type"] = u16(data, at + 6)
    return _payload(layer["ether_type"], data, at + 8, end)


def ppp(data: bytes, at: int, end: int, _layer: Layer) -> Step | None:
    """PPP, with or without HDLC's address and control; the protocol field may be compressed to one octet."""
    if data[at : min(at + 2, end)] == b"\xff\x03":
        at += 2
    if at >= end:
        return None
    size = 1 if data[at] & 1 else 2
    if end - at < size:
        return None
    following = _PPP_NEXT.get(data[at] if size == 1 else u16(data, at))
    return None if following is None else Step(following, at + size, end)


def pos(data: bytes, at: int, end: int, layer: Layer) -> Step | None:
    """Packet over SONET: PPP in HDLC-like framing, or Cisco HDLC (0F or 8F, 00, EtherType)."""
    if end - at >= 4 and data[at] in {0x0F, 0x8F} and data[at + 1] == 0:
        return ether_type(data, at + 2, end, layer)
    return ppp(data, at, end, layer)


def mpls(data: bytes, at: int, end: int, layer: Layer) -> Step | None:
    """The label stack; what lies behind it is nowhere said: explicit null tells, else the first four bits."""
    labels: list[int] = []
    bottom = False
    while not bottom and len(labels) < MAX_MPLS_LABELS and end - at >= 4:
        labels.append(data[at] << 12 | data[at + 1] << 4 | data[at + 2] >> 4)
        bottom = bool(data[at + 2] & 1)
        at += 4
    layer["mpls"] = (*layer.get("mpls", ()), *labels)
    if not bottom or at >= end:
        return None
    step = by_nibble(data, at, end)
    if step is not None or labels[-1] in {_IPV4_EXPLICIT_NULL, _IPV6_EXPLICIT_NULL}:
        return step
    return _pseudowire(data, at, end)


def _pseudowire(data: bytes, at: int, end: int) -> Step | None:
    """Ethernet over MPLS, with a control word (first four bits zero) or without; 1 in them is a control channel."""
    if data[at] >> 4 == 0 and end - at >= 4 + 14:
        return Step(ETHERNET, at + 4, end, inner=True)
    if data[at] >> 4 > 1 and end - at >= 14:
        return Step(ETHERNET, at, end, inner=True)
    return None


def nsh(data: bytes, at: int, end: int, _layer: Layer) -> Step | None:
    """Network service header (RFC 8300): its length in words, then IPv4, IPv6 or Ethernet."""
    if end - at < 8:
        return None
    behind = at + max(data[at + 1] & 0x3F, 2) * 4
    following = {1: IPV4, 2: IPV6, 3: ETHERNET, 5: MPLS}.get(data[at + 3])
    if following is None or behind >= end:
        return None
    return Step(following, behind, end, inner=following == ETHERNET)
