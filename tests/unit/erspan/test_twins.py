# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The plain keeper and the compiled one come to the same frames, counters and tables, whatever arrives."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sentinel.errors import DecodeError
from sentinel.erspan.duplicates import Duplicates
from sentinel.limits import ERSPAN_BATCH_PACKETS
from sentinel.packets.link import ip_packet
from sentinel.packets.pcap import packets
from tests.support import mirroring
from tests.support.keepers import FRAMES, SWITCHES, Keepers, batches, native

RECORDINGS = Path(__file__).parents[4] / "shared" / "data" / "erspan"
NAMES = sorted(path.name for path in RECORDINGS.glob("*.pcap")) or [""]
NOW_NS = 1_700_000_000 * 10**9

Make = Callable[..., Keepers]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes the two, and closes their files."""
    made: list[Keepers] = []

    def build(**named: object) -> Keepers:
        made.append(Keepers(tmp_path, **named))  # type: ignore[arg-type]  # as the test names them
        return made[-1]

    yield build
    for each in made:
        each.stop()


@pytest.mark.parametrize("raw_ipv4", [True, False])
@pytest.mark.parametrize("leave_out", [False, True])
def test_made_up_and_damaged_packets(make: Make, raw_ipv4: bool, leave_out: bool) -> None:
    both = make(leave_out_duplicates=leave_out)
    for batch in batches(7, 150, raw_ipv4=raw_ipv4):
        both.feed(batch, raw_ipv4=raw_ipv4)
    blocks = both.finish()
    counters = both.plain.counters
    assert {name for name, _ in blocks} == set(SWITCHES.values()) - ({"leaf6"} if raw_ipv4 else set())
    assert len(blocks) == counters.frames > 300
    for name in ("truncated", "malformed", "not_mirrored", "unknown_source", "unexpected_pair", "duplicates", "lost"):
        assert getattr(counters, name) > 0, name
    assert (counters.left_out > 0) == leave_out


@pytest.mark.skipif(NAMES == [""], reason="the recordings are not part of the checkout")
@pytest.mark.parametrize("name", NAMES)
def test_recordings(make: Make, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole IPv4 packets as a raw socket gives them; whoever sent them, every pair is wanted."""
    monkeypatch.setattr("tests.support.keepers.wanted", lambda switch, src, dst: "c1")
    both = make()
    arrived = []
    for each in packets(RECORDINGS / name):
        with suppress(DecodeError):
            ip = ip_packet(each.link_type, each.data)
            if ip and ip[0] >> 4 == 4:
                arrived.append((ip, "10.0.0.1", each.at_ns))
    for at in range(0, len(arrived), ERSPAN_BATCH_PACKETS):
        both.feed(arrived[at : at + ERSPAN_BATCH_PACKETS], raw_ipv4=True)
    both.finish()
    assert both.plain.counters.packets == len(arrived)


def test_every_kind_cut_at_every_offset(make: Make) -> None:
    both = make()
    for wrap in mirroring.ALL_KINDS.values():
        for frame in FRAMES[:4]:
            whole = wrap(frame)
            for raw_ipv4, data in ((False, whole), (True, mirroring.ipv4("10.0.0.1", "10.0.0.70", 47, whole))):
                cuts = [(data[:end], "10.0.0.1", NOW_NS + end) for end in range(len(data) + 1)]
                for at in range(0, len(cuts), ERSPAN_BATCH_PACKETS):
                    both.feed(cuts[at : at + ERSPAN_BATCH_PACKETS], raw_ipv4=raw_ipv4)
    both.finish()


def test_a_full_disk_of_ours_and_an_ended_capture_refuse_the_same(make: Make) -> None:
    both = make(max_bytes=8_000)
    for batch in batches(3, 40, raw_ipv4=False, damage=0):
        # One by one: several that come together are refused together.
        for each in batch:
            both.feed([each], raw_ipv4=False)
    assert both.plain.counters.not_stored > 0
    assert both.files[0].counters.refused_full == both.plain.counters.not_stored
    for files in both.files:
        files.end("c1")
    for batch in batches(4, 10, raw_ipv4=False, damage=0):
        both.feed(batch, raw_ipv4=False)
    assert both.files[0].counters.refused_ended > 0
    both.finish()


def test_parts_that_end_between_batches(make: Make) -> None:
    both = make(max_file_bytes=3_000)
    for batch in batches(5, 40, raw_ipv4=False, damage=0):
        for each in batch:
            both.feed([each], raw_ipv4=False)
    both.finish()
    assert len(both.files[1].paths("c1")) == len(both.files[0].paths("c1")) > 3


def test_frames_that_come_while_their_capture_ends_are_refused(make: Make) -> None:
    both = make()
    frame = mirroring.type_ii(FRAMES[0])
    place = both.files[1].place("c1", "leaf1", "10.0.0.1", NOW_NS)
    assert place is not None
    both.behind.files.place = lambda *_: place  # type: ignore[method-assign]  # as found just before
    both.files[1].end("c1")
    batch = both.receive.batch_of([frame] * 3, [bytes((10, 0, 0, 1))] * 3, 1.0)
    both.native.take(batch, raw_ipv4=False)
    counters = both.behind.counters
    assert (counters.packets, counters.frames, counters.not_stored) == (3, 0, 3)
    assert both.files[1].counters.refused_ended == 3


def test_a_disk_that_fails_is_counted_by_frame(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    both = make()

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for files in both.files:
        monkeypatch.setattr(files, "_append_frames", fails)
    both.feed([(mirroring.type_ii(FRAMES[0], sequence=n), "10.0.0.1", NOW_NS) for n in range(5)], raw_ipv4=False)
    assert both.behind.counters.write_errors == 5
    assert both.behind.counters.frames == 0


def test_the_compiled_duplicates_number_as_the_plain_ones_do() -> None:
    """Small tables and a short window, so that everything that is forgotten is forgotten at the same time."""
    plain, compiled = Duplicates(5, 1.0, 16, 3), native().Duplicates(5, 1.0, 16, 3)
    state = 1
    for step in range(20_000):
        state = state * 6364136223846793005 + 1442695040888963407 & 0xFFFFFFFFFFFFFFFF
        place = ("leaf1", None) if state >> 40 & 1 else ("leaf2", ("ingress", "egress")[state >> 41 & 1])
        identity = bytes((state >> 42) % (4 + step // 1000) for _ in range(3))
        now = step * 0.05 + (5 if step % 997 == 0 else 0)
        arguments = (f"c{state >> 50 & 1}", place, identity, now)
        assert compiled.number(*arguments) == plain.number(*arguments), step
        assert len(compiled) == len(plain)


def test_more_than_a_batch_is_refused(make: Make) -> None:
    both = make()
    many = ERSPAN_BATCH_PACKETS + 1
    batch = both.receive.batch_of([b""] * many, [bytes(4)] * many, 1.0)
    with pytest.raises(ValueError, match="expected at most"):
        both.native.take(batch, raw_ipv4=False)
