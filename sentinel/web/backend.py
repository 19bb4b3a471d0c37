# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What the HTTP API asks of the daemon: plain values out, a few wishes in.

Rows (``agents``, ``feeds``, ``switches``, ``health``) are mappings of JSON values; ``openapi.json`` names
their keys. A key that ends in ``_at`` or ``_seen`` is UTC seconds since 1970 (or ``None``) here, RFC 3339 text there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sentinel.errors import OutsideError
from sentinel.model import Capture, Detection, FlowAnswer, FlowQuery

Row = Mapping[str, object]


class Refused(OutsideError):  # noqa: N818 - an answer to a wish, as the word says
    """A wish that is understood and not granted; ``reason`` is shown to whoever asked."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotFound(OutsideError):  # noqa: N818 - likewise
    """No such capture, feed or detection."""


@dataclass(frozen=True, slots=True)
class NotHere:
    """The packets of a capture are not on this host; ``where`` says in words where they go."""

    where: str


@dataclass(frozen=True, slots=True)
class Pcap:
    """The files of a capture in order, and how many octets of each are whole blocks; together they are a pcapng file.

    ``more`` is true while more may come. ``missing`` says in words why there is none, where there is none.
    """

    parts: tuple[tuple[Path, int], ...] = ()
    more: bool = False
    missing: str = ""


class Backend(Protocol):
    """Every method may be called from any thread, and none but ``events`` and ``flows`` may take long."""

    def detections(self) -> Sequence[Detection]:
        """Return all detections held, open and lately closed, in any order."""

    def uncaptured(self) -> Mapping[str, str]:
        """Return why a detection has no live capture, by detection id, as far as the planner has said so."""

    def captures(self) -> Sequence[Capture]:
        """Return all captures held, live and lately ended, in any order."""

    def capture(self, capture_id: str) -> Capture | None:
        """Return one capture."""

    def agents(self) -> Sequence[Row]:
        """Return one row per (agent, sub-agent) heard."""

    def feeds(self) -> Sequence[Row]:
        """Return one row per feed."""

    def switches(self) -> Sequence[Row]:
        """Return one row per switch."""

    def flows(self, query: FlowQuery) -> FlowAnswer:
        """Return the answer of the latest whole seconds; may take a second, and yields to whoever else has work."""

    def events(self, after: int, timeout_s: float) -> Sequence[Row]:
        """Return events whose ``id`` is above ``after``, oldest first; wait up to ``timeout_s`` for the first."""

    def start_capture(self, local_ip: str, listed_ip: str, by: str, seconds: int | None) -> Capture:
        """Start a capture by hand; raises ``Refused``."""

    def approve(self, capture_id: str, by: str) -> Capture:
        """Approve a pending capture; raises ``NotFound``, ``Refused``."""

    def stop(self, capture_id: str, by: str) -> Capture:
        """End a capture; raises ``NotFound``, ``Refused``."""

    def extend(self, capture_id: str, seconds: int, by: str) -> Capture:
        """Let a capture last ``seconds`` longer; raises ``NotFound``, ``Refused``."""

    def refresh_feed(self, name: str) -> None:
        """Ask for a feed to be fetched soon; raises ``NotFound``, ``Refused``."""

    def accept_feed(self, name: str, by: str) -> None:
        """Put a feed's quarantined download in force; raises ``NotFound``, ``Refused``."""

    def pcap(self, capture_id: str) -> Pcap | NotHere:
        """Return the files with the mirrored packets; raises ``NotFound``, ``OSError`` where the disk fails."""

    def received(self, capture_id: str) -> Row | None:
        """Return what was kept of a capture here; ``None`` where this host keeps none."""

    def rate_bps(self, capture_id: str) -> int | None:
        """Return the bit/s that each mirror of a capture is believed to carry; ``None`` where it is not live."""

    def health(self) -> Row:
        """Return ``status`` (ok, degraded, failing), ``problems`` (sentences) and what the console's header shows."""

    def metrics(self) -> bytes:
        """Return the Prometheus text exposition."""
