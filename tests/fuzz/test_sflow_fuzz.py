# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Any octets into the decoder give values or DecodeError, in time and memory bounded by their number.

Allowed to be raised: DecodeError by datagram.decode, RecordingError by pcap.packets; nothing by header.decode.
"""

import io
import json
import random
import tracemalloc
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.errors import DecodeError, RecordingError
from sentinel.limits import MAX_DATAGRAM_BYTES
from sentinel.model import FlowSample
from sentinel.packets.pcap import packets
from sentinel.sflow import datagram, header
from sentinel.sflow.jsonlines import decode_lines
from sentinel.sflow.recorded import RecordedDatagram, datagrams
from tests.support.sflow import data_folder, ethernet, ipv4, ipv6, payloads, pcap, tcp, udp

QUICK = settings(max_examples=300, deadline=None)
RUBBISH = bytes(range(256))


def swallow(payload: bytes) -> list[dict[str, object]]:
    """Decode in both ways, as JSON too; what comes out must agree."""
    lines = list(decode_lines([RecordedDatagram(1, 0.0, "", "", 6343, payload)]))
    json.dumps(lines, allow_nan=False).encode("ascii")
    try:
        full = datagram.decode(payload)
    except DecodeError as error:
        assert 0 <= error.offset <= len(payload)
        assert [set(line) for line in lines] == [{"frame", "error", "offset"}]
        return lines
    light = datagram.decode(payload, bodies=False)
    assert len(light.samples) == len(full.samples) == len(lines)
    for one, other in zip(light.samples, full.samples, strict=True):
        if isinstance(one, FlowSample) and isinstance(other, FlowSample):
            assert (one.packet, one.frame_length) == (other.packet, other.frame_length)
        else:
            assert type(one) is type(other)
    return lines


def test_recorded_datagrams_cut_at_every_offset_with_and_without_rubbish_behind() -> None:
    for payload in payloads():
        step = 1 if len(payload) < 400 else 7
        for size in range(0, len(payload), step):
            swallow(payload[:size])
            swallow(payload[:size] + RUBBISH)
        lines = swallow(payload)
        # A sample that was cut finds octets again in the rubbish.
        assert swallow(payload + RUBBISH) == lines or any("error" in line for line in lines)


def test_recorded_datagrams_with_every_word_lying() -> None:
    for payload in payloads():
        step = 4 if len(payload) < 400 else 44
        for at in range(0, len(payload) - 4, step):
            for lie in (0, 1, 5, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF):
                swallow(payload[:at] + lie.to_bytes(4) + payload[at + 4 :])


def test_recorded_datagrams_with_octets_changed() -> None:
    chance = random.Random(7)
    for payload in payloads():
        for _ in range(10):
            changed = bytearray(payload)
            for _ in range(chance.randint(1, 8)):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            swallow(bytes(changed))


@QUICK
@given(st.binary(max_size=400))
def test_random_octets(payload: bytes) -> None:
    swallow(payload)


@QUICK
@given(st.lists(st.integers(0, 6) | st.sampled_from([12, 1001, 1016, 2003, 2**32 - 1]), max_size=80))
def test_random_words_behind_a_good_header(words: list[int]) -> None:
    swallow(pack(">7I", 5, 1, 0x0A000001, 0, 1, 1, 3) + pack(f">{len(words)}I", *words))


@QUICK
@given(st.binary(max_size=300), st.integers(0, 20))
def test_random_headers(octets: bytes, protocol: int) -> None:
    header.decode(octets, protocol)


HEADERS = (
    ethernet(
        0x0800, ipv4(17, udp(4789, b"\x08\0\0\0\0\0\1\0" + ethernet(0x86DD, ipv6(0, b"\x06\0" + bytes(6) + tcp()))))
    ),
    ethernet(
        0x8847, b"\0\1\0\x40\0\1\x01\x40" + ipv6(4, ipv4(47, b"\x30\0\x65\x58" + bytes(8) + ethernet(0x0800, b"")))
    ),
    ethernet(
        0x8864, b"\x11\0\0\1\0\x20\0\x21" + ipv4(17, udp(2152, b"\x34\xff" + bytes(40))), (0x8100, 1), (0x88A8, 2)
    ),
    ethernet(0x0800, ipv4(17, udp(6081, b"\x3f\0\x65\x58" + bytes(300)))),
)


@QUICK
@given(
    st.sampled_from(HEADERS),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    st.integers(0, 400),
)
def test_changed_headers(frame: bytes, changes: list[tuple[int, int]], size: int) -> None:
    octets = bytearray(frame)
    for at, value in changes:
        octets[at % len(octets)] = value
    for protocol in (1, 7, 11, 12, 13, 14):
        header.decode(bytes(octets[:size]), protocol)


def worst(body: bytes, announced: int = 2**32 - 1) -> bytes:
    """As much of ``body``, repeated, as fits in a datagram."""
    head = pack(">7I", 5, 1, 0x0A000001, 0, 1, 1, announced)
    return head + (body * (MAX_DATAGRAM_BYTES // len(body) + 1))[: MAX_DATAGRAM_BYTES - len(head)]


def in_one_sample(records: bytes, kind: int = 1) -> bytes:
    """A datagram of one flow or counters sample full of ``records``."""
    fixed = 32 if kind == 1 else 12
    room = MAX_DATAGRAM_BYTES - 28 - 8 - fixed
    octets = (records * (room // len(records) + 1))[: room // len(records) * len(records)]
    head = pack(">2I", kind, fixed + len(octets)) + bytes(fixed - 4) + pack(">I", room // len(records))
    return pack(">7I", 5, 1, 0x0A000001, 0, 1, 1, 1) + head + octets


def one_record(kind: int, body: bytes) -> bytes:
    return in_one_sample(pack(">2I", kind, len(body)) + body)


FILL = MAX_DATAGRAM_BYTES - 200


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(worst(bytes(8)), id="empty-samples"),
        pytest.param(worst(pack(">2I", 1, 0)), id="empty-flow-samples"),
        pytest.param(worst(pack(">10I", 1, 32, 0, 0, 0, 0, 0, 0, 0, 0)), id="flow-samples-without-records"),
        pytest.param(worst(pack(">5I", 2, 12, 0, 0, 0)), id="counters-samples-without-records"),
        pytest.param(worst(b"\0\0\0\1\0\0\0\x21"), id="unaligned-samples"),
        pytest.param(in_one_sample(pack(">2I", 1, 0)), id="empty-headers"),
        pytest.param(in_one_sample(pack(">6I", 1, 16, 1, 64, 0, 0)), id="headers-of-nothing"),
        pytest.param(in_one_sample(pack(">2I", 9999, 0)), id="unknown-records"),
        pytest.param(in_one_sample(pack(">2I", 2003, 0), 2), id="empty-counters"),
        pytest.param(one_record(1003, pack(">6I", 0, 1, 2, 3, FILL // 8, 0) + bytes(FILL // 8 * 8)), id="as-path"),
        pytest.param(one_record(1016, pack(">I", FILL // 4) + bytes(FILL // 4 * 4)), id="aggregation"),
        pytest.param(
            one_record(1016, pack(">2I", 1, FILL // 12) + pack(">3I", 1016, 4, 0) * (FILL // 12)),
            id="nested-aggregation",
        ),
        pytest.param(one_record(1012, pack(">I", FILL // 4) + bytes(FILL // 4 * 4)), id="vlan-stack"),
        pytest.param(one_record(1, pack(">4I", 13, 64, 0, FILL - 100) + bytes(FILL - 100)), id="labels"),
        pytest.param(one_record(1, pack(">4I", 12, 64, 0, FILL) + ipv6(0, bytes(FILL - 40))), id="extensions"),
    ],
)
@pytest.mark.timeout(30)
def test_the_worst_datagrams_cost_little(payload: bytes) -> None:
    assert len(payload) <= MAX_DATAGRAM_BYTES
    tracemalloc.start()
    try:
        decoded = datagram.decode(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert decoded.samples
    assert peak < 200 * MAX_DATAGRAM_BYTES


def swallow_recording(octets: bytes) -> None:
    file = io.BytesIO(octets)
    tracemalloc.start()
    try:
        try:
            for each in datagrams(packets(file)):
                swallow(each.payload)
        except RecordingError as error:
            assert str(error)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000 + 100 * len(octets)


@QUICK
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x0a\x0d\x0d\x0a", b"\xd4\xc3\xb2\xa1", pcap(), pcap(b"x", order=">")]),
)
def test_random_recordings(octets: bytes, before: bytes) -> None:
    swallow_recording(before + octets)


def test_recordings_with_octets_changed_and_cut() -> None:
    chance = random.Random(11)
    for folder in ("sflow", "erspan", "headers"):
        for path in sorted(data_folder(folder).glob("*.pcap*")):
            if path.suffix == ".jsonl" or path.stat().st_size > 20_000:
                continue
            whole = path.read_bytes()
            for _ in range(4):
                changed = bytearray(whole)
                for _ in range(chance.randint(1, 6)):
                    changed[chance.randrange(min(len(changed), 400))] = chance.choice([0, 1, 127, 128, 255])
                swallow_recording(bytes(changed[: chance.randrange(len(changed))]))
                swallow_recording(bytes(changed))
