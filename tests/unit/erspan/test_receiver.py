# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import importlib
import os
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sentinel.erspan.files import CaptureFiles
from sentinel.erspan.receiver import Receiver
from sentinel.packets.pcap import packets
from tests.support import mirroring
from tests.support.mirroring import ethernet

FRAME = ethernet("192.0.2.10", "198.51.100.7")
SWITCHES = {"127.0.0.1": "leaf1", "127.0.0.2": "leaf2", "::1": "leaf6"}


def wanted(switch: str, source: str, destination: str) -> str | None:
    return "c1" if {source, destination} == {"192.0.2.10", "198.51.100.7"} else None


def port_of(receiver: Receiver) -> int:
    """The port on which GRE in UDP is heard."""
    port: int = receiver.opened.sockets[-1].socket.getsockname()[1]
    return port


@pytest.fixture(params=["python", "native"], autouse=True)
def keeping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test with the plain and with the compiled receiver and keeper."""
    if request.param == "native":
        pytest.importorskip("sentinel.erspan._native", reason="the compiled keeper was not built")
        plain = Receiver.__init__

        def compiled(self: Receiver, *arguments: Any, **named: Any) -> None:
            plain(self, *arguments, **named, batches=importlib.import_module("sentinel.receive._native").BatchReceiver)

        monkeypatch.setattr(Receiver, "__init__", compiled)


class Running:
    def __init__(self, receiver: Receiver, files: CaptureFiles) -> None:
        self.receiver = receiver
        self.files = files
        self.kept: Counter[tuple[str, str]] = Counter()

    def frames(self) -> list[bytes]:
        """What is in the file of the capture."""
        return [each.data for path in self.files.paths("c1") for each in packets(path)]

    def wait(self, packets: int) -> None:
        until = time.monotonic() + 5
        while self.receiver.counters.packets < packets and time.monotonic() < until:
            time.sleep(0.01)
        assert self.receiver.counters.packets == packets


@contextmanager
def running(
    path: Path,
    host: str = "127.0.0.1",
    raw: tuple[str, ...] = (),
    udp: bool = True,
    leave_out: bool = False,
) -> Iterator[Running]:
    files = CaptureFiles(path, 1 << 20)
    files.start()
    kept: Counter[tuple[str, str]] = Counter()
    receiver = Receiver(
        files,
        switch_of=SWITCHES.get,
        expected=wanted,
        on_frames=lambda capture, switch, number: kept.update({(capture, switch): number}),
        raw=raw,
        gre_in_udp=(host, 0) if udp else None,
        receive_buffer_bytes=1 << 20,
        leave_out_duplicates=leave_out,
    )
    receiver.start()
    run = Running(receiver, files)
    run.kept = kept
    try:
        yield run
    finally:
        receiver.stop()
        files.stop()


@contextmanager
def sender(run: Running, bound_to: str = "127.0.0.1", host: str = "127.0.0.1") -> Iterator[Callable[[bytes], int]]:
    port = port_of(run.receiver)
    assert port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((bound_to, 0))
        yield lambda data: sock.sendto(data, (host, port))


def test_what_a_capture_wants_is_kept_and_all_else_counted_by_reason(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        with sender(run) as send:
            send(mirroring.type_ii(FRAME, sequence=1))
            send(mirroring.type_ii(FRAME, sequence=1))
            send(mirroring.type_ii(FRAME, sequence=5, truncated=True))
            send(mirroring.type_ii(ethernet("192.0.2.10", "192.0.2.11"), sequence=6))
            send(mirroring.type_ii(b"\xff" * 20, sequence=7))
            send(mirroring.gre(0x0800, FRAME))
            send(b"\x10\x00\x88\xbe")
        with sender(run, "127.0.0.9") as send:
            send(mirroring.type_ii(FRAME))
        run.wait(8)
    counters = run.receiver.counters
    assert (counters.frames, counters.unexpected_pair, counters.not_mirrored) == (3, 2, 1)
    assert (counters.malformed, counters.unknown_source, counters.truncated, counters.lost) == (1, 1, 1, 3)
    assert run.kept == {("c1", "leaf1"): 3}
    assert run.frames() == [FRAME] * 3


def test_both_directions_and_ipv6_outside(tmp_path: Path) -> None:
    with running(tmp_path, "::1") as run:
        with sender(run, "::1", "::1") as send:
            send(mirroring.type_i(FRAME))
            send(mirroring.type_i(ethernet("198.51.100.7", "192.0.2.10", vlans=(5, 6))))
        run.wait(2)
    assert run.kept == {("c1", "leaf6"): 2}


def blocks(path: Path, kind: int) -> list[bytes]:
    """The blocks of one type, read without our own code."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        each, size = struct.unpack_from("<II", data, at)
        if each == kind:
            found.append(data[at : at + size])
        at += size
    return found


def packet_ids(path: Path) -> list[bytes]:
    option = struct.pack("<HH", 5, 8)
    return [block[block.index(option) + 4 :][:8] for block in blocks(path, 6)]


@pytest.mark.parametrize("leave_out", [False, True])
def test_the_same_packet_from_two_switches_shares_a_number_and_two_from_one_are_both_kept(
    tmp_path: Path, leave_out: bool
) -> None:
    again = ethernet("192.0.2.10", "198.51.100.7", b"another")
    with (
        running(tmp_path, leave_out=leave_out) as run,
        sender(run) as leaf1,
        sender(run, "127.0.0.2") as leaf2,
    ):
        leaf1(mirroring.type_ii(FRAME, sequence=1))
        time.sleep(0.001)
        leaf1(mirroring.type_ii(FRAME, sequence=2))
        run.wait(2)
        leaf2(mirroring.type_ii(FRAME, sequence=900))
        leaf2(mirroring.type_ii(again, sequence=901))
        run.wait(4)
    [path] = run.files.paths("c1")
    ids = packet_ids(path)
    received = run.files.received("c1")
    assert received
    counters = run.receiver.counters
    assert (counters.duplicates, counters.left_out, received.duplicates) == (1, int(leave_out), 1)
    if leave_out:
        assert len(ids) == len(set(ids)) == counters.frames == 3
    else:
        assert counters.frames == 4
        assert ids[0] != ids[1]
        assert ids[2] == ids[0]
        assert ids[3] not in ids[:3]
        comments = [b"duplicate: the same packet as mirrored by leaf1" in block for block in blocks(path, 6)]
        assert comments == [False, False, True, False]


def test_the_time_of_a_frame_is_that_of_its_arrival_however_late_it_is_read(tmp_path: Path) -> None:
    files = CaptureFiles(tmp_path, 1 << 20)
    files.start()

    def slow(source: str) -> str:
        time.sleep(0.2)
        return "leaf1"

    receiver = Receiver(files, switch_of=slow, expected=wanted, raw=(), gre_in_udp=("127.0.0.1", 0))
    receiver.start()
    run = Running(receiver, files)
    with sender(run) as send:
        before = time.time()
        for _ in range(3):
            send(mirroring.type_i(FRAME))
        after = time.time()
        run.wait(3)
    receiver.stop()
    files.stop()
    [path] = files.paths("c1")
    for block in blocks(path, 6):
        high, low = struct.unpack_from("<II", block, 12)
        assert before - 0.01 <= (high << 32 | low) / 1e9 <= after + 0.01


def test_kernel_drops_are_counted(tmp_path: Path) -> None:
    files = CaptureFiles(tmp_path, 1 << 20)
    files.start()

    asked: list[str] = []

    def slow_at_first(source: str) -> str:
        if not asked:
            time.sleep(0.3)
        asked.append(source)
        return "leaf1"

    receiver = Receiver(
        files,
        switch_of=slow_at_first,
        expected=wanted,
        raw=(),
        gre_in_udp=("127.0.0.1", 0),
        receive_buffer_bytes=4096,
    )
    receiver.start()
    port = port_of(receiver)
    assert port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(200):
            sock.sendto(mirroring.type_i(FRAME), ("127.0.0.1", port))
    time.sleep(0.5)
    receiver.stop()
    files.stop()
    assert receiver.counters.kernel_drops > 0
    assert [row.kernel_drops for row in receiver.sockets()] == [receiver.counters.kernel_drops]
    assert receiver.counters.kernel_drops + receiver.counters.packets == 200


def test_nothing_to_open_is_an_error_and_leaves_nothing_open(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        receiver = Receiver(
            CaptureFiles(tmp_path, 1),
            switch_of=SWITCHES.get,
            expected=wanted,
            raw=(),
            gre_in_udp=taken.getsockname(),
        )
        with pytest.raises(OSError, match="in use"):
            receiver.start()


def test_a_bug_met_by_one_packet_does_not_end_the_reception(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = CaptureFiles(tmp_path, 1 << 20)
    files.start()
    ids = iter(["../not/a/name", "c1"])
    receiver = Receiver(
        files, switch_of=SWITCHES.get, expected=lambda *_: next(ids), raw=(), gre_in_udp=("127.0.0.1", 0)
    )
    receiver.start()
    run = Running(receiver, files)
    with sender(run) as send:
        send(mirroring.type_i(FRAME))
        send(mirroring.type_i(FRAME))
    run.wait(2)
    receiver.stop()
    files.stop()
    assert (receiver.counters.internal_errors, receiver.counters.frames) == (1, 1)
    assert "could not be handled" in caplog.text


needs_raw = pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets need root")


@needs_raw
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_raw_gre(tmp_path: Path, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_RAW, 47)
    except OSError:
        pytest.skip("no raw sockets here")
    big = ethernet("192.0.2.10", "198.51.100.7", b"z" * 3000)
    with sock, running(tmp_path, raw=(host,), udp=False) as run:
        assert [row.listener for row in run.receiver.sockets()] == [f"raw GRE on {host}"]
        sock.sendto(mirroring.type_ii(FRAME), (host, 0))
        sock.sendto(mirroring.type_iii(big), (host, 0))
        sock.sendto(struct.pack("!HH", 0, 0x0800), (host, 0))
        run.wait(3)
    assert run.frames() == [FRAME, big]
    assert run.receiver.counters.not_mirrored == 1


@needs_raw
def test_fragments_are_put_together_before_they_get_here(tmp_path: Path) -> None:
    big = ethernet("192.0.2.10", "198.51.100.7", b"z" * 1500)
    payload = mirroring.type_ii(big)
    with running(tmp_path, raw=("127.0.0.1",), udp=False) as run:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as out:
            for frag, part in ((1000 // 8, payload[1000:]), (0x2000, payload[:1000])):
                packet = mirroring.ipv4("127.0.0.1", "127.0.0.1", 47, part, ident=4711, frag=frag)
                out.sendto(packet, ("127.0.0.1", 0))
        run.wait(1)
    assert run.frames() == [big]


@needs_raw
def test_forged_raw_gre_is_counted_and_nothing_of_it_stored(tmp_path: Path) -> None:
    with running(tmp_path, raw=("127.0.0.1",), udp=False) as run:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, 47) as out:
            out.bind(("127.0.0.66", 0))
            out.sendto(mirroring.type_ii(FRAME), ("127.0.0.1", 0))
        run.wait(1)
    assert (run.receiver.counters.unknown_source, run.receiver.counters.frames) == (1, 0)
    assert list(tmp_path.iterdir()) == []


UNREACHABLE = """
import socket, sys
from pathlib import Path
from sentinel.erspan.files import CaptureFiles
from sentinel.erspan.receiver import Receiver
from sentinel.packets.pcap import packets
from tests.support import mirroring

files = CaptureFiles(Path(sys.argv[1]), 1 << 20)
files.start()
receiver = Receiver(files, switch_of=lambda _: None, expected=lambda *_: None)
icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
icmp.settimeout(0.5)
# Protocol 255: a socket of protocol 47 would itself keep the kernel from answering.
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

def answered():
    gre = mirroring.type_ii(mirroring.ethernet())
    out.sendto(mirroring.ipv4("127.0.0.1", "127.0.0.70", 47, gre), ("127.0.0.70", 0))
    try:
        while True:
            packet = icmp.recv(2048)
            if packet[20:22] == b"\\x03\\x02":
                return True
    except TimeoutError:
        return False

before = answered()
receiver.start()
during = answered()
receiver.stop()
files.stop()
print(before, during, receiver.counters.packets)
"""


@needs_raw
def test_the_kernel_answers_no_switch_with_protocol_unreachable(tmp_path: Path) -> None:
    """In a network namespace of its own, where no other socket of protocol 47 keeps the kernel quiet."""
    root = Path(__file__).parents[3]
    script = f'ip link set lo up && exec {sys.executable} -c "$0" {tmp_path}'
    line = ["unshare", "-n", "sh", "-c", script, UNREACHABLE]
    try:
        done = subprocess.run(line, cwd=root, capture_output=True, text=True, check=False, timeout=30)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if "unshare" in done.stderr or "ip: not found" in done.stderr:
        pytest.skip(f"no network namespace here: {done.stderr.strip()}")
    assert done.stdout.split() == ["True", "False", "1"], done.stderr
