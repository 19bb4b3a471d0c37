# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A capture's files as one answer: whole, or followed while more comes.

A whole one is a file to waitress, which reads it as its client does, without a thread. A followed one holds a thread
for as long as it lasts, so those are counted; idle ones say so now and then, so that no proxy cuts them and a lost
client is noticed.
"""

import io
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import BinaryIO

from sentinel.limits import MAX_PCAP_STREAMS, PCAP_CHUNK_BYTES, PCAP_IDLE_S, PCAP_SLICE_S
from sentinel.rows import NotHere, Pcap
from sentinel.web.answer import HttpError

# draft-ietf-opsawg-pcapng: a section without interfaces (section 4.1), which opens a stream before its first packet;
# and a name resolution block without names (section 4.5), which says nothing inside any section.
EMPTY_SECTION = bytes.fromhex("0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000")
NOTHING = bytes.fromhex("04000000 10000000 00000000 10000000")

Look = Callable[[], Pcap | NotHere]


class Joined(io.RawIOBase):
    """The octets of several files one after the other, each as long as was said."""

    def __init__(self, parts: tuple[tuple[Path, int], ...]) -> None:
        super().__init__()
        self._parts = parts
        self._at = 0
        self._number = -1
        self._file: BinaryIO | None = None
        self.size = sum(size for _, size in parts)
        self._find()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = min(max(base + offset, 0), self.size)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` octets; raises ``OSError`` where a file is gone or shorter than was said."""
        left = self.size - self._at if size < 0 else min(size, self.size - self._at)
        pieces = []
        while left:
            file, here = self._find()
            piece = file.read(min(left, here))
            if not piece:
                raise OSError(f"{self._parts[self._number][0].name} is shorter than it was")
            pieces.append(piece)
            self._at += len(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _find(self) -> tuple[BinaryIO, int]:
        """The file at the current octet, opened and sought, and how many octets of it are left."""
        begin = 0
        for number, (path, size) in enumerate(self._parts):
            if self._at < begin + size:
                if number != self._number or self._file is None:
                    self._let_go()
                    self._file, self._number = path.open("rb"), number
                self._file.seek(self._at - begin)
                return self._file, begin + size - self._at
            begin += size
        raise OSError("there is nothing to read")

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self) -> None:
        self._let_go()
        super().close()


class PcapStreams:
    """A bounded number of followers; each looks up every slice, so a lost client or a stop frees its thread soon."""

    def __init__(self, limit: int = MAX_PCAP_STREAMS, slice_s: float = PCAP_SLICE_S, idle_s: float = PCAP_IDLE_S):
        self._free = threading.BoundedSemaphore(limit)
        self._stopping = threading.Event()
        self._slice_s = slice_s
        self._idle_s = idle_s

    def stop(self) -> None:
        """Let every stream end after the blocks it has."""
        self._stopping.set()

    def follow(self, look: Look, gone: Callable[[], bool]) -> "Followed":
        """Return whole blocks of what ``look()`` finds, until the last; raises ``HttpError`` if too many run."""
        if not self._free.acquire(blocking=False):
            raise HttpError(
                503, "busy", "too many captures are followed already; ask without follow", {"Retry-After": "30"}
            )
        return Followed(self._chunks(look, gone), self._free.release)

    def _chunks(self, look: Look, gone: Callable[[], bool]) -> Generator[bytes]:
        # At once, so that the client has its answer.
        yield EMPTY_SECTION
        told_at = time.monotonic()
        reader = _Reader()
        try:
            while True:
                found = _looked(look)
                if found is not None:
                    for chunk in reader.read(found):
                        yield chunk
                        told_at = time.monotonic()
                    if not found.more:
                        return
                if gone() or self._stopping.wait(self._slice_s):
                    return
                if time.monotonic() - told_at >= self._idle_s:
                    yield NOTHING
                    told_at = time.monotonic()
        finally:
            reader.close()


def _looked(look: Look) -> Pcap | None:
    """What there is now; nothing where the disk fails at the moment."""
    try:
        found = look()
    except OSError:
        return None
    return Pcap() if isinstance(found, NotHere) else found


class _Reader:
    """Reads parts as they grow, each once."""

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._path = Path()
        self._at = 0
        self._read: set[Path] = set()

    def read(self, found: Pcap) -> Iterator[bytes]:
        """What is new; the last part stays open, for it may grow."""
        sizes = dict(found.parts)
        last = found.parts[-1][0] if found.parts else None
        while self._file is not None or self._open(sizes):
            yield from self._up_to(sizes.get(self._path))
            if self._path == last:
                return
            self.close()

    def _open(self, sizes: dict[Path, int]) -> bool:
        for path in sizes:
            if path not in self._read:
                self._read.add(path)
                try:
                    self._file = path.open("rb")
                except OSError:
                    # Deleted to make room just now: the stream goes on with the next one.
                    continue
                self._path, self._at = path, 0
                return True
        return False

    def _up_to(self, size: int | None) -> Iterator[bytes]:
        """Up to so many octets; to the end of a file that was deleted while it was read."""
        while self._file is not None and (size is None or self._at < size):
            chunk = self._file.read(PCAP_CHUNK_BYTES if size is None else min(PCAP_CHUNK_BYTES, size - self._at))
            if not chunk:
                return
            self._at += len(chunk)
            yield chunk

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class Followed:
    """An iterable for WSGI; ``close`` frees its place, whether it was begun or not."""

    def __init__(self, chunks: Generator[bytes], release: Callable[[], None]) -> None:
        self._chunks = chunks
        self._release: Callable[[], None] | None = release

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        """End the stream; a second call does nothing."""
        release, self._release = self._release, None
        if release is not None:
            try:
                self._chunks.close()
            finally:
                release()
