# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""IPv4 (RFC 791), IPv6 with its extension headers (RFC 8200), and the ports above them."""

from socket import AF_INET, AF_INET6, inet_ntop

from sentinel.limits import MAX_EXTENSION_HEADERS
from sentinel.sflow.layer import ETHERNET, GRE, MPLS, Layer, Step, by_nibble, u16
from sentinel.sflow.tunnel import behind_udp

_ICMP, _IPIP, _TCP, _UDP, _IPV6, _GRE, _AH, _ICMPV6 = 1, 4, 6, 17, 41, 47, 51, 58
_IPIP_OLD, _ETHERIP, _MPLS = 94, 97, 137
_FRAGMENT, _NO_NEXT, _ESP = 44, 59, 50
# Hop-by-hop, routing, destination options, mobility, HIP, Shim6: next header, length in eights less one.
_EXTENSIONS = frozenset({0, 43, 60, 135, 139, 140})
# TCP, UDP, DCCP, SCTP and UDP-Lite have the ports in the same place.
_WITH_PORTS = frozenset({_TCP, _UDP, 33, 132, 136})


def ipv4(data: bytes, at: int, end: int, layer: Layer) -> Step | None:
    """The addresses as soon as they are there; options are passed over; no ports in later fragments."""
    if end - at < 20 or data[at] >> 4 != 4:
        return None
    header_size = (data[at] & 0xF) * 4
    total = u16(data, at + 2)
    layer["length"] = total
    layer["ttl"] = data[at + 8]
    protocol = layer["protocol"] = data[at + 9]
    layer["src_ip"] = inet_ntop(AF_INET, data[at + 12 : at + 16])
    layer["dst_ip"] = inet_ntop(AF_INET, data[at + 16 : at + 20])
    # 13 bits of fragment offset.
    if header_size < 20 or u16(data, at + 6) & 0x1FFF:
        return None
    # Zero where segmentation is offloaded: the rest of the frame then; else what follows is the link's padding.
    end = min(end, at + total) if total >= header_size else end
    at += header_size
    if protocol == _AH:
        return _behind_extensions(protocol, data, at, end, layer)
    return _transport(protocol, data, at, end, layer)


def ipv6(data: bytes, at: int, end: int, layer: Layer) -> Step | None:
    """``protocol`` becomes what stands behind the extension headers."""
    if end - at < 40 or data[at] >> 4 != 6:
        return None
    payload = u16(data, at + 4)
    layer["length"] = payload + 40
    layer["ttl"] = data[at + 7]
    layer["src_ip"] = inet_ntop(AF_INET6, data[at + 8 : at + 24])
    layer["dst_ip"] = inet_ntop(AF_INET6, data[at + 24 : at + 40])
    # Zero in a jumbogram (RFC 2675) and where segmentation is offloaded.
    end = min(end, at + 40 + payload) if payload else end
    return _behind_extensions(data[at + 6], data, at + 40, end, layer)


def _behind_extensions(protocol: int, data: bytes, at: int, end: int, layer: Layer) -> Step | None:
    for _ in range(MAX_EXTENSION_HEADERS):
        layer["protocol"] = protocol
        if protocol not in _EXTENSIONS and protocol not in {_FRAGMENT, _AH}:
            return _transport(protocol, data, at, end, layer)
        if end - at < 8:
            return None
        if protocol == _FRAGMENT:
            size = 8
            if u16(data, at + 2) & 0xFFF8:
                layer["protocol"] = data[at]
                return None
        else:
            # AH counts in fours less two (RFC 4302), the others in eights less one.
            size = (data[at + 1] + 2) * 4 if protocol == _AH else (data[at + 1] + 1) * 8
        protocol = data[at]
        at += size
    return None


def _transport(protocol: int, data: bytes, at: int, end: int, layer: Layer) -> Step | None:
    if protocol in _WITH_PORTS:
        if end - at < 4:
            return None
        layer["src_port"] = u16(data, at)
        layer["dst_port"] = u16(data, at + 2)
        if protocol == _TCP and end - at >= 14:
            layer["tcp_flags"] = data[at + 13]
        return behind_udp(data, at + 8, end, layer) if protocol == _UDP else None
    if at >= end:
        return None
    if protocol in {_ICMP, _ICMPV6}:
        layer["icmp_type"] = data[at]
        return None
    return _tunnelled(protocol, data, at, end)


def _tunnelled(protocol: int, data: bytes, at: int, end: int) -> Step | None:
    if protocol in {_IPIP, _IPV6, _IPIP_OLD}:
        return by_nibble(data, at, end, inner=True)
    if protocol == _GRE:
        return Step(GRE, at, end)
    if protocol == _MPLS:
        return Step(MPLS, at, end, inner=True)
    # RFC 3378: two octets, of which the first four bits are 3.
    if protocol == _ETHERIP and end - at >= 2 and data[at] >> 4 == 3:
        return Step(ETHERNET, at + 2, end, inner=True)
    return None
