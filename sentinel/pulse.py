# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Signs of life of the threads that keep a promise, for ``/livez`` and whoever restarts a daemon that hangs."""

import time
from collections.abc import Callable


class Pulse:
    """The last time that a thread went round its loop. One thread beats, any may look."""

    def __init__(self, thread: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.thread = thread
        self._clock = clock
        # None while the thread is not meant to run.
        self._beat_at: float | None = None

    def beat(self) -> None:
        """Note that the thread progresses."""
        self._beat_at = self._clock()

    def rest(self) -> None:
        """Note that the thread ended as it should."""
        self._beat_at = None

    def silent_s(self) -> float:
        """Return the seconds since the last beat; 0 for a thread that is not meant to run."""
        beat_at = self._beat_at
        return 0.0 if beat_at is None else max(0.0, self._clock() - beat_at)
