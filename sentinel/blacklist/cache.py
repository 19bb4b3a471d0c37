# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The last good copy of each feed on disk.

The body is written under a name with its own digest, then the sidecar that names it replaces the old one, then older
bodies go: at whatever instant the power fails, the sidecar names a whole body. A body that does not have the digest its
sidecar gives is not used.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

from sentinel.limits import MAX_FEED_BYTES, MAX_FEED_SIDECAR_BYTES


@dataclass(slots=True)
class FeedState:
    """What is remembered of a feed over a restart. Times are UTC seconds since 1970, 0 for never.

    ``url`` is where the body came from: validators of another place mean nothing. ``fetched_at`` is the last full
    download, ``checked_at`` the last attempt, ``changed_at`` when the contents last changed. ``error`` and
    ``error_reason`` are what is wrong, empty when nothing is; ``refused`` that the last download is in quarantine.
    """

    url: str = ""
    sha256: str = ""
    etag: str = ""
    last_modified: str = ""
    revision: str = ""
    entries: int = 0
    fetched_at: float = 0.0
    checked_at: float = 0.0
    changed_at: float = 0.0
    next_due_at: float = 0.0
    failures: int = 0
    error: str = ""
    error_reason: str = ""
    refused: bool = False


class FeedCache:
    """A folder with a few files per feed. OSError of writing goes to the caller; reading never raises."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, name: str) -> tuple[FeedState, bytes | None, str]:
        """``(state, body, what is wrong)``: an unusable copy gives no body and says why."""
        try:
            with self._sidecar(name).open("rb") as file:
                state = _state(file.read(MAX_FEED_SIDECAR_BYTES))
        except FileNotFoundError:
            return FeedState(), None, ""
        except (OSError, ValueError, RecursionError) as error:
            return FeedState(), None, f"the cached copy's description is damaged: {error}"
        if not state.sha256:
            return state, None, ""
        try:
            with self._body(name, state.sha256).open("rb") as file:
                body = _read(file)
        except OSError as error:
            return _without_body(state), None, f"the cached copy cannot be read: {error.strerror}"
        if hashlib.sha256(body).hexdigest() != state.sha256:
            return _without_body(state), None, "the cached copy is damaged: its digest differs"
        return state, body, ""

    def save_body(self, name: str, state: FeedState, body: bytes) -> None:
        """Make ``body`` the last good copy; ``state.sha256`` is its digest."""
        self._folder.mkdir(parents=True, exist_ok=True)
        current = self._body(name, state.sha256)
        _write(current, body)
        self.save_state(name, state)
        for old in self._folder.glob(f"{name}.*.list"):
            # Feed names may hold dots: only a digest stands between this name and the suffix.
            if old != current and len(old.name) == len(current.name):
                old.unlink(missing_ok=True)

    def save_state(self, name: str, state: FeedState) -> None:
        """Replace the sidecar."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _write(self._sidecar(name), json.dumps(asdict(state), indent=1).encode())

    def since(self, name: str) -> bytes:
        """What was kept by ``save_since``; empty without it."""
        try:
            with (self._folder / f"{name}.since").open("rb") as file:
                return _read(file)
        except OSError:
            return b""

    def save_since(self, name: str, data: bytes) -> None:
        """Keep since when each prefix is listed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _write(self._folder / f"{name}.since", data)

    def save_quarantined(self, name: str, body: bytes) -> None:
        """Keep a refused download for people to look at, and to accept."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _write(self._quarantined(name), body)

    def quarantined(self, name: str) -> bytes | None:
        """The refused download, if one is kept."""
        try:
            with self._quarantined(name).open("rb") as file:
                return _read(file)
        except OSError:
            return None

    def drop_quarantined(self, name: str) -> None:
        """Forget the refused download."""
        self._quarantined(name).unlink(missing_ok=True)

    def _sidecar(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _body(self, name: str, sha256: str) -> Path:
        return self._folder / f"{name}.{sha256[:16]}.list"

    def _quarantined(self, name: str) -> Path:
        return self._folder / f"{name}.quarantined"


def digest(body: bytes) -> str:
    """The SHA-256 of a body, in hexadecimal."""
    return hashlib.sha256(body).hexdigest()


def _read(file: BinaryIO) -> bytes:
    """At most a feed's limit and one octet, with no more room made for it than the file is long."""
    return file.read(min(os.fstat(file.fileno()).st_size, MAX_FEED_BYTES) + 1)


def _without_body(state: FeedState) -> FeedState:
    """Nothing of a lost body may be told to the server, or it would answer "not modified" for ever."""
    return FeedState(url=state.url)


def _state(data: bytes) -> FeedState:
    table: Any = json.loads(data)
    if not isinstance(table, dict):
        raise ValueError("not an object")  # noqa: TRY004 - the caller takes every damage for a ValueError
    state = FeedState()
    for field in fields(FeedState):
        default = getattr(state, field.name)
        value = table.get(field.name, default)
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not type(default):
            raise ValueError(f"{field.name} is not a {type(default).__name__}")
        setattr(state, field.name, value)
    if state.sha256 and (len(state.sha256) != 64 or not set(state.sha256) <= set("0123456789abcdef")):
        raise ValueError("sha256 is no digest")
    return state


def _write(path: Path, data: bytes) -> None:
    """All of it or none: a temporary file beside it, flushed to the disk, then renamed."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
