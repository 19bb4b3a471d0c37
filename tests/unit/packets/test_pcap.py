# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings: pcap and pcapng of every kind, and broken ones."""

import io
import sys
from pathlib import Path
from struct import pack

import pytest

from sentinel import limits
from sentinel.errors import RecordingError
from sentinel.packets import pcap as recording
from sentinel.packets.pcap import RecordedPacket, packets
from sentinel.sflow import encode
from tests.support.sflow import block, enhanced, ethernet, interface, ipv4, pcap, section, udp

SFLOW = encode.datagram("10.0.0.253", 0, 1, 1, [encode.counters_sample(sequence=1, source_index=1, records=[])])
FRAME = ethernet(0x0800, ipv4(17, udp(6343, SFLOW), "10.0.0.253", "10.0.0.9"))


def read(data: bytes) -> list[RecordedPacket]:
    return list(packets(io.BytesIO(data)))


def until_broken(data: bytes) -> tuple[list[RecordedPacket], str]:
    """What a broken recording gives, and what is said of it."""
    found: list[RecordedPacket] = []
    # extend() keeps what came before the error.
    with pytest.raises(RecordingError) as raised:
        found.extend(packets(io.BytesIO(data)))
    return found, str(raised.value)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "units"), [(0xA1B2C3D4, 10**6), (0xA1B23C4D, 10**9)])
def test_pcap_of_both_byte_orders_and_units(order: str, magic: int, units: int) -> None:
    packets = read(pcap(b"one", b"three", order=order, magic=magic, units=units))
    assert packets == [RecordedPacket(1, 1.5, 1, b"one"), RecordedPacket(2, 2.5, 1, b"three")]


def test_pcap_with_patched_packet_headers_and_fcs_bits() -> None:
    head = pack("<IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 65535, 0x24000001)
    assert read(head + pack("<4I8x", 3, 500_000, 2, 60) + b"hi") == [RecordedPacket(1, 3.5, 1, b"hi")]


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_with_several_interfaces_of_their_own_clocks(order: str) -> None:
    data = section(order) + b"".join(
        (
            interface(order),
            interface(order, 113, resolution=9),
            interface(order, 101, resolution=0x80 | 4, offset_s=1000),
            enhanced(0, 1_500_000, b"micro", order),
            block(5, bytes(12), order),
            enhanced(1, 2_500_000_000, b"nano", order),
            enhanced(2, 24, b"binary", order),
            block(3, pack(order + "I", 6) + b"simple", order),
            block(2, pack(order + "HHIIII", 1, 0, 0, 10**9, 3, 3) + b"old", order),
        )
    )
    assert read(data) == [
        RecordedPacket(1, 1.5, 1, b"micro"),
        RecordedPacket(2, 2.5, 113, b"nano"),
        RecordedPacket(3, 1001.5, 101, b"binary"),
        RecordedPacket(4, 0.0, 1, b"simple"),
        RecordedPacket(5, 1.0, 113, b"old"),
    ]


def test_pcapng_sections_of_different_byte_order_begin_anew() -> None:
    data = section("<") + interface("<") + enhanced(0, 10**6, b"a", "<")
    data += section(">") + interface(">", 101) + enhanced(0, 10**6, b"b", ">")
    assert [(each.frame, each.link_type, each.data) for each in read(data)] == [(1, 1, b"a"), (2, 101, b"b")]
    _, problem = until_broken(section("<") + interface("<") + section(">") + enhanced(0, 1, b"", ">"))
    assert "interface 0, only 0 described" in problem


def test_files_standard_input_and_streams_are_read_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pcap(b"one")
    path = tmp_path / "a.pcap"
    path.write_bytes(data)
    expected = [RecordedPacket(1, 1.5, 1, b"one")]
    assert list(packets(path)) == list(packets(str(path))) == expected

    class Drip(io.BytesIO):
        """Gives an octet at a time, as a pipe may."""

        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 1))

    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": Drip(data)}))
    assert list(packets("-")) == expected


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"none\.pcap: No such file"):
        list(packets(tmp_path / "none.pcap"))
    with pytest.raises(RecordingError, match="directory"):
        list(packets(tmp_path))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty"),
        (b"\xa1", "neither pcap nor pcapng"),
        (b"#!/bin/sh\n", "neither pcap nor pcapng"),
        (b"\x1f\x8b\x08\0" + bytes(30), "gzip"),
        (pcap()[:20], "cut short inside the file header"),
        (section()[:10], "cut short inside a section header"),
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "byte-order magic 00000000"),
        (b"\x0a\x0d\x0d\x0a" + pack("<II", 12, 0x1A2B3C4D) + bytes(40), "section header of 12 octets"),
        (b"\x0a\x0d\x0d\x0a" + pack("<II", 2**32 - 4, 0x1A2B3C4D) + bytes(40), "cut short inside a section header"),
    ],
)
def test_what_is_no_recording(data: bytes, problem: str) -> None:
    found, said = until_broken(data)
    assert (found, problem in said) == ([], True), said


GOOD = section() + interface() + enhanced(0, 1_500_000, b"good")


@pytest.mark.parametrize(
    ("behind", "problem"),
    [
        (pack("<II", 6, 0), "block of 0 octets"),
        (pack("<II", 6, 8) + bytes(8), "block of 8 octets"),
        (pack("<II", 6, 33) + bytes(40), "block of 33 octets"),
        (pack("<II", 6, 2**32 - 4) + bytes(40), "block of 4294967280 octets, at most"),
        (pack("<II", 77, 2**32 - 4) + bytes(40), "cut short inside a block"),
        (block(6, pack("<5I", 0, 0, 0, 2**32 - 1, 9) + b"x"), "packet of 4294967295 octets"),
        (block(6, pack("<5I", 9, 0, 0, 0, 0)), "interface 9, only 1 described"),
        (block(6, b"1234"), "block body of 4 octets"),
        (block(1, b""), "block body of 0 octets"),
        (block(6, bytes(20))[:-4] + pack("<I", 99), "closes with length 99"),
        (enhanced(0, 1, b"more")[:-5], "cut short inside a block"),
        (b"\x06", "cut short inside a block header"),
    ],
)
def test_a_broken_pcapng_gives_what_came_before(behind: bytes, problem: str) -> None:
    found, said = until_broken(GOOD + behind)
    assert found == [RecordedPacket(1, 1.5, 1, b"good")]
    assert problem in said


@pytest.mark.parametrize(
    ("behind", "problem"),
    [
        (b"\0", "cut short inside a packet header"),
        (pack("<4I", 1, 0, 10, 10) + b"short", "cut short inside a packet"),
        (pack("<4I", 1, 0, 2**32 - 1, 10), "packet of 4294967295 octets"),
        (pack("<4I", 1, 0, limits.MAX_RECORDED_PACKET_BYTES + 1, 10), "packet of 262145 octets"),
    ],
)
def test_a_broken_pcap_gives_what_came_before(behind: bytes, problem: str) -> None:
    found, said = until_broken(pcap(b"good") + behind)
    assert found == [RecordedPacket(1, 1.5, 1, b"good")]
    assert problem in said


def test_options_that_lie_and_extreme_clocks() -> None:
    odd = block(1, pack("<HHI", 1, 0, 0) + pack("<HH", 9, 60000) + b"\x7f")
    (packet,) = read(section() + odd + enhanced(0, 2**64 - 1, b""))
    assert packet.at < 1e-100
    (packet,) = read(section() + interface(resolution=0, offset_s=-(2**63)) + enhanced(0, 2**64 - 1, b""))
    assert packet.at == pytest.approx(2**63)


def test_interfaces_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_PCAPNG_INTERFACES", 2)
    assert "more than 2 interfaces" in until_broken(section() + interface() * 3)[1]
