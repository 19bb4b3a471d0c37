# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The captures on disk: pcapng files of mode 0600 in one directory, bounded in bytes, number and age over all.

A capture's file is ``<capture id>.<part>.pcapng``; a part ends at a size, at a restart of the daemon, or with the
capture. Each is a whole pcapng file, and so are the parts one after the other. When there is no room left, the
oldest ended captures are deleted first, then the oldest finished parts of live ones; where that isn't enough, frames
are refused and counted. Files of earlier runs count as ended until their capture's next frame.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, NamedTuple

from sentinel.erspan import pcapng
from sentinel.erspan.decapsulate import Mirrored
from sentinel.erspan.shelf import Deleted, Reason, Shelf
from sentinel.limits import (
    CAPTURE_FILE_BUFFER_BYTES,
    MAX_CAPTURE_FILE_BYTES,
    MAX_CAPTURE_FILES,
    MAX_ENDED_CAPTURES_REMEMBERED,
    MAX_OPEN_CAPTURE_FILES,
    MAX_RECEIVED_KEPT,
)

log = logging.getLogger(__name__)

Buffer = bytes | memoryview

_CUT = "cut short by the switch"
UNAUTHENTICATED = "The outer source address of these packets is unauthenticated: whoever can forge it could add frames."


@dataclass(frozen=True, slots=True)
class CaptureNotes:
    """What an analyst reads in the file: ``comments`` of the section, ``names`` of its hosts (address to names)."""

    comments: tuple[str, ...] = ()
    names: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(slots=True)
class Kept:
    """What has been kept of one capture since the daemon's start; ``bytes`` are those of the frames.

    ``lost`` frames are gaps in the switch's numbers, which some switches share between captures: an upper bound.
    """

    frames: int = 0
    bytes: int = 0
    duplicates: int = 0
    truncated: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """One file and the octets of it that are whole blocks."""

    path: Path
    size: int


@dataclass(slots=True)
class FileCounters:
    frames: int = 0
    bytes: int = 0
    refused_full: int = 0
    refused_ended: int = 0
    deleted_for_room: int = 0
    deleted_for_number: int = 0
    deleted_for_age: int = 0
    deleted_bytes: int = 0


@dataclass(slots=True)
class _Interface:
    number: int
    start_ns: int
    received: int = 0
    dropped: int = 0


@dataclass(slots=True)
class _Open:
    """A part being written; ``file`` is closed for a while where too many are open."""

    path: Path
    received: Kept
    file: IO[bytes] | None = None
    size: int = 0
    interfaces: dict[str, _Interface] = field(default_factory=dict)


class Place(NamedTuple):
    """Where the frames of one switch go: a part of its capture's and the interface announced there."""

    part: _Open
    interface: _Interface


class CaptureFiles:
    """One writer per live capture. Every method may be called from any thread; ``OSError`` where the disk fails.

    ``on_deleted`` is told of each file that had to go, from whichever thread found it so.
    """

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        notes: Callable[[str], CaptureNotes] = lambda _: CaptureNotes(),
        max_file_bytes: int = MAX_CAPTURE_FILE_BYTES,
        *,
        max_age_s: float = float("inf"),
        max_files: int = MAX_CAPTURE_FILES,
        max_open: int = MAX_OPEN_CAPTURE_FILES,
        on_deleted: Callable[[Deleted], None] = lambda _: None,
    ) -> None:
        self.counters = FileCounters()
        self._directory = directory
        self._max_file_bytes = max_file_bytes
        self._max_open = max_open
        self._notes = notes
        self._on_deleted = on_deleted
        self._lock = threading.RLock()
        # By capture, the one least lately opened first.
        self._open: dict[str, _Open] = {}
        self._opened = 0
        self._live: set[str] = set()
        # Frames still under way when a capture ends must not open its file again; the latest are remembered.
        self._ended: dict[str, None] = {}
        self._received: dict[str, Kept] = {}
        self._shelf = Shelf(directory, max_bytes, max_files, max_age_s, self._live.__contains__)

    def start(self) -> None:
        """Make the directory where it is absent and take account of what is there."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock:
            self._shelf.take_stock()
        self.expire(time.time())

    def stop(self) -> None:
        """Finish every open part."""
        with self._lock:
            for capture_id in list(self._open):
                self._finish(capture_id)
        self._tell()

    @property
    def held_bytes(self) -> int:
        return self._shelf.bytes

    def write(
        self,
        capture_id: str,
        switch: str,
        mirrored: Mirrored,
        at_ns: int,
        dropped: int = 0,
        packet_id: int | None = None,
        duplicate_of: str | None = None,
    ) -> bool:
        """Append a frame; false where there was no room or the capture has ended.

        ``dropped`` frames were lost on their way before this one. ``duplicate_of`` says in words whose copy of the
        same packet (with the same ``packet_id``) is there already.
        """
        direction = mirrored.direction
        cut = mirrored.truncated and not mirrored.missing
        with self._lock:
            place = self.place(capture_id, switch, mirrored.outer_src, at_ns)
            if place is None:
                written = self.refuse(capture_id, 1)
            else:
                block = pcapng.packet(
                    place.interface.number,
                    at_ns,
                    mirrored.frame,
                    missing=mirrored.missing,
                    direction=None if direction is None else "inbound" if direction == "ingress" else "outbound",
                    dropped=dropped,
                    packet_id=packet_id,
                    comments=remarks(cut, duplicate_of) if cut or duplicate_of else (),
                )
                amount = Kept(1, len(mirrored.frame), duplicate_of is not None, mirrored.truncated, dropped)
                written = self._append_frames(capture_id, block, [(place, amount)])
        if self._shelf.deleted:
            self._tell()
        return written

    def place(self, capture_id: str, switch: str, outer_src: str, at_ns: int) -> Place | None:
        """Where the frames of a switch go now; ``None`` where there is no room or the capture has ended."""
        with self._lock:
            if capture_id in self._ended:
                return None
            part = self._open.get(capture_id) or self._begin(capture_id)
            interface = part.interfaces.get(switch)
            if interface is None:
                block = pcapng.interface(switch, f"ERSPAN from {switch}, outer source {outer_src}")
                if not self._shelf.has_room(len(block)):
                    return None
                interface = part.interfaces[switch] = _Interface(len(part.interfaces), at_ns)
                self._append(part, block)
            return Place(part, interface)

    def append(self, capture_id: str, blocks: Buffer, amounts: Sequence[tuple[Place, Kept]]) -> bool:
        """Append packet blocks made for places of one part; false, for all of them, where ``write`` would say so.

        They may make the part larger than it should become.
        """
        with self._lock:
            written = self._append_frames(capture_id, blocks, amounts)
        if self._shelf.deleted:
            self._tell()
        return written

    def refuse(self, capture_id: str, frames: int) -> bool:
        """Count frames that found no place; false."""
        with self._lock:
            if capture_id in self._ended:
                self.counters.refused_ended += frames
            else:
                self.counters.refused_full += frames
        return False

    def count_left_out(self, capture_id: str) -> None:
        """A duplicate was received and, as was asked for, not written."""
        with self._lock:
            if capture_id not in self._ended:
                self._of(capture_id).duplicates += 1

    def end(self, capture_id: str) -> None:
        """The capture is over: its files are complete, and the first to go when room is needed."""
        with self._lock:
            self._finish(capture_id)
            self._live.discard(capture_id)
            self._ended[capture_id] = None
            while len(self._ended) > MAX_ENDED_CAPTURES_REMEMBERED:
                del self._ended[next(iter(self._ended))]
        self._tell()

    def flush(self) -> None:
        """Hand everything written to the kernel, so that a reader sees it."""
        with self._lock:
            for part in self._open.values():
                if part.file is not None:
                    part.file.flush()

    def expire(self, now: float) -> None:
        """Delete what was finished too long ago; ``now`` in UTC seconds."""
        with self._lock:
            self._shelf.expire(now)
        self._tell()

    def parts(self, capture_id: str) -> tuple[list[Part], bool]:
        """The capture's files in order, and whether the last is still being written.

        Their octets one after the other are a pcapng file too.
        """
        with self._lock:
            found = [Part(path, size) for path, size in self._shelf.sizes(capture_id)]
            part = self._open.get(capture_id)
            if part is not None:
                if part.file is not None:
                    part.file.flush()
                found.append(Part(part.path, part.size))
        return found, part is not None

    def paths(self, capture_id: str) -> list[Path]:
        """The capture's files in order."""
        return [part.path for part in self.parts(capture_id)[0]]

    def received(self, capture_id: str) -> Kept | None:
        """What was kept of a capture, if anything was."""
        with self._lock:
            found = self._received.get(capture_id)
            return replace(found) if found else None

    # --- one part --------------------------------------------------------------------------------

    def _begin(self, capture_id: str) -> _Open:
        path = self._shelf.path(capture_id)
        part = _Open(path, self._of(capture_id))
        self._open_file(part, os.O_CREAT | os.O_EXCL)
        self._open[capture_id] = part
        self._live.add(capture_id)
        notes = self._notes(capture_id)
        self._append(part, pcapng.section_header("sentinel", dict.fromkeys([*notes.comments, UNAUTHENTICATED])))
        if notes.names:
            self._append(part, pcapng.names(notes.names))
        return part

    def _open_file(self, part: _Open, how: int) -> IO[bytes]:
        if self._opened >= self._max_open:
            self._close_one()
        descriptor = os.open(part.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | how, 0o600)
        part.file = os.fdopen(descriptor, "wb", buffering=CAPTURE_FILE_BUFFER_BYTES)
        self._opened += 1
        return part.file

    def _close_one(self) -> None:
        """Close the file that was opened first; its part goes on when its next frame comes."""
        for capture_id, part in self._open.items():
            if part.file is not None:
                self._close(part)
                self._open[capture_id] = self._open.pop(capture_id)
                return

    def _close(self, part: _Open) -> None:
        if part.file is not None:
            file, part.file = part.file, None
            self._opened -= 1
            file.close()

    def _finish(self, capture_id: str) -> None:
        part = self._open.pop(capture_id, None)
        if part is None:
            return
        try:
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
        finally:
            self._close(part)
            self._shelf.put(part.path, part.size, time.time())

    def _append_frames(self, capture_id: str, blocks: Buffer, amounts: Sequence[tuple[Place, Kept]]) -> bool:
        part = amounts[0][0].part
        # Between a place and its use the capture may have ended.
        if self._open.get(capture_id) is not part or not self._shelf.has_room(len(blocks)):
            for place, amount in amounts:
                place.interface.dropped += amount.frames
            return self.refuse(capture_id, sum(amount.frames for _, amount in amounts))
        self._append(part, blocks)
        for place, amount in amounts:
            self._count(part.received, place.interface, amount)
        if part.size >= self._max_file_bytes:
            self._finish(capture_id)
        return True

    def _append(self, part: _Open, blocks: Buffer) -> None:
        file = part.file or self._open_file(part, 0)
        size = file.write(blocks)
        part.size += size
        self._shelf.bytes += size

    def _of(self, capture_id: str) -> Kept:
        found = self._received.get(capture_id)
        if found is None:
            while len(self._received) >= MAX_RECEIVED_KEPT:
                gone = next((each for each in self._received if each not in self._live), next(iter(self._received)))
                del self._received[gone]
            found = self._received[capture_id] = Kept()
        return found

    def _count(self, received: Kept, interface: _Interface, amount: Kept) -> None:
        interface.received += amount.frames
        interface.dropped += amount.lost
        received.frames += amount.frames
        received.bytes += amount.bytes
        received.lost += amount.lost
        received.truncated += amount.truncated
        received.duplicates += amount.duplicates
        self.counters.frames += amount.frames
        self.counters.bytes += amount.bytes

    def _tell(self) -> None:
        """Say what was deleted, with the lock free: who is told may ask us something."""
        with self._lock:
            deleted, self._shelf.deleted = self._shelf.deleted, []
            for each in deleted:
                self._count_deleted(each.reason)
                self.counters.deleted_bytes += each.bytes
        for each in deleted:
            log.warning("capture file %s (%d bytes) deleted: %s", each.name, each.bytes, _WHY[each.reason])
            self._on_deleted(each)

    def _count_deleted(self, reason: Reason) -> None:
        self.counters.deleted_for_room += reason == "room"
        self.counters.deleted_for_number += reason == "number"
        self.counters.deleted_for_age += reason == "age"


_WHY = {
    "room": "the files of all captures have no more room",
    "number": "there are too many files of captures",
    "age": "it is older than files of captures may become",
}


def remarks(cut: bool, duplicate_of: str | None) -> list[str]:
    """What is said of a frame in the file: that the switch cut it, and whose copy of the packet is there already."""
    marked = f"duplicate: the same packet as mirrored {duplicate_of}" if duplicate_of else ""
    return [each for each in (_CUT if cut else "", marked) if each]
