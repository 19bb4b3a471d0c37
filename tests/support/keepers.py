# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The plain and the compiled keeper side by side: the same packets must come to the same frames and counters."""

import importlib
import random
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sentinel.erspan.files import CaptureFiles
from sentinel.erspan.keeper import Arrived, Keeper
from tests.support import mirroring

SWITCHES = {"10.0.0.1": "leaf1", "10.0.0.2": "leaf2", "10.0.0.3": "leaf2", "fd00::1": "leaf6"}
FRAMES = [
    mirroring.ethernet(),
    mirroring.ethernet(payload=bytes(range(256)), vlans=(7,)),
    mirroring.ethernet("198.51.100.7", "192.0.2.10", vlans=(7, 8)),
    mirroring.ethernet("2001:db8::10", "2001:db8::7", payload=b"six" * 60),
    mirroring.ethernet("192.0.2.10", "198.51.100.9", payload=b"of another capture"),
    mirroring.ethernet("192.0.2.99", "198.51.100.99", payload=b"that nobody wants"),
    b"\xff" * 12 + b"\x08\x06" + bytes(28),
]


def native() -> Any:
    """The module of the compiled keeper; skips the test where it was not built."""
    return pytest.importorskip("sentinel.erspan._native", reason="the compiled keeper was not built")


def wanted(switch: str, source: str, destination: str) -> str | None:
    """Three captures; what any other pair says is not wanted, or at one switch only."""
    if "192.0.2.99" in {source, destination}:
        return None
    if "198.51.100.9" in {source, destination}:
        return "c2" if switch == "leaf1" else None
    return "c6" if ":" in source else "c1"


def packet_blocks(content: bytes) -> list[tuple[str, bytes]]:
    """The name of the interface and the rest of each packet block, read without our own code."""
    names: list[str] = []
    found, at = [], 0
    while at < len(content):
        kind, size = struct.unpack_from("<II", content, at)
        assert struct.unpack_from("<I", content, at + size - 4) == (size,)
        if kind == 0x0A0D0D0A:
            names = []
        elif kind == 1:
            length = struct.unpack_from("<HH", content, at + 16)[1]
            names.append(content[at + 20 : at + 20 + length].decode())
        elif kind == 6:
            found.append((names[struct.unpack_from("<I", content, at + 8)[0]], content[at + 12 : at + size]))
        at += size
    return found


class Keepers:
    """Both over files of their own in ``folder``; compared after every batch, and by ``finish`` to the last octet."""

    def __init__(self, folder: Path, max_bytes: int = 1 << 26, max_file_bytes: int = 1 << 26, **named: Any) -> None:
        self.module = native()
        self.receive = importlib.import_module("sentinel.receive._native")
        self.told: list[dict[tuple[str, str], int]] = [{}, {}]
        self.files = [CaptureFiles(folder / name, max_bytes, max_file_bytes=max_file_bytes) for name in ("p", "n")]
        for each in self.files:
            each.start()
        self.plain, self.behind = (
            Keeper(
                files,
                SWITCHES.get,
                wanted,
                lambda capture, switch, frames, told=told: told.update(  # type: ignore[misc]  # of its own turn
                    {(capture, switch): told.get((capture, switch), 0) + frames}
                ),
                first_id=1_000,
                **more,
                **named,
            )
            for files, told, more in zip(self.files, self.told, ({}, {"numbers": self.module.Duplicates}), strict=True)
        )
        self.native = self.module.NativeKeeper(self.behind)

    def feed(self, batch: Sequence[Arrived], *, raw_ipv4: bool) -> None:
        self.plain.take(batch, raw_ipv4=raw_ipv4)
        senders = [
            socket.inet_pton(socket.AF_INET6 if ":" in sender else socket.AF_INET, sender) for _, sender, _ in batch
        ]
        times = [at_ns for _, _, at_ns in batch]
        self.native.take(self.receive.batch_of([data for data, _, _ in batch], senders, 1.0, times), raw_ipv4=raw_ipv4)
        self.compare()

    def compare(self) -> None:
        assert self.behind.counters == self.plain.counters
        assert self.plain.counters.internal_errors == 0
        assert self.told[1] == self.told[0]
        for name in ("lost", "restarts", "_last"):
            assert getattr(self.behind.sequences, name) == getattr(self.plain.sequences, name), name
        assert len(self.behind.duplicates) == len(self.plain.duplicates)  # type: ignore[arg-type]  # both have one
        for capture_id in ("c1", "c2", "c6"):
            assert self.files[1].received(capture_id) == self.files[0].received(capture_id)
        assert self.files[1].counters == self.files[0].counters

    def stop(self) -> None:
        for each in self.files:
            each.stop()

    def finish(self) -> list[tuple[str, bytes]]:
        """The packet blocks of all captures, the same with both."""
        self.stop()
        found = []
        for each in self.files:
            paths = [path for capture_id in ("c1", "c2", "c6") for path in each.paths(capture_id)]
            found.append([block for path in paths for block in packet_blocks(path.read_bytes())])
        assert found[1] == found[0]
        return found[0]


def batches(seed: int, number: int, *, raw_ipv4: bool, damage: float = 0.3) -> list[list[Arrived]]:
    """Packets of all kinds, from switches and others: many equal ones, sequence numbers with gaps, some damaged."""
    chance = random.Random(seed)
    made: list[list[Arrived]] = []
    at_ns, sequence = 1_700_000_000 * 10**9, 0
    for _ in range(number):
        batch: list[Arrived] = []
        for _ in range(chance.choice((1, 2, 7, 40))):
            at_ns += chance.choice((1_000, 100_000, 30_000_000))
            sequence = chance.choice((sequence, *[sequence + 1] * 5, sequence + 4, 0)) % 2**32
            frame = bytearray(chance.choice(FRAMES))
            frame[-1] = chance.randrange(3)
            sender = chance.choice((*SWITCHES, "10.0.0.1", "10.0.0.66"))
            data = _wrapped(chance, bytes(frame), sequence)
            if raw_ipv4:
                sender = "10.0.0.1" if ":" in sender else sender
                options = bytes(4 * chance.choice((0, 0, 1, 10)))
                frag = chance.choice((*[0] * 9, 0x2000, 5, 0x4000))
                data = mirroring.ipv4(sender, "10.0.0.70", 47, data, options=options, frag=frag) + bytes(
                    chance.choice((0, 0, 0, 6))
                )
            batch.append((_damaged(chance, data) if chance.random() < damage else data, sender, at_ns))
        made.append(batch)
    return made


def _wrapped(chance: random.Random, frame: bytes, sequence: int) -> bytes:
    kind = chance.randrange(4)
    session = chance.choice((1, 1, 2))
    if kind == 0:
        return mirroring.ALL_KINDS[chance.choice(sorted(mirroring.ALL_KINDS))](frame)
    if kind == 1:
        return mirroring.type_iii(
            frame, sequence=sequence, session=session, egress=chance.random() < 0.5, frame_type=chance.choice((0, 0, 2))
        )
    if kind == 2:
        return mirroring.gre(0x88BE, mirroring.type_ii(frame)[8:], sequence=sequence, key=5, checksum=True)
    return mirroring.type_ii(frame, sequence=sequence, session=session, truncated=chance.random() < 0.1)


def _damaged(chance: random.Random, data: bytes) -> bytes:
    octets = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 6))):
        at = chance.randrange(len(octets)) if octets else 0
        kind = chance.randrange(4)
        if kind == 0:
            del octets[at:]
        elif kind == 1:
            octets[at:at] = bytes(chance.randrange(1, 9))
        else:
            at = min(at, chance.choice((40, 60, 1000)))
            octets[at : at + 1] = bytes((chance.choice((0, 1, 0x45, 0x60, 0x81, 0x88, 0xFF, chance.randrange(256))),))
    return bytes(octets)
