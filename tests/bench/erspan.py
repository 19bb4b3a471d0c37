# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Mirrored frames of 512 octets between two network namespaces: the ERSPAN receiver against ``tcpdump -w``.

``measure()`` gives the rows of the table; ``python -m tests.bench.erspan`` prints them alone. One after the other, both
are given the same packets at rising rates, each with the same receive buffer, until one is lost or the sender can no
more; then the receiver gets what tcpdump just sustained. Whatever was sent and not written counts as lost, wherever it
was. Needs root, ``ip``, ``ethtool`` and tcpdump.
"""

import ctypes
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sentinel.compiled import chosen
from sentinel.erspan.files import CaptureFiles
from sentinel.erspan.receiver import Receiver
from sentinel.receive.batches import receiver_of
from tests.bench.baseline import library
from tests.support import mirroring
from tests.support.netns import Namespace, Namespaces, why_no_lab

FRAME_BYTES = 512
PACKETS = 1_024
BUFFER_BYTES = 32 << 20
SECONDS = 5.0
RATES = (30_000, 60_000, 100_000, 150_000, 200_000, 250_000, 300_000, 400_000)
SWITCH, HOST = "10.99.0.1", "10.99.0.2"
_TICKS = os.sysconf("SC_CLK_TCK")

Row = dict[str, object]


def receive(folder: str) -> None:
    """The child that does what the daemon does with mirrored packets."""
    files = CaptureFiles(Path(folder), 64 << 30)
    files.start()
    wanted = {("leaf1", *pair): "c1" for pair in (("192.0.2.10", "198.51.100.7"), ("198.51.100.7", "192.0.2.10"))}
    receiver = Receiver(
        files,
        switch_of={SWITCH: "leaf1"}.get,
        expected=lambda switch, src, dst: wanted.get((switch, src, dst)),
        raw=(HOST,),
        receive_buffer_bytes=BUFFER_BYTES,
        batches=receiver_of(chosen()[0]),
    )
    receiver.start()
    print("ready", flush=True)
    sys.stdin.readline()
    receiver.stop()
    files.stop()
    counters = receiver.counters
    print(json.dumps({"received": files.counters.frames, "kernel_drops": counters.kernel_drops}))


def packets() -> tuple[bytearray, list[int]]:
    """PACKETS of one size one behind the other, and where in each its number goes: GRE sequence, UDP payload."""
    frame = mirroring.ethernet("192.0.2.10", "198.51.100.7", bytes(FRAME_BYTES - 34))
    back = mirroring.ethernet("198.51.100.7", "192.0.2.10", bytes(FRAME_BYTES - 34))
    both = mirroring.type_ii(frame, sequence=0) + mirroring.type_ii(back, sequence=0)
    return bytearray(both * (PACKETS // 2)), [4, 16 + 34 + 8]


def send(source: Namespace, rate: float, seconds: float) -> int:
    """Send from ``source`` at a rate; how many."""
    data, places = packets()
    sizes = (ctypes.c_uint32 * PACKETS)(*([len(data) // PACKETS] * PACKETS))
    with source.socket(socket.AF_INET, socket.SOCK_RAW, 47) as out:
        out.bind((SWITCH, 0))
        out.connect((HOST, 0))
        return int(
            library().send_numbered(
                *(out.fileno(), (ctypes.c_char * len(data)).from_buffer(data), sizes, PACKETS, rate, seconds, 32),
                *((ctypes.c_uint32 * len(places))(*places), len(places)),
            )
        )


def cpu_s(pid: int) -> float:
    """Of a process and its threads (proc(5), fields 14 and 15)."""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS


def with_sentinel(host: Namespace, folder: str, sending: Callable[[], int]) -> dict[str, float]:
    with subprocess.Popen(
        host.argv(sys.executable, "-m", "tests.bench.erspan", folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        before = cpu_s(child.pid)
        sent = sending()
        time.sleep(1.0)
        used = cpu_s(child.pid) - before
        said, _ = child.communicate("\n")
    return {"sent": sent, "cpu_s": used, **json.loads(said)}


def with_tcpdump(host: Namespace, folder: str, sending: Callable[[], int]) -> dict[str, float]:
    line = ["tcpdump", "-n", "-i", "eth0", "-B", str(BUFFER_BYTES >> 10), "-Z", "root", "-w", f"{folder}/dump"]
    line.append("ip proto 47")
    with subprocess.Popen(host.argv(*line), stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        child.stderr.readline()
        before = cpu_s(child.pid)
        sent = sending()
        time.sleep(1.0)
        used = cpu_s(child.pid) - before
        child.terminate()
        said = child.stderr.read()
    found = {word: int(number) for number, word in re.findall(r"(\d+) packets? (captured|dropped)", said)}
    return {"sent": sent, "cpu_s": used, "received": found["captured"], "kernel_drops": found["dropped"]}


PROGRAMS = {"tcpdump -w": with_tcpdump, "sentinel": with_sentinel}


def run_at(program: str, rate: float, seconds: float = SECONDS) -> Row:
    """One run in namespaces of its own."""
    spaces = Namespaces()
    try:
        switch, host = spaces.add("sw"), spaces.add("host")
        spaces.link(switch, "eth0", host, "eth0")
        switch.address("eth0", f"{SWITCH}/24")
        host.address("eth0", f"{HOST}/24")
        # So that no packet waits for the neighbour to be found.
        switch.run("ping", "-c", "1", HOST)
        with tempfile.TemporaryDirectory() as folder:
            row = PROGRAMS[program](host, folder, lambda: send(switch, rate, seconds))
    finally:
        spaces.close()
    sent = row["sent"]
    asked: Row = {"what": "erspan", "receiver": program, "asked_pps": float(rate), "sent_pps": sent / seconds}
    cost = row["cpu_s"] / sent * 1e6
    lost: Row = {"lost": sent - row["received"], "kernel_drops": row["kernel_drops"], "cpu_us_per_packet": cost}
    return {**asked, **lost}


def measure(rates: Sequence[int] = RATES, seconds: float = SECONDS) -> Iterator[Row]:
    """Every run as a row, and at last what they come to; one row with the reason where the machine can't do it."""
    if reason := why_no_lab("tcpdump", "ethtool"):
        yield {"what": "erspan", "skipped": reason}
        return
    best: dict[str, float] = {}
    rate_of_tcpdump: float = rates[0]
    for program in PROGRAMS:
        best[program] = 0.0
        for asked in rates:
            row = run_at(program, asked, seconds)
            yield row
            sustained = float(str(row["sent_pps"]))
            if row["lost"]:
                break
            best[program] = max(best[program], sustained)
            if program == "tcpdump -w":
                rate_of_tcpdump = asked
            if sustained < 0.9 * asked:
                # More the sender can't give.
                break
    row = run_at("sentinel", rate_of_tcpdump, seconds)
    lost = int(str(row["lost"]))
    yield row
    yield {
        "what": "erspan",
        "receiver": "compared",
        "tcpdump_loss_free_pps": best["tcpdump -w"],
        "sentinel_loss_free_pps": best["sentinel"],
        "sentinel_lost_at_rate_of_tcpdump": lost,
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        receive(sys.argv[1])
    else:
        for each in measure():
            print("  ".join(f"{name} {value}" for name, value in each.items()), flush=True)
