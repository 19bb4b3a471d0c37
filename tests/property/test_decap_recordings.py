# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever is outside (family, options, tags, link, pieces), decap gives the frame and its time to the nanosecond."""

import socket
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentinel.erspan import pcapng
from sentinel.erspan.recorded import decap
from sentinel.packets.pcap import packets
from tests.support.mirroring import ALL_KINDS, ethernet, ipv4, udp

MACS = bytes.fromhex("020000000009020000000008")
EXTENSIONS = {0: 8, 43: 8, 60: 16, 135: 8}
T0_NS = 1_700_000_000_123_456_789

frames = st.binary(min_size=14, max_size=3000)


def ipv6(next_header: int, payload: bytes) -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, "fd00::1") + socket.inet_pton(socket.AF_INET6, "fd00::70")
    return struct.pack("!IHBB", 6 << 28, len(payload), next_header, 64) + addresses + payload


def chained(kinds: list[int], last: int, payload: bytes) -> tuple[int, bytes]:
    """Extension headers in front; the first one's number, and all octets."""
    for kind in reversed(kinds):
        size = EXTENSIONS[kind]
        payload = bytes([last, size // 8 - 1]) + bytes(size - 2) + payload
        last = kind
    return last, payload


def pieces_of(payload: bytes, eighths: int) -> list[tuple[int, bool, bytes]]:
    size = max(8 * eighths, 8 * (len(payload) // 800 + 1))
    return [(at, at + size < len(payload), payload[at : at + size]) for at in range(0, len(payload), size)]


@st.composite
def outer_packets(draw: st.DrawFn, frame: bytes) -> list[bytes]:
    """One mirrored frame as the IP packets it may arrive in."""
    payload = ALL_KINDS[draw(st.sampled_from(sorted(ALL_KINDS)))](frame)
    protocol = 47
    if draw(st.booleans()):
        payload, protocol = udp(payload), 17
    eighths = draw(st.integers(2, 500))
    whole = draw(st.booleans())
    if draw(st.booleans()):
        options = bytes([1]) * 4 * draw(st.integers(0, 10))
        if whole:
            return [ipv4("10.0.0.1", "10.0.0.70", protocol, payload, options=options)]
        cut = pieces_of(payload, eighths)
        made = [
            ipv4("10.0.0.1", "10.0.0.70", protocol, data, options=options, frag=at // 8 | 0x2000 * more)
            for at, more, data in cut
        ]
    else:
        before = draw(st.lists(st.sampled_from([0, 43, 60]), max_size=2))
        behind = draw(st.lists(st.sampled_from([60, 135]), max_size=2))
        inner, payload = chained(behind, protocol, payload)
        if whole:
            return [ipv6(*chained(before, inner, payload))]
        made = []
        for at, more, data in pieces_of(payload, eighths):
            header = struct.pack("!BBHI", inner, 0, at | more, 77)
            made.append(ipv6(*chained(before, 44, header + data)))
    return draw(st.permutations(made))


@st.composite
def linked(draw: st.DrawFn, made: list[bytes]) -> tuple[int, list[bytes]]:
    """The packets as frames of one link type."""
    link = draw(st.sampled_from([0, 1, 101, 113, 276]))
    tags = b"".join(b"\x81\x00\x00\x07" for _ in range(draw(st.integers(0, 4))))
    padding = bytes(draw(st.integers(0, 30)))
    found = []
    for packet in made:
        kind = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
        head = {
            0: b"\x02\0\0\0",
            1: MACS + tags + kind,
            101: b"",
            113: bytes(14) + kind,
            276: kind + bytes(18),
        }[link]
        found.append(head + packet + padding)
    return link, found


def write_pcap(path: Path, link: int, recorded: list[bytes]) -> None:
    """Nanosecond pcap."""
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, link))
        for number, data in enumerate(recorded):
            seconds, nanoseconds = divmod(T0_NS + number, 10**9)
            out.write(struct.pack("<IIII", seconds, nanoseconds, len(data), len(data)) + data)


def write_pcapng(path: Path, link: int, recorded: list[bytes]) -> None:
    blocks = [pcapng.section_header("test"), pcapng.interface("if", link_type=link)]
    blocks += [pcapng.packet(0, T0_NS + number, data) for number, data in enumerate(recorded)]
    path.write_bytes(b"".join(blocks))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(frames, st.data(), st.booleans())
def test_any_wrapping(tmp_path: Path, frame: bytes, data: st.DataObject, classic: bool) -> None:
    made = data.draw(outer_packets(frame))
    link, recorded = data.draw(linked(made))
    source, out = tmp_path / "in", tmp_path / "out.pcapng"
    (write_pcap if classic else write_pcapng)(source, link, recorded)
    result = decap([source], out)
    assert (result.mirrored, result.malformed, result.not_mirrored, result.problems) == (1, 0, 0, [])
    [found] = packets(out)
    assert found.data == frame
    assert found.at_ns == T0_NS + len(recorded) - 1


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=12),
    st.integers(0, 5000),
)
def test_any_recording_gives_a_readable_one(
    tmp_path: Path, classic: bool, changes: list[tuple[int, int]], cut: int
) -> None:
    frame = ethernet(payload=b"z" * 40)
    recorded = [MACS + b"\x08\x00" + ipv4("10.0.0.1", "10.0.0.70", 47, wrap(frame)) for wrap in ALL_KINDS.values()]
    source, out = tmp_path / "in", tmp_path / "out.pcapng"
    (write_pcap if classic else write_pcapng)(source, 1, recorded)
    content = bytearray(source.read_bytes())
    for at, value in changes:
        content[at % len(content)] = value
    source.write_bytes(content[: len(content) - cut % len(content)] if cut % 3 == 0 else content)
    result = decap([source], out)
    assert len(list(packets(out))) == result.mirrored


@pytest.mark.parametrize(
    ("resolution", "offset_s", "ticks"),
    [(0, 0, 2**64 - 1), (9, -(2**63), 0), (9, 2**63 - 1, 2**64 - 1), (0x7F, 0, 2**64 - 1), (0xFF, 0, 1)],
)
def test_times_that_no_clock_shows_are_survived(tmp_path: Path, resolution: int, offset_s: int, ticks: int) -> None:
    def block(kind: int, body: bytes) -> bytes:
        size = 12 + len(body)
        return struct.pack("<II", kind, size) + body + struct.pack("<I", size)

    options = struct.pack("<HHB3x", 9, 1, resolution) + struct.pack("<HHq", 14, 8, offset_s) + bytes(4)
    frame = MACS + b"\x08\x00" + ipv4("10.0.0.1", "10.0.0.70", 47, ALL_KINDS["I"](ethernet()))
    fixed = struct.pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    source = tmp_path / "in.pcapng"
    source.write_bytes(
        pcapng.section_header("test")
        + block(1, struct.pack("<HHI", 1, 0, 0) + options)
        + block(6, fixed + frame + bytes(-len(frame) % 4))
    )
    assert decap([source], tmp_path / "out.pcapng").mirrored == 1
    [found] = packets(tmp_path / "out.pcapng")
    assert 0 <= found.at_ns < 2**64
