# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The captures on disk: pcapng files of mode 0600 in one directory, bounded in bytes over all.

A capture's file is ``<capture id>.<part>.pcapng``; a part ends at a size, at a restart of the daemon, or with the
capture. Each is a whole pcapng file, and so are the parts one after the other. When there is no room left, the
oldest ended captures are deleted first, then the oldest finished parts of live ones; where that isn't enough, frames
are refused and counted. Files of earlier runs count as ended until their capture's next frame.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sentinel.erspan import pcapng
from sentinel.erspan.decapsulate import Mirrored
from sentinel.limits import MAX_CAPTURE_FILE_BYTES, MAX_ENDED_CAPTURES_REMEMBERED

log = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<capture>[A-Za-z0-9_-]{1,128})\.(?P<part>[0-9]{4,6})\.pcapng")
_BUFFER_BYTES = 1 << 18
UNAUTHENTICATED = "The outer source address of these packets is unauthenticated: whoever can forge it could add frames."


@dataclass(frozen=True, slots=True)
class CaptureNotes:
    """What an analyst reads in the file: ``comments`` of the section, ``names`` of its hosts (address to names)."""

    comments: tuple[str, ...] = ()
    names: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(slots=True)
class FileCounters:
    frames: int = 0
    bytes: int = 0
    refused_full: int = 0
    refused_ended: int = 0
    dropped_files: int = 0
    dropped_bytes: int = 0


@dataclass(slots=True)
class _Interface:
    number: int
    start_ns: int
    received: int = 0
    dropped: int = 0


@dataclass(slots=True)
class _Open:
    path: Path
    file: IO[bytes]
    size: int = 0
    interfaces: dict[str, _Interface] = field(default_factory=dict)


class CaptureFiles:
    """One writer per live capture. Every method may be called from any thread; ``OSError`` where the disk fails."""

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        notes: Callable[[str], CaptureNotes] = lambda _: CaptureNotes(),
        max_file_bytes: int = MAX_CAPTURE_FILE_BYTES,
    ) -> None:
        self.counters = FileCounters()
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_file_bytes = max_file_bytes
        self._notes = notes
        self._lock = threading.RLock()
        self._open: dict[str, _Open] = {}
        self._live: set[str] = set()
        # Frames still under way when a capture ends must not open its file again; the latest are remembered.
        self._ended: dict[str, None] = {}
        # Finished parts with their sizes, oldest first.
        self._finished: dict[Path, int] = {}
        self._bytes = 0

    def start(self) -> None:
        """Make the directory where it is absent and take account of what is there."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = [(path, path.stat()) for path in self._directory.iterdir() if _NAME.fullmatch(path.name)]
        with self._lock:
            for path, status in sorted(found, key=lambda each: each[1].st_mtime):
                self._finished[path] = status.st_size
                self._bytes += status.st_size

    def stop(self) -> None:
        """Finish every open part."""
        with self._lock:
            for capture_id in list(self._open):
                self._finish(capture_id)

    @property
    def held_bytes(self) -> int:
        return self._bytes

    def write(self, capture_id: str, switch: str, mirrored: Mirrored, at_ns: int, dropped: int = 0) -> bool:
        """Append a frame; false where there was no room or the capture has ended.

        ``dropped`` frames were lost on their way before this one.
        """
        with self._lock:
            if capture_id in self._ended:
                self.counters.refused_ended += 1
                return False
            part = self._open.get(capture_id) or self._begin(capture_id)
            block = b""
            interface = part.interfaces.get(switch)
            if interface is None:
                interface = part.interfaces[switch] = _Interface(len(part.interfaces), at_ns)
                block = pcapng.interface(switch, f"ERSPAN from {switch}, outer source {mirrored.outer_src}")
            block += _packet(interface.number, mirrored, at_ns, dropped)
            if not self._room_for(len(block)):
                self.counters.refused_full += 1
                interface.dropped += 1
                return False
            self._append(part, block)
            interface.received += 1
            interface.dropped += dropped
            self.counters.frames += 1
            self.counters.bytes += len(mirrored.frame)
            if part.size >= self._max_file_bytes:
                self._finish(capture_id)
            return True

    def end(self, capture_id: str) -> None:
        """The capture is over: its files are complete, and the first to go when room is needed."""
        with self._lock:
            self._finish(capture_id)
            self._live.discard(capture_id)
            self._ended[capture_id] = None
            while len(self._ended) > MAX_ENDED_CAPTURES_REMEMBERED:
                del self._ended[next(iter(self._ended))]

    def flush(self) -> None:
        """Hand everything written to the kernel, so that a reader sees it."""
        with self._lock:
            for part in self._open.values():
                part.file.flush()

    def paths(self, capture_id: str) -> list[Path]:
        """The capture's files in order; their octets one after the other are a pcapng file too."""
        with self._lock:
            if (part := self._open.get(capture_id)) is not None:
                part.file.flush()
            every = [*self._finished, *(part.path for part in self._open.values())]
        return sorted(path for path in every if _capture_of(path) == capture_id)

    def _begin(self, capture_id: str) -> _Open:
        if _NAME.fullmatch(f"{capture_id}.0001.pcapng") is None:
            raise ValueError(f"capture id {capture_id!r} can't be a file's name")
        taken = [int(path.name.split(".")[1]) for path in self._finished if _capture_of(path) == capture_id]
        path = self._directory / f"{capture_id}.{max(taken, default=0) + 1:04d}.pcapng"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        part = self._open[capture_id] = _Open(path, os.fdopen(descriptor, "wb", buffering=_BUFFER_BYTES))
        self._live.add(capture_id)
        notes = self._notes(capture_id)
        self._append(part, pcapng.section_header("sentinel", dict.fromkeys([*notes.comments, UNAUTHENTICATED])))
        if notes.names:
            self._append(part, pcapng.names(notes.names))
        return part

    def _finish(self, capture_id: str) -> None:
        part = self._open.pop(capture_id, None)
        if part is None:
            return
        with part.file:
            now_ns = time.time_ns()
            for interface in part.interfaces.values():
                block = pcapng.interface_statistics(
                    interface.number,
                    interface.start_ns,
                    now_ns,
                    received=interface.received,
                    dropped=interface.dropped,
                )
                self._append(part, block)
        self._finished[part.path] = part.size

    def _append(self, part: _Open, block: bytes) -> None:
        part.file.write(block)
        part.size += len(block)
        self._bytes += len(block)

    def _room_for(self, size: int) -> bool:
        while self._bytes + size > self._max_bytes:
            victim = next(
                (path for path in self._finished if _capture_of(path) not in self._live),
                next(iter(self._finished), None),
            )
            if victim is None:
                return False
            freed = self._finished.pop(victim)
            victim.unlink(missing_ok=True)
            self._bytes -= freed
            self.counters.dropped_files += 1
            self.counters.dropped_bytes += freed
            log.warning("capture file %s (%d bytes) deleted to make room for a newer one", victim.name, freed)
        return True


def _capture_of(path: Path) -> str:
    return path.name.split(".")[0]


def _packet(interface: int, mirrored: Mirrored, at_ns: int, dropped: int) -> bytes:
    direction = mirrored.direction
    return pcapng.packet(
        interface,
        at_ns,
        mirrored.frame,
        missing=mirrored.missing,
        direction=None if direction is None else "inbound" if direction == "ingress" else "outbound",
        dropped=dropped,
        comments=("cut short by the switch",) if mirrored.truncated and not mirrored.missing else (),
    )
