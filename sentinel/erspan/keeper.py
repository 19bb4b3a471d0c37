# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""From packets as they arrived to frames in files: what was asked for is kept, everything else counted by reason.

A frame is kept when its outer source is the ``erspan_source`` of a switch and a capture of its address pair is mirrored
there. This is the plain keeper, one packet after the other; ``erspan/_native.pyx`` is its compiled twin.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from sentinel.errors import DecodeError
from sentinel.erspan.decapsulate import Mirrored, NotMirroredError, decapsulate, decapsulate_gre
from sentinel.erspan.duplicates import Duplicates, Numbered, Place
from sentinel.erspan.files import CaptureFiles
from sentinel.erspan.inner import Inner, inner_packet
from sentinel.erspan.sequences import Sequences

log = logging.getLogger(__name__)

Arrived = tuple[bytes, str, int]
"""A packet, its sender's address, the UTC nanosecond at which the kernel had it."""

SwitchOf = Callable[[str], str | None]
Expected = Callable[[str, str, str], str | None]
OnFrames = Callable[[str, str, int], None]


@dataclass(slots=True)
class ReceiverCounters:
    """``frames`` were written; ``kernel_drops`` found the receive buffer full; ``lost`` are gaps of sequence numbers.

    ``duplicates`` are copies of a packet that another switch mirrored too, of which ``left_out`` were not written.
    """

    packets: int = 0
    frames: int = 0
    truncated: int = 0
    not_mirrored: int = 0
    malformed: int = 0
    unknown_source: int = 0
    unexpected_pair: int = 0
    duplicates: int = 0
    left_out: int = 0
    not_stored: int = 0
    write_errors: int = 0
    kernel_drops: int = 0
    lost: int = 0
    internal_errors: int = 0


class Numbers(Protocol):
    """``duplicates.Duplicates`` or its compiled twin."""

    def number(self, capture_id: str, place: Place, identity: bytes, now: float) -> Numbered: ...


class Keeper:
    """``switch_of``, ``expected`` and ``on_frames`` are those of ``Receiver``; ``first_id`` is the first packet's."""

    def __init__(
        self,
        files: CaptureFiles,
        switch_of: SwitchOf,
        expected: Expected,
        on_frames: OnFrames | None = None,
        *,
        leave_out_duplicates: bool = False,
        first_id: int = 1,
        numbers: Callable[[int], Numbers] = Duplicates,
    ) -> None:
        self.counters = ReceiverCounters()
        self.files = files
        self.switch_of = switch_of
        self.expected = expected
        self.on_frames = on_frames
        self.leave_out_duplicates = leave_out_duplicates
        self.sequences = Sequences()
        self.duplicates = numbers(first_id)
        self._write_failed_at = float("-inf")

    def take(self, batch: Iterable[Arrived], *, raw_ipv4: bool) -> None:
        """``raw_ipv4``: the packets begin with their IPv4 header, else with the GRE header. Raises nothing."""
        for data, sender, at_ns in batch:
            self.packet(data, sender, at_ns, raw_ipv4=raw_ipv4)

    def packet(self, data: bytes, sender: str, at_ns: int, *, raw_ipv4: bool) -> None:
        """One packet; raises nothing."""
        try:
            self._packet(data, sender, at_ns, raw_ipv4=raw_ipv4)
        except Exception as error:  # noqa: BLE001 - a bug met by one packet must not end the reception of all others
            self.bug(error, 1)

    def _packet(self, data: bytes, sender: str, at_ns: int, *, raw_ipv4: bool) -> None:
        counters = self.counters
        counters.packets += 1
        switch = self.switch_of(sender)
        if switch is None:
            counters.unknown_source += 1
            return
        try:
            mirrored = decapsulate(data) if raw_ipv4 else decapsulate_gre(data, sender, "")
        except NotMirroredError:
            counters.not_mirrored += 1
            return
        except DecodeError:
            counters.malformed += 1
            return
        lost = 0
        if mirrored.sequence is not None:
            lost = self.sequences.gap(switch, mirrored.session, mirrored.sequence)
            counters.lost += lost
        inner = inner_packet(mirrored.frame)
        capture_id = self.expected(switch, inner.src, inner.dst) if inner else None
        if inner is None or capture_id is None:
            counters.unexpected_pair += 1
            return
        counters.truncated += mirrored.truncated
        if self._store(capture_id, switch, mirrored, inner, at_ns, lost):
            self.kept(capture_id, switch, 1)

    def _store(self, capture_id: str, switch: str, mirrored: Mirrored, inner: Inner, at_ns: int, lost: int) -> bool:
        place = (switch, mirrored.direction)
        packet_id, first = self.duplicates.number(capture_id, place, inner.identity, at_ns / 1e9)
        if first is not None:
            self.counters.duplicates += 1
            if self.leave_out_duplicates:
                self.counters.left_out += 1
                self.files.count_left_out(capture_id)
                return False
        try:
            stored = self.files.write(
                capture_id, switch, mirrored, at_ns, lost, packet_id, said(first) if first else None
            )
        except OSError as error:
            self.failed(error, 1)
            return False
        self.counters.not_stored += not stored
        return stored

    def kept(self, capture_id: str, switch: str, frames: int) -> None:
        """So many frames are in the capture's file."""
        self.counters.frames += frames
        if self.on_frames is not None:
            self.on_frames(capture_id, switch, frames)

    def bug(self, error: Exception, packets: int) -> None:
        """So many packets met a bug: it is loud and counted."""
        log.error("a mirrored packet could not be handled", exc_info=error)
        self.counters.internal_errors += packets

    def failed(self, error: OSError, frames: int) -> None:
        """So many frames could not be written."""
        self.counters.write_errors += frames
        now = time.monotonic()
        if now - self._write_failed_at >= 60:
            self._write_failed_at = now
            log.error("mirrored frames can't be written: %s", error)


def said(place: Place) -> str:
    """How a duplicate's comment names where its first copy came from."""
    switch, direction = place
    return f"by {switch} at its {direction}" if direction else f"by {switch}"
