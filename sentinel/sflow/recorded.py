# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The sFlow datagrams in recorded packets."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sentinel.errors import DecodeCode, DecodeError
from sentinel.packets.ip import UDP
from sentinel.packets.pcap import RecordedPacket
from sentinel.packets.reader import PacketReader

SFLOW_PORT = 6343
_UDP_HEADER_BYTES = 8


@dataclass(frozen=True, slots=True)
class RecordedDatagram:
    """One UDP payload of a recording; ``frame`` is the packet it ended in, ``sender`` its source address."""

    frame: int
    at: float
    sender: str
    destination: str
    dst_port: int
    payload: bytes


def datagrams(
    recorded: Iterable[RecordedPacket], passed_over: Counter[DecodeCode] | None = None
) -> Iterator[RecordedDatagram]:
    """Yield the UDP payloads that are, or look like, sFlow: all to port 6343, others that begin as sFlow v5 does.

    A fragmented packet comes where its last piece was; pieces that never become whole are given up. ``passed_over``
    counts the frames that hold no packet that can be read.
    """
    reader = PacketReader()
    for frame in recorded:
        try:
            packet = reader.read(frame)
        except DecodeError as error:
            if passed_over is not None:
                passed_over[error.code] += 1
            continue
        if packet is None or packet.protocol != UDP or len(packet.payload) < _UDP_HEADER_BYTES:
            continue
        dst_port = int.from_bytes(packet.payload[2:4])
        size = int.from_bytes(packet.payload[4:6])
        # 0 for a datagram beyond 65,535 octets (RFC 2675), and from hosts whose network card cuts it into segments.
        payload = packet.payload[_UDP_HEADER_BYTES : size if size >= _UDP_HEADER_BYTES else None]
        if dst_port == SFLOW_PORT or looks_like_sflow(payload):
            yield RecordedDatagram(frame.frame, frame.at, packet.src, packet.dst, dst_port, payload)


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
