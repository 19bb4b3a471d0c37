# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import stat
from collections import Counter
from pathlib import Path

import dpkt
import pytest

from sentinel.errors import RecordingError
from sentinel.erspan.recorded import decap
from tests.support import mirroring
from tests.support.mirroring import ethernet, ipv4, ipv6, udp

FRAME = ethernet(payload=b"x" * 100)
MACS = bytes.fromhex("020000000009020000000008")
ERSPAN_DATA = Path(__file__).parents[3].parent / "shared" / "data" / "erspan"


def recording(path: Path, packets: list[bytes], link_type: int = 1) -> Path:
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file, linktype=link_type)
        for at, packet in enumerate(packets):
            writer.writepkt(packet, 1_700_000_000 + at + 0.123457)
    return path


def frames(path: Path) -> list[tuple[float, bytes]]:
    if path.read_bytes().count(b"erspan ") == 0:
        return []  # dpkt doesn't read a file without an interface, which is what no frames give
    with path.open("rb") as file:
        return [(float(at), bytes(data)) for at, data in dpkt.pcapng.Reader(file)]


def in_ethernet(packet: bytes, vlans: tuple[int, ...] = ()) -> bytes:
    tags = b"".join(b"\x81\x00" + vlan.to_bytes(2) for vlan in vlans)
    return MACS + tags + (b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00") + packet


def test_frames_come_out_with_their_times_and_the_rest_is_counted(tmp_path: Path) -> None:
    wrapped = mirroring.type_ii(FRAME)
    big = mirroring.type_iii(ethernet(payload=b"y" * 2000))
    source = recording(
        tmp_path / "in.pcap",
        [
            in_ethernet(ipv4("10.0.0.1", "10.0.0.70", 47, wrapped), vlans=(7,)),
            in_ethernet(ipv6("fd00::1", "fd00::70", 47, wrapped) + bytes(8)),
            in_ethernet(ipv4("10.0.0.1", "10.0.0.70", 17, udp(wrapped))),
            in_ethernet(ipv4("10.0.0.1", "10.0.0.70", 6, bytes(40))),
            MACS + b"\x08\x06" + bytes(28),
            in_ethernet(ipv4("10.0.0.1", "10.0.0.70", 47, big[1200:], frag=150)),
            in_ethernet(ipv4("10.0.0.1", "10.0.0.70", 47, big[:1200], frag=0x2000)),
            in_ethernet(ipv4("10.0.0.1", "10.0.0.70", 47, big[:1200], ident=9, frag=0x2000)),
            in_ethernet(b"\x45"),
        ],
    )
    out = tmp_path / "out.pcapng"
    result = decap([source], out)
    assert [data for _, data in frames(out)] == [FRAME] * 3 + [ethernet(payload=b"y" * 2000)]
    assert abs(frames(out)[0][0] - 1_700_000_000.123457) < 2e-6
    assert (result.recorded, result.mirrored, result.not_mirrored, result.malformed) == (9, 4, 2, 1)
    assert (result.fragments.reassembled, result.incomplete) == (1, 1)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("link_type", "before"),
    [(101, b""), (0, b"\x02\0\0\0"), (113, bytes(14) + b"\x08\x00"), (276, b"\x08\x00" + bytes(18))],
    ids=["raw", "loopback", "cooked", "cooked v2"],
)
def test_other_link_types(tmp_path: Path, link_type: int, before: bytes) -> None:
    packet = before + ipv4("10.0.0.1", "10.0.0.70", 47, mirroring.type_i(FRAME))
    source = recording(tmp_path / "in.pcap", [packet], link_type)
    decap([source], tmp_path / "out.pcapng")
    assert [data for _, data in frames(tmp_path / "out.pcapng")] == [FRAME]


def test_a_recording_that_ends_early_is_named_and_the_next_one_read(tmp_path: Path) -> None:
    packet = in_ethernet(ipv4("10.0.0.1", "10.0.0.70", 47, mirroring.type_i(FRAME)))
    whole = recording(tmp_path / "whole.pcap", [packet])
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(whole.read_bytes()[:-5])
    result = decap([cut, tmp_path / "absent.pcap", whole], tmp_path / "out.pcapng")
    assert len(result.problems) == 2
    assert frames(tmp_path / "out.pcapng")[-1][1] == FRAME


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    source = recording(tmp_path / "in.pcap", [])
    before = source.read_bytes()
    with pytest.raises(RecordingError, match="overwritten"):
        decap([source], tmp_path / "." / "in.pcap")
    assert source.read_bytes() == before


@pytest.mark.skipif(not ERSPAN_DATA.is_dir(), reason="the recorded ERSPAN is not here")
@pytest.mark.parametrize("expected", sorted(ERSPAN_DATA.glob("*.expected.jsonl")), ids=lambda path: path.name[:-15])
def test_recorded_erspan_gives_exactly_the_expected_frames(tmp_path: Path, expected: Path) -> None:
    must: Counter[str] = Counter()
    may: Counter[str] = Counter()
    for line in expected.read_text().splitlines():
        row = json.loads(line)
        whole = row.get("reassembled") or {}
        inner = whole.get("inner") or row.get("inner") or {}
        if "sha1" in inner:
            (must if "erspan" in row else may)[inner["sha1"]] += 1
    out = tmp_path / "out.pcapng"
    decap([expected.with_name(expected.name.replace(".expected.jsonl", ".pcap"))], out)
    found = Counter(hashlib.sha1(data, usedforsecurity=False).hexdigest() for _, data in frames(out))
    assert not must - found
    assert not found - must - may
