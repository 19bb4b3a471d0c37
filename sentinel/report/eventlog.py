# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Where events go: a file of EVE JSON Lines, and a ring in memory that the API reads.

The file is append-only and rotated here by size. A full disk costs lines, which are counted, never the daemon. A line
is written whole or not at all, so that whoever reads the file never sees half of one.
"""

import contextlib
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sentinel.limits import EVENT_LOG_BYTES, EVENT_LOG_OLD_FILES, EVENT_RING_EVENTS, MAX_EVENT_BYTES

log = logging.getLogger(__name__)

FILE_MODE = 0o600


class EventRing:
    """The latest events, each with an ``id`` that rises by one; safe for any number of threads.

    ``first_id`` may be derived from the wall clock, so that ids go on rising over a restart.
    """

    def __init__(self, capacity: int = EVENT_RING_EVENTS, first_id: int = 1) -> None:
        if capacity < 1 or first_id < 1:
            raise ValueError(f"capacity {capacity} and first_id {first_id} must be positive")
        self._events: deque[dict[str, object]] = deque(maxlen=capacity)
        self._next_id = first_id
        self._changed = threading.Condition()
        self._closed = False

    def append(self, event: Mapping[str, object]) -> int:
        """Keep an event, which gets the returned id; the oldest one makes room."""
        with self._changed:
            event_id = self._next_id
            self._next_id += 1
            self._events.append({"id": event_id, **{key: value for key, value in event.items() if key != "id"}})
            self._changed.notify_all()
            return event_id

    def after(self, event_id: int, timeout_s: float = 0.0) -> list[dict[str, object]]:
        """Return what came after ``event_id``, oldest first; wait up to ``timeout_s`` for it.

        An ``event_id`` that was never given out is of another life of the daemon: everything held comes after it.
        """
        with self._changed:
            if event_id >= self._next_id:
                event_id = 0
            self._changed.wait_for(lambda: self._closed or self._next_id - 1 > event_id, timeout_s)
            held = len(self._events)
            first = self._next_id - held
            skip = min(max(event_id + 1 - first, 0), held)
            return [dict(event) for event in islice(self._events, skip, None)]

    def close(self) -> None:
        """Wake all who wait, now and from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


@dataclass(slots=True)
class EventLogCounters:
    """Lines written, and lines lost: too large, or refused by the disk."""

    lines: int = 0
    lines_lost: int = 0
    write_errors: int = 0
    rotations: int = 0
    rotation_errors: int = 0


class EventLog:
    """Appends one JSON object per line to ``path``; a full file becomes ``path.1``, and so on to ``old_files``."""

    def __init__(self, path: Path, max_bytes: int = EVENT_LOG_BYTES, old_files: int = EVENT_LOG_OLD_FILES) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.old_files = old_files
        self.counters = EventLogCounters()
        self._lock = threading.Lock()
        self._file: int | None = None
        self._failing_since: float | None = None
        self._deleted_at: float | None = None

    def start(self) -> None:
        """Open the file, so that a path that cannot work is known at the start; raises ``OSError``."""
        with self._lock:
            self._open()

    def stop(self) -> None:
        """Close the file; a later ``append`` opens it again."""
        with self._lock:
            self._close()

    def append(self, event: Mapping[str, object]) -> bool:
        """Write one event; false (and counted) where the line is too large or the disk does not take it."""
        line = json.dumps(event, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        with self._lock:
            if len(line) > MAX_EVENT_BYTES:
                self.counters.lines_lost += 1
                return False
            try:
                self._write(line)
            except OSError as error:
                self._failed(error)
                return False
            self._worked()
            return True

    def deleted(self, within_s: float) -> bool:
        """Tell whether the file was deleted under us in the last seconds; one that is missing is made anew.

        A file that was renamed, or for which another was made, was rotated and is not meant. Does not wait for a write.
        """
        if self._lock.acquire(blocking=False):
            try:
                if self._file is not None and self._moved_away(self._file):
                    self._close()
                    self._open()
            except OSError as error:
                log.debug("event log %s cannot be opened: %s", self.path, error.strerror)
            finally:
                self._lock.release()
        at = self._deleted_at
        return at is not None and time.monotonic() - at < within_s

    def _write(self, line: bytes) -> None:
        if self._file is not None and self._moved_away(self._file):
            self._close()
        file = self._file if self._file is not None else self._open()
        size = os.fstat(file).st_size
        if size and size + len(line) > self.max_bytes and self._rotate():
            file, size = self._open(), 0
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(file, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, size)
            raise

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self.path, flags, FILE_MODE)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            # Power went away in the middle of a line; the next one must not become part of it.
            os.write(self._file, b"\n")
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _moved_away(self, file: int) -> bool:
        """Tell whether the file was renamed under us, as logrotate does, or deleted, which is noted."""
        try:
            there = self.path.lstat()
        except FileNotFoundError:
            if os.fstat(file).st_nlink == 0:
                self._deleted_at = time.monotonic()
                log.warning("event log %s was deleted under the running daemon; it is begun anew", self.path)
            return True
        return not os.path.samestat(there, os.fstat(file))

    def _rotate(self) -> bool:
        """Shift the old files by one and let go of the current one; false where writing must go on in it."""
        names = [self.path, *(Path(f"{self.path}.{number}") for number in range(1, self.old_files + 1))]
        try:
            if self.old_files == 0:
                self.path.unlink()
            for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
                with contextlib.suppress(FileNotFoundError):
                    newer.replace(older)
        except OSError as error:
            self.counters.rotation_errors += 1
            if self.counters.rotation_errors == 1:
                log.warning("event log %s cannot be rotated and grows: %s", self.path, error.strerror)
            return False
        self.counters.rotations += 1
        self._close()
        return True

    @property
    def failing(self) -> bool:
        """Tell whether the last line could not be written."""
        return self._failing_since is not None

    def _failed(self, error: OSError) -> None:
        self.counters.write_errors += 1
        self.counters.lines_lost += 1
        self._close()
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            log.warning("event log %s cannot be written, lines are lost: %s", self.path, error.strerror)

    def _worked(self) -> None:
        self.counters.lines += 1
        if self._failing_since is not None:
            log.warning("event log %s is written again, %d lines lost so far", self.path, self.counters.lines_lost)
            self._failing_since = None
