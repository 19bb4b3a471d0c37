# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A bound on how often each of many may do something: one bucket each, which refills with time."""

import threading
import time
from collections import OrderedDict
from typing import Callable, Hashable, Tuple

from switch_acl_api.limits import MAX_RATE_BUCKETS


class Rates:
    """``per_second`` in the long run, ``burst`` at once (twice as many); from any thread.

    The buckets that were not used for longest are forgotten first, so that names cost no memory.
    """

    def __init__(self, per_second: float, burst: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst or 2 * per_second
        self._clock = clock
        self._mutex = threading.Lock()
        self._buckets: "OrderedDict[Hashable, Tuple[float, float]]" = OrderedDict()

    def take(self, key: Hashable) -> bool:
        """Whether there is one left for ``key``; it is taken."""
        with self._mutex:
            now = self._clock()
            left, at = self._buckets.pop(key, (self._burst, now))
            left = min(self._burst, left + (now - at) * self._per_second)
            there = left >= 1
            self._buckets[key] = (left - 1 if there else left, now)
            if len(self._buckets) > MAX_RATE_BUCKETS:
                self._buckets.popitem(last=False)
            return there
