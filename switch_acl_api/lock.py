# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One hand at a time: a file lock that the daemon and the expire process share.

Threads of one process hold it together (they have their own mutex); processes exclude one another. The kernel frees it
when its holder dies. The commit tool inherits the descriptor, so that a tool which outlives a killed daemon still keeps
the next hand from committing beside it; a tool that never ends keeps it no longer than its own time limit.

Taking the lock needs no room on a disk: if its file cannot be made, the policy folder is locked in its place.
"""

import contextlib
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Iterator, Optional

from switch_acl_api.errors import AlreadyRunningError, LockBusyError
from switch_acl_api.limits import LOCK_OF_THE_DEAD_S

_POLL_S = 0.02


class ProcessLock:
    """``path`` is the lock's file, ``instead`` a folder that is locked if there is no room for that file."""

    def __init__(self, path: Path, instead: Path) -> None:
        self._path = path
        self._instead = instead
        self._mutex = threading.Lock()
        self._holders = 0
        self._fd = -1

    @contextlib.contextmanager
    def held(self, timeout_s: float) -> Iterator[int]:
        """Yield the descriptor. Raises ``LockBusyError`` if another process keeps it for ``timeout_s``.

        A lock whose holder is dead is waited for as long as the holder's tool may run, and then passed over. Raises
        ``OSError`` if there is no descriptor for it.
        """
        with self._mutex:
            if self._holders == 0:
                self._fd = self._acquire(timeout_s)
            self._holders += 1
        try:
            yield self._fd
        finally:
            with self._mutex:
                self._holders -= 1
                if self._holders == 0:
                    # Unlocking, not only closing: a child that was forked meanwhile may still have the descriptor.
                    fcntl.flock(self._fd, fcntl.LOCK_UN)
                    os.close(self._fd)
                    self._fd = -1

    def _acquire(self, timeout_s: float) -> int:
        fd = _open(self._path, self._instead)
        begun = time.monotonic()
        while not _locked(fd):
            waited_s = time.monotonic() - begun
            if waited_s >= min(timeout_s, LOCK_OF_THE_DEAD_S):
                alive = _is_alive(_holder_of(fd))
                if not alive and waited_s >= LOCK_OF_THE_DEAD_S:
                    return fd
                if alive and waited_s >= timeout_s:
                    os.close(fd)
                    raise LockBusyError("another process has been committing for {:g}s".format(timeout_s))
            time.sleep(_POLL_S)
        return fd


def claim(path: Path, instead: Path) -> int:
    """Return the descriptor of a lock that this process keeps until it ends.

    Raises ``AlreadyRunningError`` if another process has it, ``OSError`` if the file cannot be made.
    """
    fd = _open(path, instead)
    if not _locked(fd):
        holder = _holder_of(fd)
        os.close(fd)
        who = "process {}".format(holder) if holder else "another process"
        raise AlreadyRunningError("{} is in use by {}".format(path.parent, who))
    return fd


def _open(path: Path, instead: Path) -> int:
    """For reading only: that is enough to lock, and works on a disk that cannot be written."""
    flags = os.O_RDONLY | os.O_CLOEXEC
    for target, more in ((path, 0), (path, os.O_CREAT)):
        with contextlib.suppress(OSError):
            return os.open(str(target), flags | more, 0o600)
    return os.open(str(instead), flags | os.O_DIRECTORY)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder_of(fd: int) -> Optional[int]:
    """The process that took the lock, as the kernel knows it (proc(5), ``/proc/locks``); ``None`` if it does not."""
    info = os.fstat(fd)
    wanted = "{:02x}:{:02x}:{}".format(os.major(info.st_dev), os.minor(info.st_dev), info.st_ino)
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    for fields in (line.split() for line in lines):
        # Number, kind, mode, access, process, device and inode, first and last octet.
        if len(fields) == 8 and fields[1] == "FLOCK" and fields[5] == wanted and fields[4].isdigit():
            return int(fields[4]) or None
    return None


def _is_alive(pid: Optional[int]) -> bool:
    """Whether that process lives; one that is not known does."""
    if pid is None:
        return True
    try:
        state = Path("/proc/{}/stat".format(pid)).read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return state.split()[:1] not in (["Z"], ["X"])
