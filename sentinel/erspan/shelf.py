# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The finished files of captures in one directory, bounded in bytes, number and age; the oldest of ended ones go first.

A file is ``<capture id>.<part>.pcapng``. Nothing here locks: ``CaptureFiles``, which owns it, does.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}\.[0-9]{4,6}\.pcapng")

Reason = Literal["room", "number", "age"]


@dataclass(frozen=True, slots=True)
class Deleted:
    """A file that had to go: for want of ``room``, because there were too many (``number``), or for its ``age``."""

    capture_id: str
    name: str
    bytes: int
    reason: Reason


@dataclass(slots=True)
class _Finished:
    size: int
    at: float


class Shelf:
    """``bytes`` is what all files take, those still being written included: their owner adds to it.

    ``is_live`` tells whether a capture may still get frames. What was deleted waits in ``deleted`` to be told.
    """

    def __init__(
        self, directory: Path, max_bytes: int, max_files: int, max_age_s: float, is_live: Callable[[str], bool]
    ) -> None:
        self.bytes = 0
        self.deleted: list[Deleted] = []
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._max_age_s = max_age_s
        self._is_live = is_live
        # Oldest first, and those of each capture.
        self._finished: dict[Path, _Finished] = {}
        self._of: dict[str, dict[Path, None]] = {}

    def take_stock(self) -> None:
        """Account for the files that are there already."""
        found = [(path, path.stat()) for path in self._directory.iterdir() if _NAME.fullmatch(path.name)]
        for path, status in sorted(found, key=lambda each: each[1].st_mtime):
            self.bytes += status.st_size
            self.put(path, status.st_size, status.st_mtime)

    def path(self, capture_id: str) -> Path:
        """Where the next part of a capture goes; raises ``ValueError`` for an id that can't be a file's name."""
        taken = max((number_of(path) for path in self._of.get(capture_id, ())), default=0)
        name = f"{capture_id}.{taken + 1:04d}.pcapng"
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"capture id {capture_id!r} can't be a file's name")
        return self._directory / name

    def put(self, path: Path, size: int, at: float) -> None:
        """A part was finished, ``at`` in UTC seconds."""
        self._finished[path] = _Finished(size, at)
        self._of.setdefault(capture_of(path), {})[path] = None
        while len(self._finished) > self._max_files:
            self._delete(self._oldest(), "number")

    def sizes(self, capture_id: str) -> list[tuple[Path, int]]:
        """The finished parts of a capture in order, with their octets."""
        return [(path, self._finished[path].size) for path in sorted(self._of.get(capture_id, ()), key=number_of)]

    def has_room(self, size: int) -> bool:
        """Whether so many octets more fit in, after deleting what may go."""
        while self.bytes + size > self._max_bytes:
            if not self._finished:
                return False
            self._delete(self._oldest(), "room")
        return True

    def expire(self, now: float) -> None:
        """Delete what was finished too long ago; ``now`` in UTC seconds."""
        for path in [path for path, each in self._finished.items() if now - each.at > self._max_age_s]:
            self._delete(path, "age")

    def _oldest(self) -> Path:
        """The oldest part of an ended capture, else of any; there must be one."""
        ended = (path for path in self._finished if not self._is_live(capture_of(path)))
        return next(ended, None) or next(iter(self._finished))

    def _delete(self, path: Path, reason: Reason) -> None:
        capture_id = capture_of(path)
        freed = self._finished.pop(path).size
        del self._of[capture_id][path]
        if not self._of[capture_id]:
            del self._of[capture_id]
        self.bytes -= freed
        path.unlink(missing_ok=True)
        self.deleted.append(Deleted(capture_id, path.name, freed, reason))


def capture_of(path: Path) -> str:
    return path.name.split(".")[0]


def number_of(path: Path) -> int:
    return int(path.name.split(".")[1])
