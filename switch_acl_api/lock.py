# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One hand at a time: a file lock that the daemon and the expire process share.

Threads of one process hold it together (they have their own mutex); processes exclude one another. The kernel frees it
when its holder dies. The commit tool inherits the descriptor, so that a tool which outlives a killed daemon still keeps
the next hand from committing beside it.
"""

import contextlib
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Iterator

from switch_acl_api.errors import LockBusyError

_POLL_S = 0.02


class ProcessLock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._mutex = threading.Lock()
        self._holders = 0
        self._fd = -1

    @contextlib.contextmanager
    def held(self, timeout_s: float) -> Iterator[int]:
        """Yields the descriptor. Raises ``LockBusyError`` when another process keeps it for ``timeout_s``."""
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
        fd = os.open(str(self._path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(fd)
                    raise LockBusyError("another process has been committing for {:g}s".format(timeout_s)) from None
                time.sleep(_POLL_S)
            else:
                return fd
