# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import json
import shutil
import struct
import subprocess
from pathlib import Path

import dpkt
import pytest

from sentinel.erspan import pcapng
from tests.support.mirroring import ethernet

AT_NS = 1_700_000_000_123_456_789


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        assert size % 4 == 0
        assert struct.unpack_from("<I", data, at + size - 4)[0] == size
        found.append((kind, data[at + 8 : at + size - 4]))
        at += size
    return found


def whole_file() -> bytes:
    return b"".join(
        [
            pcapng.section_header("sentinel", ["why: ünïcode", "second"]),
            pcapng.interface("leaf1", "ERSPAN from leaf1"),
            pcapng.interface("leaf2"),
            pcapng.names([("192.0.2.10", ["host.example"]), ("2001:db8::1", ["six.example", "again"])]),
            pcapng.packet(0, AT_NS, ethernet(), direction="inbound", dropped=3, packet_id=7, comments=["hit"]),
            pcapng.packet(1, AT_NS + 1, ethernet(payload=b"odd"), missing=5, direction="outbound"),
            pcapng.interface_statistics(0, AT_NS, AT_NS + 9, received=1, dropped=3, os_dropped=2),
        ]
    )


def test_blocks_are_aligned_and_in_order() -> None:
    assert [kind for kind, _ in blocks(whole_file())] == [0x0A0D0D0A, 1, 1, 4, 6, 6, 5]


def test_another_reader_gives_the_frames_back(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    path.write_bytes(whole_file())
    with path.open("rb") as file:
        read = list(dpkt.pcapng.Reader(file))
    assert [bytes(data) for _, data in read] == [ethernet(), ethernet(payload=b"odd")]
    assert abs(float(read[0][0]) - AT_NS / 1e9) < 1e-6


def test_comments_are_cut_at_a_character() -> None:
    (_, body), *_ = blocks(pcapng.section_header("x", ["ü" * 5000]))
    code, length = struct.unpack_from("<HH", body, 16)
    assert (code, length) == (1, 4096)
    body[20 : 20 + length].decode()


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_reads_it_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    path.write_bytes(whole_file())
    fields = ["frame.interface_name", "frame.comment", "frame.packet_flags_direction", "frame.len", "frame.time_epoch"]
    done = subprocess.run(
        ["tshark", "-r", str(path), "-T", "json", *(word for name in fields for word in ("-e", name))],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert [line for line in done.stderr.splitlines() if "Running as user" not in line] == []
    first, second = (packet["_source"]["layers"] for packet in json.loads(done.stdout))
    assert first["frame.interface_name"] == ["leaf1"]
    assert first["frame.comment"] == ["hit"]
    assert first["frame.time_epoch"] == ["1700000000.123456789"]
    assert first["frame.packet_flags_direction"] != second["frame.packet_flags_direction"]
    assert int(second["frame.len"][0]) == len(ethernet(payload=b"odd")) + 5
