# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What was seen of the running loop: from the daemon's events, and from the shims' own lists of rules."""

import time
from collections.abc import Mapping
from typing import Any

from sentinel.demo.topology import SWITCHES


class Observed:
    """Pairs by what happened to them; ``active_at`` is monotonic seconds. One writer per attribute."""

    def __init__(self) -> None:
        self.detected: set[frozenset[str]] = set()
        self.active_at: dict[frozenset[str], float] = {}
        self.ended: set[frozenset[str]] = set()
        self.capture_id: dict[frozenset[str], str] = {}
        self.rules_seen: dict[str, set[str]] = {node.name: set() for node in SWITCHES}

    def forget(self, pair: frozenset[str]) -> None:
        """Begin anew with a pair, and with the rules seen."""
        self.detected.discard(pair)
        self.ended.discard(pair)
        self.active_at.pop(pair, None)
        self.capture_id.pop(pair, None)
        self.rules_seen = {switch: set() for switch in self.rules_seen}

    def take(self, event: Mapping[str, Any]) -> None:
        """An event of the daemon's log."""
        kind = event.get("event_type")
        if kind == "alert":
            self.detected.add(frozenset((event["sentinel"]["local_ip"], event["sentinel"]["listed_ip"])))
        elif kind == "capture":
            capture = event["capture"]
            pair = frozenset((capture["local_ip"], capture["listed_ip"]))
            self.capture_id[pair] = capture["id"]
            if capture["state"] == "active":
                self.active_at.setdefault(pair, time.monotonic())
            elif capture["state"] == "ended":
                self.ended.add(pair)
