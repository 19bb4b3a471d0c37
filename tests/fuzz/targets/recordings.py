# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings: any file gives packets or an allowed error, and what we write is what we read.

The first octet's highest bit says that the octets behind it become the frames of a pcapng file of ours. Allowed:
``RecordingError``.
"""

import io
from itertools import pairwise
from struct import pack

from sentinel.errors import RecordingError
from sentinel.erspan import pcapng
from sentinel.limits import MAX_RECORDED_PACKET_BYTES
from sentinel.packets.pcap import packets
from sentinel.sflow.recorded import datagrams
from tests.support import sflow
from tests.support.sflow import block, enhanced, interface, pcap, section, udp
from tests.support.traffic import datagram, flow, frame, ip, packet

WRITTEN = 0x80


def one(data: bytes) -> None:
    if data and data[0] & WRITTEN:
        _written(data[1:])
        return
    number = 0
    try:
        for number, each in enumerate(packets(io.BytesIO(data[1:])), 1):
            assert each.frame == number
            assert len(each.data) <= MAX_RECORDED_PACKET_BYTES
    except RecordingError as error:
        assert "at octet" in str(error)
    read = []
    try:
        for found in datagrams(packets(io.BytesIO(data[1:]))):
            read.append(found.frame)
            assert len(found.payload) <= len(data)
    except RecordingError:
        pass
    assert all(before < after for before, after in pairwise(read))
    assert not read or read[-1] <= number


def _written(data: bytes) -> None:
    frames = [data[at : at + 100] for at in range(0, len(data), 100)]
    at_ns = int.from_bytes(data[:8])
    written = pcapng.section_header("fuzz", ["a comment"]) + pcapng.interface("one") + pcapng.interface("two")
    for number, each in enumerate(frames):
        written += pcapng.packet(
            number % 2,
            at_ns,
            each,
            missing=number,
            direction="inbound" if number % 3 else None,
            dropped=number % 3,
            packet_id=number,
            comments=[str(each[:9])],
        )
    read = list(packets(io.BytesIO(written)))
    assert [each.data for each in read] == frames
    assert all(each.at_ns == at_ns for each in read)


def seeds() -> list[bytes]:
    sent = frame(ip("10.0.0.253", "10.0.0.1", 17, udp(6343, datagram(flow(frame(packet()))))))
    files = [pcap(sent, sent, order=order) for order in "<>"]
    files += [pcap(sent, magic=0xA1B23C4D, units=10**9), pcap(sent[14:], link_type=101)]
    files.append(pcap(b"\0\0\0\2" + sent[14:], link_type=0))
    for order in "<>":
        head = section(order) + interface(order) + interface(order, 101, 9, 1_700_000_000)
        files.append(head + enhanced(0, 7, sent, order) + enhanced(1, 1 << 40, sent[14:], order))
        files.append(head + block(3, pack(order + "I", len(sent)) + sent, order))
        other = section(order) + interface(order, resolution=0x8A)
        files.append(head + block(5, bytes(12), order) + other + enhanced(0, 1, sent, order))
    for folder in ("sflow", "erspan", "headers"):
        small = [path for path in sorted((sflow.DATA / folder).glob("*.pcap")) if path.stat().st_size < 3_000]
        files += [path.read_bytes() for path in small[:20]]
    return [*(b"\0" + file for file in files), bytes((WRITTEN,)) + sent * 3]
