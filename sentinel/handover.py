# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The way of what receiving threads finished to one consumer of it.

Giving costs the same for a thing of any size: it waits here until the consumer's own thread takes it, in the order of
arrival. The room is bounded. What finds none is handed to ``overflow``, which must be quick: it runs in the giver's
thread and counts what is lost. ``overflow`` also receives what ``consume`` failed on, so that this is counted too.
"""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")


class HandOver(Generic[T]):
    """Calls ``consume`` with each thing given, never twice at a time; at most ``most`` things wait for it."""

    def __init__(self, name: str, consume: Callable[[T], None], overflow: Callable[[T], None], most: int) -> None:
        self._name = name
        self._consume = consume
        self._overflow = overflow
        self._waiting: deque[T] = deque()
        self._room = threading.Semaphore(most)
        self._arrived = threading.Semaphore(0)
        self._consuming = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def give(self, thing: T) -> None:
        """Leave it for the consumer; this waits for nothing."""
        if self._room.acquire(blocking=False):
            self._waiting.append(thing)
            self._arrived.release()
        else:
            self._overflow(thing)

    def flush(self) -> None:
        """Return when everything given before is consumed; what still waits is consumed in the caller's thread."""
        for _ in range(len(self._waiting)):
            self._one()
        # What the consumer's thread was at has ended when its lock is free.
        with self._consuming:
            pass

    def start(self) -> None:
        """Start the consumer's thread."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=self._name)
        self._thread.start()

    def stop(self) -> None:
        """End the consumer's thread once everything given before is consumed."""
        self._stopping = True
        self._arrived.release()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not (self._stopping and not self._waiting):
            self._arrived.acquire()
            self._one()

    def _one(self) -> None:
        with self._consuming:
            if not self._waiting:
                return
            thing = self._waiting.popleft()
            self._room.release()
            try:
                self._consume(thing)
            except Exception:
                log.exception("%s: what was handed over could not be taken", self._name)
                with contextlib.suppress(Exception):
                    self._overflow(thing)
