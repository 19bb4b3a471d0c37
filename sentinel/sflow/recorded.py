# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The sFlow datagrams in recorded packets (link types: the tcpdump.org registry)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_ntop

from sentinel.limits import (
    MAX_FRAGMENT_BYTES,
    MAX_FRAGMENTED_PACKETS,
    MAX_FRAGMENTS_PER_PACKET,
    MAX_OUTER_EXTENSION_HEADERS,
    MAX_OUTER_VLAN_TAGS,
)
from sentinel.packets.pcap import RecordedPacket

SFLOW_PORT = 6343


@dataclass(frozen=True, slots=True)
class RecordedDatagram:
    """One UDP payload of a recording; ``frame`` is the packet it ended in, ``sender`` its source address."""

    frame: int
    at: float
    sender: str
    destination: str
    dst_port: int
    payload: bytes


_NULL, _ETHERNET, _LOOP, _SLL, _SLL2 = 0, 1, 108, 113, 276
# LINKTYPE_RAW, the DLT_RAW values that some systems wrote instead, LINKTYPE_IPV4 and LINKTYPE_IPV6.
_RAW = frozenset({12, 14, 101, 228, 229})
_IP = frozenset({0x0800, 0x86DD})
_TAGS = frozenset({0x8100, 0x88A8, 0x9100, 0x9200})
_UDP, _FRAGMENT = 17, 44
_EXTENSIONS = frozenset({0, 43, 60})


def datagrams(recorded: Iterable[RecordedPacket]) -> Iterator[RecordedDatagram]:
    """The UDP payloads that are, or look like, sFlow: all to port 6343, others when they begin as sFlow v5 does.

    Fragmented packets come where their last piece was; pieces that never become whole are given up.
    """
    fragments = _Fragments()
    for packet in recorded:
        ip = _ip_packet(packet.link_type, packet.data)
        piece = _ip_payload(ip) if ip else None
        whole = fragments.add(piece) if piece is not None else None
        if piece is None or whole is None or len(whole) < 8:
            continue
        dst_port = int.from_bytes(whole[2:4])
        size = int.from_bytes(whole[4:6])
        payload = whole[8 : size if size >= 8 else len(whole)]
        if dst_port == SFLOW_PORT or looks_like_sflow(payload):
            family = AF_INET if len(piece.source) == 4 else AF_INET6
            sender = inet_ntop(family, piece.source)
            destination = inet_ntop(family, piece.destination)
            yield RecordedDatagram(packet.frame, packet.at, sender, destination, dst_port, payload)


def looks_like_sflow(payload: bytes) -> bool:
    """Whether the first octets are those of an sFlow v5 datagram with at least one sample that fits."""
    if payload[:7] != b"\0\0\0\5\0\0\0" or payload[7:8] not in {b"\1", b"\2"}:
        return False
    samples_at = 28 if payload[7] == 1 else 40
    left = len(payload) - samples_at
    if left < 8:
        return False
    announced = int.from_bytes(payload[samples_at - 4 : samples_at])
    first_size = int.from_bytes(payload[samples_at + 4 : samples_at + 8])
    return 1 <= announced <= left // 8 and first_size <= left - 8


def _ip_packet(link_type: int, data: bytes) -> bytes | None:
    """The octets from the IP header on, if there is one."""
    if link_type == _ETHERNET:
        return _behind_ether_type(data, 12)
    if link_type in _RAW:
        return data
    if link_type in {_NULL, _LOOP}:
        return data[4:]
    if link_type == _SLL:
        return _behind_ether_type(data, 14)
    if link_type == _SLL2:
        return data[20:] if int.from_bytes(data[:2]) in _IP else None
    return None


def _behind_ether_type(data: bytes, at: int) -> bytes | None:
    for _ in range(MAX_OUTER_VLAN_TAGS + 1):
        ether_type = int.from_bytes(data[at : at + 2])
        if ether_type in _IP:
            return data[at + 2 :]
        if ether_type not in _TAGS:
            return None
        at += 4
    return None


@dataclass(frozen=True, slots=True)
class _Piece:
    """UDP octets of one IP packet: ``offset`` in the whole, ``more`` to come, ``key`` what belongs together."""

    source: bytes
    destination: bytes
    key: bytes
    offset: int
    more: bool
    data: bytes


def _ip_payload(ip: bytes) -> _Piece | None:
    if len(ip) >= 20 and ip[0] >> 4 == 4:
        return _ipv4(ip)
    return _ipv6(ip) if len(ip) >= 40 and ip[0] >> 4 == 6 else None


def _ipv4(ip: bytes) -> _Piece | None:
    begin = (ip[0] & 0xF) * 4
    total = int.from_bytes(ip[2:4])
    if ip[9] != _UDP or begin < 20:
        return None
    flags = int.from_bytes(ip[6:8])
    data = ip[begin : total if total >= begin else len(ip)]
    return _Piece(ip[12:16], ip[16:20], ip[12:20] + ip[4:6], (flags & 0x1FFF) * 8, bool(flags & 0x2000), data)


def _ipv6(ip: bytes) -> _Piece | None:
    size = int.from_bytes(ip[4:6])
    end = min(40 + size, len(ip)) if size else len(ip)
    following, at, offset, more, key = ip[6], 40, 0, False, b""
    for _ in range(MAX_OUTER_EXTENSION_HEADERS):
        if following == _UDP:
            return _Piece(ip[8:24], ip[24:40], ip[8:40] + key, offset, more, ip[at:end])
        if end - at < 8:
            return None
        if following == _FRAGMENT:
            place = int.from_bytes(ip[at + 2 : at + 4])
            offset, more, key = place & 0xFFF8, bool(place & 1), ip[at + 4 : at + 8]
            following, at = ip[at], at + 8
            if offset and following != _UDP:
                return None
        elif following in _EXTENSIONS:
            following, at = ip[at], at + (ip[at + 1] + 1) * 8
        else:
            return None
    return None


class _Fragments:
    """Puts pieces together; the packets begun first are given up when there are too many or too much."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, dict[int, _Piece]] = {}
        self._octets = 0

    def add(self, piece: _Piece) -> bytes | None:
        """The whole UDP packet once its pieces are there."""
        if not piece.offset and not piece.more:
            return piece.data
        pieces = self._waiting.setdefault(piece.key, {})
        if piece.offset not in pieces and len(pieces) < MAX_FRAGMENTS_PER_PACKET:
            pieces[piece.offset] = piece
            self._octets += len(piece.data)
        whole = _joined(pieces)
        if whole is not None:
            self._forget(piece.key)
        while len(self._waiting) > MAX_FRAGMENTED_PACKETS or self._octets > MAX_FRAGMENT_BYTES:
            self._forget(next(iter(self._waiting)))
        return whole

    def _forget(self, key: bytes) -> None:
        self._octets -= sum(len(piece.data) for piece in self._waiting.pop(key).values())


def _joined(pieces: dict[int, _Piece]) -> bytes | None:
    """The octets from the first piece to the last, if none is missing and none overlaps."""
    at = 0
    ordered = []
    while (piece := pieces.get(at)) is not None:
        ordered.append(piece.data)
        at += len(piece.data)
        if not piece.more:
            return b"".join(ordered)
        if not piece.data:
            return None
    return None
