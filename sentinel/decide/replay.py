# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The detections of recorded sFlow: the daemon's scan and detector over a recording instead of a socket.

Every agent is heard and nothing is ever quiet: one pair is one detection, however long the recording. The recording's
own times serve as the clock.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Protocol

from sentinel import limits
from sentinel.blacklist.trie import Blacklist
from sentinel.detect.engine import Detector
from sentinel.model import Detection
from sentinel.scan.threads import Scanning


class Datagram(Protocol):
    """What is used of ``sflow.recorded.RecordedDatagram``."""

    @property
    def payload(self) -> bytes: ...
    @property
    def sender(self) -> str: ...
    @property
    def at(self) -> float: ...


class Replay:
    """Several recordings may be fed one after the other; their detections are told together.

    ``local`` is CIDR text. ``scan`` and ``detector`` have the counters. ``choice`` of the scan as in ``Scanning``.
    """

    def __init__(
        self,
        blacklist: Blacklist,
        local: Iterable[str],
        erspan_destinations: Iterable[str] = (),
        choice: str | None = None,
    ) -> None:
        self.scan = Scanning(erspan_destinations=erspan_destinations, choice=choice)
        self.detector = Detector(local, max_open_per_agent=limits.MAX_OPEN_DETECTIONS)
        self._blacklist = blacklist

    def feed(self, datagrams: Iterable[Datagram]) -> None:
        """Take every datagram of one recording, in its order."""
        received = ((datagram.payload, datagram.sender, datagram.at) for datagram in datagrams)
        while batch := list(islice(received, limits.LISTENER_BATCH_DATAGRAMS)):
            for match in self.scan.scan(batch, self._blacklist).matches:
                self.detector.observe(match, match.seen_at)

    def detections(self) -> list[Detection]:
        """All of them, ordered by first seen."""
        return sorted(self.detector.open_detections(), key=lambda d: (d.first_seen, d.local_ip, d.listed_ip))


def replay(datagrams: Iterable[Datagram], blacklist: Blacklist, local: Iterable[str]) -> list[Detection]:
    """The detections of one recording, ordered by first seen."""
    one = Replay(blacklist, local)
    one.feed(datagrams)
    return one.detections()
