# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Mirrored packets in: which are expected, and the files they go to."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict

from sentinel.compiled import chosen
from sentinel.components.component import Component, Job
from sentinel.config.settings import Settings
from sentinel.erspan.files import CaptureFiles
from sentinel.erspan.receiver import Receiver
from sentinel.erspan.shelf import Deleted
from sentinel.erspan.wanted import Wanted
from sentinel.model import Capture
from sentinel.problems import Problem
from sentinel.pulse import Pulse
from sentinel.readings import Reading, counters
from sentinel.receive.batches import receiver_of
from sentinel.receive.sockets import readings, worst
from sentinel.rows import NotHere, Pcap, ReceivedRow, SocketRow
from sentinel.times import time_text

log = logging.getLogger(__name__)

EXPIRE_S = 60


class Erspan(Component):
    """Receives only if the settings say so. ``switch_of_source`` names the switch that mirrors from an address."""

    def __init__(
        self,
        settings: Settings,
        switch_of_source: Callable[[str], str | None],
        tell: Callable[[dict[str, object]], None],
    ) -> None:
        self._destination = settings.capture.erspan_destination
        self._tell = tell
        self._wanted = Wanted()
        # Guards the frames kept of each switch, which the receiver's thread counts.
        self._counting = threading.Lock()
        self._frames: Counter[str] = Counter()
        self._files: CaptureFiles | None = None
        self._receiver: Receiver | None = None
        choice = settings.erspan
        if not (choice.receive or choice.gre_in_udp):
            return
        self._files = CaptureFiles(
            choice.directory or settings.state_dir / "pcap",
            choice.max_bytes,
            self._wanted.notes,
            max_age_s=choice.max_age_s,
            on_deleted=self._report_deleted,
        )
        raw = ("0.0.0.0", "::") if choice.receive else ()  # noqa: S104  # a switch's packets arrive on any interface
        self._receiver = Receiver(
            self._files,
            switch_of=switch_of_source,
            expected=self._wanted.capture_of,
            on_frames=self._count_frames,
            raw=raw,
            gre_in_udp=choice.gre_in_udp,
            leave_out_duplicates=choice.leave_out_duplicates,
            batches=receiver_of(chosen()[0]),
        )

    def start(self) -> None:
        if self._files is None or self._receiver is None:
            return
        self._files.start()
        try:
            self._receiver.start()
        except OSError:
            self._files.stop()
            raise

    def stop(self) -> None:
        if self._files is None or self._receiver is None:
            return
        self._receiver.stop()
        self._files.stop()

    def jobs(self) -> Iterable[Job]:
        return () if self._files is None else (Job("files", EXPIRE_S, self._expire),)

    def expect(self, captures: Iterable[Capture]) -> None:
        """Take the captures as they are now: which pairs come from which switch, and which are complete."""
        for capture in captures:
            self._wanted.take(capture)
            # No more frames of it are expected: its file is complete.
            if capture.state == "ended" and self._files is not None:
                self._files.end(capture.id)

    # --- what is here --------------------------------------------------------------------------------

    def pcap(self, capture: Capture) -> Pcap | NotHere:
        """Return the files with a capture's packets; raises ``OSError`` if the disk fails."""
        if self._files is None:
            return NotHere(f"the packets go to {self._destination} as GRE/ERSPAN; open Wireshark there")
        # Read after the capture's state: what an ended capture has now is all it will ever have.
        parts, being_written = self._files.parts(capture.id)
        return Pcap(
            tuple((part.path, part.size) for part in parts),
            being_written or capture.state != "ended",
            f"no packets of it are here; they are sent to {self._destination}",
        )

    def received(self, capture_id: str) -> ReceivedRow | None:
        """Return what was kept of a capture here; ``None`` if this host keeps none."""
        if self._files is None:
            return None
        kept = self._files.received(capture_id)
        return ReceivedRow(**asdict(kept)) if kept is not None else ReceivedRow()

    @property
    def frames(self) -> int:
        """Return the mirrored frames received since the start."""
        return self._receiver.counters.frames if self._receiver is not None else 0

    def sockets(self) -> list[SocketRow]:
        """Return one row per socket."""
        return self._receiver.sockets() if self._receiver is not None else []

    # --- behind the receiver -------------------------------------------------------------------------

    def _count_frames(self, capture_id: str, switch: str, frames: int) -> None:
        del capture_id
        with self._counting:
            self._frames[switch] += frames

    def _expire(self) -> None:
        if self._files is None:
            return
        try:
            self._files.expire(time.time())
        except OSError as error:
            log.warning("old capture files can't be deleted: %s", error)

    def _report_deleted(self, deleted: Deleted) -> None:
        """Report a file of a capture that had to be deleted: an analyst may look for it."""
        details = {"id": deleted.capture_id, "file": deleted.name, "bytes": deleted.bytes, "reason": deleted.reason}
        now = time_text(time.time())
        self._tell({"timestamp": now, "event_type": "capture_file", "capture_file": {"deleted": True, **details}})

    def pulses(self) -> Iterable[Pulse]:
        return () if self._receiver is None else (self._receiver.pulse,)

    def problems(self) -> Iterable[Problem]:
        if self._receiver is None:
            return
        for name, reason in self._receiver.opened.refused.items():
            remedy = "give the daemon CAP_NET_RAW, or free the port"
            yield Problem("erspan_socket", "degraded", name, f"{name}: {reason}", remedy)
        counts = self._receiver.counters
        if counts.kernel_drops:
            text = f"the kernel dropped {counts.kernel_drops} mirrored packets ({worst(self.sockets())})"
            yield Problem("erspan_kernel_drops", "degraded", "erspan", text, "raise net.core.rmem_max")
        if counts.write_errors:
            text = f"{counts.write_errors} mirrored packets could not be written"
            yield Problem(
                "erspan_write_errors", "degraded", "erspan", text, "make room for erspan.directory; see the log"
            )

    def readings(self) -> Iterable[Reading]:
        if self._receiver is None or self._files is None:
            return
        yield from readings(self.sockets())
        yield from counters("erspan", self._receiver.counters)
        yield from counters("erspan_files", self._files.counters)
        octets = float(self._files.held_bytes)
        yield "sentinel_erspan_files_held_bytes", {}, octets, "gauge", "Octets of all capture files"
        with self._counting:
            kept = dict(self._frames)
        for switch, frames in kept.items():
            labels = {"switch": switch}
            yield "sentinel_erspan_switch_frames_total", labels, float(frames), "counter", "Frames kept, by switch"
