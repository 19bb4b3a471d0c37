# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Long polls: how many may wait, and what wakes them."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from sentinel.limits import LONG_POLL_SLICE_S, MAX_LONG_POLLS
from sentinel.web.answer import HttpError

Poll = Callable[[float], Sequence[Mapping[str, object]]]


class LongPolls:
    """A bounded number of waiters; each looks up every slice, so a lost client or a stop frees its thread soon."""

    def __init__(self, limit: int = MAX_LONG_POLLS) -> None:
        self._free = threading.BoundedSemaphore(limit)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Let every waiter answer with what it has."""
        self._stopping.set()

    def wait(self, poll: Poll, timeout_s: float, gone: Callable[[], bool]) -> Sequence[Mapping[str, object]]:
        """Return what ``poll(seconds)`` finds within ``timeout_s``; raises ``HttpError`` if too many wait."""
        if timeout_s <= 0:
            return poll(0.0)
        if not self._free.acquire(blocking=False):
            raise HttpError(503, "busy", "too many long polls wait already; ask without timeout", {"Retry-After": "5"})
        try:
            return self._wait(poll, time.monotonic() + timeout_s, gone)
        finally:
            self._free.release()

    def _wait(self, poll: Poll, deadline: float, gone: Callable[[], bool]) -> Sequence[Mapping[str, object]]:
        while True:
            asked_at = time.monotonic()
            slice_s = max(0.0, min(LONG_POLL_SLICE_S, deadline - asked_at))
            found = poll(slice_s)
            now = time.monotonic()
            if found or now >= deadline or gone() or self._stopping.wait(max(0.0, asked_at + slice_s - now)):
                return found
