# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Datagrams over loopback: the daemon's listener and scan against a receiver that throws away, one after the other.

Sender and receiver are processes of their own. First the highest of the rates is found at which the bare receiver loses
nothing, then both are run at it. Measured is the CPU of the whole receiving process without its start; most of the
kernel's work for a datagram on loopback falls on the sender's side, with both alike.
"""

import ctypes
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from sentinel.sflow.listener import Listener
from tests.bench import traffic
from tests.bench.baseline import library

BUFFER_BYTES = 32 << 20
SECONDS = 3.0
RATES = (25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 400_000, 600_000)
DATAGRAMS = 8_192
_SO_RCVBUFFORCE = 33


def receive_bare() -> None:
    """The child that throws away."""
    code = library()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        try:
            bound.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
        except OSError:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        bound.bind(("127.0.0.1", 0))
        stop, octets, got = ctypes.c_int(0), ctypes.c_uint64(0), [0]

        def run() -> None:
            got[0] = code.bare_receive(bound.fileno(), ctypes.byref(stop), ctypes.byref(octets))

        thread = threading.Thread(target=run)
        thread.start()
        begun = time.process_time()
        print(bound.getsockname()[1], flush=True)
        sys.stdin.readline()
        used = time.process_time() - begun
        stop.value = 1
        thread.join()
    print(json.dumps({"received": got[0], "cpu_s": used}))


def receive_sentinel(prefixes: int, implementation: str) -> None:
    """The child that does what the daemon's receiving thread does."""
    from sentinel.scanning import Scanning, prepare, receiver_of

    lists = traffic.lists(traffic.addresses("v4", prefixes, 7))
    prepare(lists)
    scanning = Scanning(choice=implementation)
    matches = [0]

    def on_batch(batch: object) -> None:
        matches[0] += len(scanning.scan(batch, lists).matches)  # type: ignore[arg-type]  # as the listener gives it

    with Listener([("127.0.0.1", 0)], BUFFER_BYTES, on_batch, receiver_of(scanning.implementation)) as listener:
        begun = time.process_time()
        print(listener.listening()[0].port, flush=True)
        sys.stdin.readline()
        used = time.process_time() - begun
        counters = listener.counters()
    found = {"received": counters.datagrams, "cpu_s": used, "kernel_drops": counters.kernel_drops}
    print(
        json.dumps(found | {"batches": counters.batches, "samples": scanning.counters.samples, "matches": matches[0]})
    )


def run_at(rate: float, payloads: list[bytes], *child: str) -> dict[str, float]:
    """One run of one receiver: what was sent and what became of it."""
    sizes = (ctypes.c_uint32 * len(payloads))(*(len(one) for one in payloads))
    with (
        subprocess.Popen(
            [sys.executable, "-m", "tests.bench.loopback", *child],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        assert receiver.stdout is not None
        assert receiver.stdin is not None
        out.connect(("127.0.0.1", int(receiver.stdout.readline())))
        sent = library().send_rate(out.fileno(), b"".join(payloads), sizes, len(payloads), rate, SECONDS, 32)
        time.sleep(0.5)
        receiver.stdin.write("\n")
        receiver.stdin.flush()
        found: dict[str, float] = json.loads(receiver.stdout.read())
    return found | {"sent": sent, "lost": sent - found["received"], "us_per_datagram": found["cpu_s"] / sent * 1e6}


def measure(prefixes: int) -> Iterator[dict[str, object]]:
    """The bare receiver's highest rate without loss, then both at it."""
    payloads = traffic.payloads("v4", DATAGRAMS, 0.01, traffic.addresses("v4", prefixes, 7))
    best = 0.0
    for rate in RATES:
        found = run_at(rate, payloads, "bare")
        if found["lost"] or found["sent"] < 0.9 * rate * SECONDS:
            break
        best = rate
    for name, child in (("bare", ("bare",)), ("sentinel", ("sentinel", str(prefixes), "native"))):
        found = run_at(best, payloads, *child)
        yield {"what": "loopback", "receiver": name, "prefixes": prefixes, "asked_rate": best, **found}


if __name__ == "__main__":
    if sys.argv[1] == "bare":
        receive_bare()
    else:
        receive_sentinel(int(sys.argv[2]), sys.argv[3])
