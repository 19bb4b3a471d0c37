# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The pairs whose mirrored packets are expected, and from which switch."""

import threading

from sentinel.erspan.files import CaptureNotes
from sentinel.model import Capture

# States of a mirror whose rule may be on the switch.
MAY_MIRROR = frozenset({"installing", "active", "removing", "failed"})


class Wanted:
    """The pairs that live captures expect, by switch. Written by the deciding thread, read by the receiver's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[str, Capture] = {}
        self._captures: dict[tuple[str, str, str], str] = {}

    def take(self, capture: Capture) -> None:
        """Expect a capture's pair from each switch whose rule may mirror it, and from no other."""
        with self._lock:
            if capture.state == "ended":
                self._live.pop(capture.id, None)
            else:
                self._live[capture.id] = capture
            for mirror in capture.mirrors:
                for pair in ((capture.local_ip, capture.listed_ip), (capture.listed_ip, capture.local_ip)):
                    key = (mirror.switch, *pair)
                    if mirror.state in MAY_MIRROR:
                        self._captures[key] = capture.id
                    elif self._captures.get(key) == capture.id:
                        del self._captures[key]

    def capture_of(self, switch: str, src_ip: str, dst_ip: str) -> str | None:
        """Return the capture that wants this frame."""
        with self._lock:
            return self._captures.get((switch, src_ip, dst_ip))

    def notes(self, capture_id: str) -> CaptureNotes:
        """Return what an analyst reads in the file of a capture."""
        with self._lock:
            capture = self._live.get(capture_id)
        if capture is None:
            return CaptureNotes()
        listed = ", ".join(f"{i.prefix} in {i.feed} ({i.group})" for i in capture.indicators)
        pair = f"{capture.local_ip} and {capture.listed_ip}"
        text = f"Sentinel capture {capture.id}: {pair}; {capture.reason}; listed: {listed}"
        # With their addresses, which a viewer shows the names instead of.
        listing = next((i.feed for i in capture.indicators), "unlisted")
        names = (
            (capture.local_ip, (f"local-{capture.local_ip}",)),
            (capture.listed_ip, (f"{listing}-{capture.listed_ip}",)),
        )
        return CaptureNotes((text,), names)
