# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""30,000 mirrored packets/s of 512 octets into pcapng: every one is in the file or among the kernel's drops.

``SENTINEL_BENCH_SECONDS`` makes it longer; with it set, not a single packet may be dropped.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sentinel.compiled import Implementation
from sentinel.erspan.files import CaptureFiles
from sentinel.erspan.receiver import Receiver
from sentinel.packets.pcap import packets
from sentinel.receive.batches import receiver_of

RATE_PPS = 30_000
SIZE = 512
SECONDS = float(os.environ.get("SENTINEL_BENCH_SECONDS", "2"))

SENDER = f"""
import socket, sys, time
from tests.support import mirroring
kind, host, port, total = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
frame = mirroring.ethernet(payload=bytes({SIZE} - 14 - 20))
packet = mirroring.type_ii(frame, sequence=0)
head, at = packet[:4], packet.index(frame)
middle, ip, tail = packet[8:at + 18], frame[14:18], frame[20:]
raw = kind == "raw"
out = socket.socket(socket.AF_INET, socket.SOCK_RAW if raw else socket.SOCK_DGRAM, 47 if raw else 0)
out.bind(("127.0.0.1", 0))
out.connect((host, port))
began = time.monotonic()
for n in range(total):
    if n % 30 == 0:
        time.sleep(max(0.0, began + n / {RATE_PPS} - time.monotonic()))
    number = n.to_bytes(4, "big")
    out.send(head + number + middle + number[2:] + tail)
print(total / (time.monotonic() - began))
"""


def can_open_raw() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, 47).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("choice", ["python", "native"])
@pytest.mark.parametrize("kind", ["raw", "udp"])
def test_thirty_thousand_packets_a_second(
    tmp_path: Path, kind: str, choice: Implementation, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "raw" and not can_open_raw():
        pytest.skip("no raw sockets here")
    if choice == "native":
        pytest.importorskip("sentinel.erspan._native", reason="the compiled keeper was not built")
    files = CaptureFiles(tmp_path, 1 << 30)
    files.start()
    receiver = Receiver(
        files,
        switch_of={"127.0.0.1": "leaf1"}.get,
        expected=lambda *_: "c1",
        raw=("127.0.0.1",) if kind == "raw" else (),
        gre_in_udp=("127.0.0.1", 0) if kind == "udp" else None,
        batches=receiver_of(choice),
    )
    receiver.start()
    total = int(RATE_PPS * SECONDS)
    used_before = time.process_time()
    port = receiver.opened.sockets[-1].socket.getsockname()[1]
    program = [sys.executable, "-c", SENDER, kind, "127.0.0.1", str(port), str(total)]
    sent = subprocess.run(
        program, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=60 + SECONDS
    )
    assert sent.returncode == 0, sent.stderr
    deadline = time.monotonic() + 10
    counters = receiver.counters
    while counters.packets + counters.kernel_drops < total and time.monotonic() < deadline:
        time.sleep(0.05)
    used = time.process_time() - used_before
    receiver.stop()
    files.stop()
    with capsys.disabled():
        print(
            f"\n{kind}, {choice}: {total} packets at {float(sent.stdout):,.0f}/s: {counters.frames} kept, "
            f"{counters.kernel_drops} dropped by the kernel, {used / total * 1e6:.1f} µs of processor time each"
        )
    assert counters.packets + counters.kernel_drops == total
    assert counters.frames == counters.packets
    assert counters.duplicates == 0
    if "SENTINEL_BENCH_SECONDS" in os.environ:
        assert counters.kernel_drops == 0
    if kind == "udp":
        # A test that anybody can run: what is counted as kept is in the file.
        [path] = files.paths("c1")
        found = [recorded.data for recorded in packets(path)]
        assert len(found) == counters.frames
        assert {len(data) for data in found} == {SIZE}
