# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""`sentinel decap`: the mirrored frames of recordings, written to a pcapng file with an interface per switch."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sentinel.errors import DecodeError, RecordingError
from sentinel.erspan import pcapng
from sentinel.erspan.decapsulate import Mirrored, decapsulate_outer
from sentinel.packets.fragments import FragmentCounters
from sentinel.packets.pcap import packets
from sentinel.packets.reader import PacketReader


@dataclass(slots=True)
class DecapResult:
    """What came of each recorded frame; ``problems`` names recordings that could not be read to their end."""

    recorded: int = 0
    mirrored: int = 0
    truncated: int = 0
    not_mirrored: int = 0
    malformed: int = 0
    fragments: FragmentCounters = field(default_factory=FragmentCounters)
    incomplete: int = 0
    problems: list[str] = field(default_factory=list)


def decap(paths: Iterable[Path], out: Path, application: str = "sentinel decap") -> DecapResult:
    """Write the mirrored frames of ``paths`` to ``out`` (mode 0600) in the order they were recorded.

    A fragmented packet's frame comes where its last piece was. Raises ``OSError`` where ``out`` can't be written, and
    ``RecordingError`` where it is one of the recordings.
    """
    result = DecapResult()
    paths = list(paths)
    if out.exists() and any(path.exists() and out.samefile(path) for path in paths):
        raise RecordingError(f"{out} is one of the recordings, which would be overwritten")
    with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        writer = _Writer(file, application)
        for path in paths:
            reader = PacketReader()
            try:
                _one(path, reader, writer, result)
            except RecordingError as error:
                result.problems.append(str(error))
            result.incomplete += reader.fragments.held_packets
            _add(result.fragments, reader.fragments.counters)
    return result


def _one(path: Path, reader: PacketReader, writer: "_Writer", result: DecapResult) -> None:
    for recorded in packets(path):
        result.recorded += 1
        try:
            packet = reader.read(recorded)
            if packet is None:
                continue
            mirrored = decapsulate_outer(packet)
        except DecodeError as error:
            if error.code in {"not_ip", "not_mirrored"}:
                result.not_mirrored += 1
            else:
                result.malformed += 1
        else:
            result.mirrored += 1
            result.truncated += mirrored.truncated
            writer.write(recorded.at_ns, mirrored)


# What 64 bits hold, until the year 2554; a recording may claim any time.
_LAST_NS = 2**64 - 1


class _Writer:
    def __init__(self, file: IO[bytes], application: str) -> None:
        self._file = file
        self._interfaces: dict[str, int] = {}
        file.write(pcapng.section_header(application))

    def write(self, at_ns: int, mirrored: Mirrored) -> None:
        interface = self._interfaces.get(mirrored.outer_src)
        if interface is None:
            interface = self._interfaces[mirrored.outer_src] = len(self._interfaces)
            self._file.write(pcapng.interface(f"erspan {mirrored.outer_src}", f"mirrored by {mirrored.outer_src}"))
        self._file.write(
            pcapng.packet(
                interface,
                min(max(at_ns, 0), _LAST_NS),
                mirrored.frame,
                missing=mirrored.missing,
                direction="inbound" if mirrored.direction == "ingress" else "outbound" if mirrored.direction else None,
            )
        )


def _add(total: FragmentCounters, more: FragmentCounters) -> None:
    for name in FragmentCounters.__slots__:
        setattr(total, name, getattr(total, name) + getattr(more, name))
