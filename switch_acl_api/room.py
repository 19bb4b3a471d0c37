# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Room for the bodies of requests that are being answered, so that many large ones take turns."""

import threading
import time
from typing import Dict


class Room:
    """``size`` octets in all, ``share`` for one owner; from any thread."""

    def __init__(self, size: int, share: int) -> None:
        self._left = size
        self._share = share
        self._taken: Dict[str, int] = {}
        self._condition = threading.Condition()

    def take(self, owner: str, size: int, timeout_s: float) -> bool:
        """Wait for room; false if there is none in time. ``give`` gives it back."""
        deadline = time.monotonic() + timeout_s
        with self._condition:
            while self._left < size or self._taken.get(owner, 0) + size > self._share:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                self._condition.wait(left_s)
            self._left -= size
            self._taken[owner] = self._taken.get(owner, 0) + size
            return True

    def give(self, owner: str, size: int) -> None:
        with self._condition:
            self._left += size
            self._taken[owner] -= size
            if not self._taken[owner]:
                del self._taken[owner]
            self._condition.notify_all()
