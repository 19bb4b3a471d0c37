# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The outer IP header of mirrored packets: who sent it, and the octets behind it.

RFC 791, RFC 8200. Link padding ends where the IP length says. A length of 0 is what a recording on the sending host has
for packets that its network card cuts into segments: such a packet reaches to the end of its frame. Extension headers
are walked up to a fragment header, which is returned as such: what follows it can only be read once the packet is whole
(``resume``).
"""

import struct
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop
from typing import NamedTuple

from sentinel.errors import DecodeError
from sentinel.limits import ADDRESS_TEXTS_KEPT, MAX_OUTER_EXTENSION_HEADERS

GRE = 47
UDP = 17

_FRAGMENT = 44
_AUTHENTICATION = 51
# Hop-by-hop, routing, destination options, mobility, HIP, shim6: next header, then the length in 8 octets beyond 8.
_EXTENSIONS = frozenset({0, 43, 60, 135, 139, 140})

_IPV4 = struct.Struct("!BxHHHxBxx4s4s")
_IPV6 = struct.Struct("!4xHBx16s16s")
_FRAGMENT_HEADER = struct.Struct("!BxHI")


class Fragment(NamedTuple):
    """A piece of a packet: ``offset`` in octets of the whole, ``more`` while others follow behind it."""

    identification: int
    offset: int
    more: bool


class Outer(NamedTuple):
    """One IP packet. ``missing`` counts octets the header promised and the recording doesn't have."""

    version: int
    src: str
    dst: str
    protocol: int
    payload: bytes
    fragment: Fragment | None = None
    missing: int = 0


@lru_cache(ADDRESS_TEXTS_KEPT)
def address_text(address: bytes) -> str:
    """4 or 16 octets as ``inet_ntop`` writes them; a receiver meets the same few again and again."""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


def parse(packet: bytes) -> Outer:
    """Bytes from the first octet of an IP header; raises ``DecodeError``."""
    if not packet:
        raise DecodeError("truncated", "no IP header", 0)
    version = packet[0] >> 4
    if version == 4:
        return _ipv4(packet)
    if version == 6:
        return _ipv6(packet)
    raise DecodeError("ip_version", f"IP version {version}, expected 4 or 6", 0)


def resume(version: int, src: str, dst: str, protocol: int, payload: bytes) -> Outer:
    """A reassembled packet: the rest of its extension headers, now that they are whole."""
    if version == 4:
        return Outer(4, src, dst, protocol, payload)
    return _walk(src, dst, protocol, payload, 0)


def _ipv4(packet: bytes) -> Outer:
    if len(packet) < _IPV4.size:
        raise DecodeError("truncated", "IPv4 header cut short", len(packet))
    first, total_length, identification, flags, protocol, src, dst = _IPV4.unpack_from(packet)
    header_length = (first & 0x0F) * 4
    if header_length < _IPV4.size:
        raise DecodeError("ip_length", f"IPv4 header length {header_length}, expected at least 20", 0)
    if not total_length:
        total_length = len(packet)
    if total_length < header_length:
        raise DecodeError("ip_length", f"IPv4 total length {total_length} is less than its header's {header_length}", 2)
    if len(packet) < header_length:
        raise DecodeError("truncated", "IPv4 options cut short", len(packet))
    offset = (flags & 0x1FFF) * 8
    more = bool(flags & 0x2000)
    return Outer(
        4,
        address_text(src),
        address_text(dst),
        protocol,
        packet[header_length:total_length],
        Fragment(identification, offset, more) if offset or more else None,
        max(0, total_length - len(packet)),
    )


def _ipv6(packet: bytes) -> Outer:
    if len(packet) < _IPV6.size:
        raise DecodeError("truncated", "IPv6 header cut short", len(packet))
    payload_length, next_header, src, dst = _IPV6.unpack_from(packet)
    end = _IPV6.size + payload_length if payload_length else len(packet)
    return _walk(
        address_text(src),
        address_text(dst),
        next_header,
        packet[_IPV6.size : end],
        max(0, end - len(packet)),
    )


def _walk(src: str, dst: str, next_header: int, payload: bytes, missing: int) -> Outer:
    """Follow the chain of IPv6 extension headers (RFC 8200, section 4)."""
    at = 0
    for _ in range(MAX_OUTER_EXTENSION_HEADERS):
        if next_header in _EXTENSIONS or next_header == _AUTHENTICATION:
            if len(payload) < at + 8:
                raise DecodeError("truncated", "IPv6 extension header cut short", at)
            # The authentication header counts in 4 octets, minus two of them (RFC 4302, section 2.2).
            length = (payload[at + 1] + 2) * 4 if next_header == _AUTHENTICATION else (payload[at + 1] + 1) * 8
            if len(payload) < at + length:
                raise DecodeError("truncated", f"IPv6 extension header of {length} octets in {len(payload) - at}", at)
            next_header = payload[at]
            at += length
        elif next_header == _FRAGMENT:
            if len(payload) < at + 8:
                raise DecodeError("truncated", "IPv6 fragment header cut short", at)
            next_header, field, identification = _FRAGMENT_HEADER.unpack_from(payload, at)
            at += 8
            offset, more = field & 0xFFF8, bool(field & 1)
            if offset or more:
                fragment = Fragment(identification, offset, more)
                return Outer(6, src, dst, next_header, payload[at:], fragment, missing)
        else:
            return Outer(6, src, dst, next_header, payload[at:], None, missing)
    raise DecodeError("extension_headers", f"more than {MAX_OUTER_EXTENSION_HEADERS} IPv6 extension headers", at)
