# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Lists that come packed, taken out within bounds: gzip as transfer coding or as a file, zip as a file.

Nothing is ever expanded before it is known to fit, and an archive inside an archive is not opened: no list is
published so, and every level would multiply what a bomb can do.
"""

import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO

from sentinel.errors import FeedError
from sentinel.limits import MAX_FEED_ARCHIVE_MEMBERS

_GZIP = b"\x1f\x8b\x08"
_ZIP = b"PK\x03\x04"
# A zip file that holds nothing begins with its end.
_EMPTY_ZIP = b"PK\x05\x06"
_DIRECTORY_ENTRY = b"PK\x01\x02"
_CHUNK = 65_536
_ENCRYPTED = 0x1


class Gunzip:
    """A gzip stream taken apart as it comes; RFC 1952, section 2.2: several members are one file."""

    def __init__(self, feed: str) -> None:
        self._feed = feed
        self._members = 1
        self._unzip = zlib.decompressobj(wbits=31)

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """What ``chunk`` adds, at most 64 KiB at a time: a bomb is cut off at the limit, not after it has gone off.

        FeedError where it is no gzip.
        """
        try:
            while chunk:
                if self._unzip.eof:
                    chunk = chunk.lstrip(b"\0")
                    if not chunk:
                        return
                    self._next_member()
                yield self._unzip.decompress(chunk, _CHUNK)
                chunk = self._unzip.unused_data if self._unzip.eof else self._unzip.unconsumed_tail
        except zlib.error:
            raise FeedError(self._feed, "encoding", "the gzip stream is damaged") from None

    def check_end(self) -> None:
        """FeedError when the stream is not at its end."""
        if not self._unzip.eof:
            raise FeedError(self._feed, "truncated", "the gzip stream ends early")

    def _next_member(self) -> None:
        self._members += 1
        if self._members > MAX_FEED_ARCHIVE_MEMBERS:
            raise FeedError(self._feed, "archive", f"more than {MAX_FEED_ARCHIVE_MEMBERS} gzip members")
        self._unzip = zlib.decompressobj(wbits=31)


def unpacked(feed: str, body: bytes, max_bytes: int, member: str = "") -> bytes:
    """``body`` itself, or the list inside where it is a gzip or zip file; FeedError when that cannot be had.

    ``member`` names the file wanted of a zip with several.
    """
    if not _is_packed(body):
        return body
    inside = _gunzipped(feed, body, max_bytes) if body.startswith(_GZIP) else _unzipped(feed, body, max_bytes, member)
    if _is_packed(inside):
        raise FeedError(feed, "archive", "an archive inside the archive")
    return inside


def _is_packed(body: bytes) -> bool:
    return body.startswith((_GZIP, _ZIP, _EMPTY_ZIP))


def _gunzipped(feed: str, body: bytes, max_bytes: int) -> bytes:
    stream = Gunzip(feed)
    whole = _bounded(feed, stream.pieces(body), max_bytes)
    stream.check_end()
    return whole


def _unzipped(feed: str, body: bytes, max_bytes: int, member: str) -> bytes:
    # Each entry becomes an object before anything can be asked: they are counted as they stand there.
    if body.count(_DIRECTORY_ENTRY) > MAX_FEED_ARCHIVE_MEMBERS:
        raise FeedError(feed, "archive", f"more than {MAX_FEED_ARCHIVE_MEMBERS} files in the zip archive")
    try:
        with zipfile.ZipFile(BytesIO(body)) as archive:
            info = _member(feed, archive, member)
            with archive.open(info) as file:
                return _bounded(feed, iter(lambda: file.read(_CHUNK), b""), max_bytes)
    # The library raises these, and nothing else, for archives made to confuse it.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise FeedError(feed, "archive", f"the zip archive is damaged: {type(error).__name__}") from None


def _member(feed: str, archive: zipfile.ZipFile, member: str) -> zipfile.ZipInfo:
    # ZipInfo.is_dir() of Python 3.11 asks for the last character of a name that may have none.
    files = [info for info in archive.infolist() if not info.filename.endswith("/")]
    chosen = [info for info in files if info.filename == member] if member else files
    if len(chosen) != 1:
        wanted = f"{member!r} is {len(chosen)} times" if member else f"{len(files)} files are, expected one (or member)"
        raise FeedError(feed, "archive", f"{wanted} in the zip archive")
    info = chosen[0]
    if info.flag_bits & _ENCRYPTED:
        raise FeedError(feed, "archive", "the zip archive is encrypted")
    # The library expands only these two piece by piece.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FeedError(feed, "archive", f"zip method {info.compress_type}, expected stored or deflated")
    return info


def _bounded(feed: str, pieces: Iterator[bytes], max_bytes: int) -> bytes:
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > max_bytes:
            raise FeedError(feed, "too-large", f"more than {max_bytes} bytes")
        held.append(piece)
    return b"".join(held)
