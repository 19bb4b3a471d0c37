# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What the web part counts; exported as ``sentinel_web_<field>_total``."""

import threading
from collections import Counter


class WebCounters:
    """Plain counts; ``refused`` by a reason that is a literal of this stage."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = 0
        self.errors = 0
        self.slow_requests = 0
        self.refused: Counter[str] = Counter()

    def count_request(self) -> None:
        """Count one request that reached the application."""
        with self._lock:
            self.requests += 1

    def count_error(self) -> None:
        """Count one request that failed through a bug of ours."""
        with self._lock:
            self.errors += 1

    def count_slow_request(self) -> None:
        """Count one connection closed because its request did not arrive in time."""
        with self._lock:
            self.slow_requests += 1

    def refuse(self, reason: str) -> None:
        """Count one refusal."""
        with self._lock:
            self.refused[reason] += 1
