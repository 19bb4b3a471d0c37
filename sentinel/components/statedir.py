# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of the daemon's state, which one daemon at a time has for itself."""

import fcntl
import os
from pathlib import Path

from sentinel.components.component import Component
from sentinel.errors import ConfigError


class StateDir(Component):
    """Makes the folder and holds a lock on it; the first component to start and the last to stop.

    The folder itself is locked: that needs no room on the disk, and no file whose deletion would let a second daemon
    in. The kernel releases the lock however the process ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def start(self) -> None:
        """Raises ``ConfigError`` if another daemon runs there, and ``OSError``."""
        self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise ConfigError("state_dir", [f"{self._path} is in use by another running sentinel; stop it"]) from None
        except OSError:
            os.close(fd)
            raise
        self._fd = fd

    def stop(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
