# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The live captures and what is remembered beside their stored values: every change of theirs goes through here.

A change is checked against the lifecycle, counted, and gives a ``Record``. Deadlines stand in a heap, so that a tick
costs what is due and not what is live.
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sentinel.capture import actions
from sentinel.capture.budget import Rate
from sentinel.capture.counters import Counted, engine_counters
from sentinel.capture.lifecycle import check_capture, check_mirror
from sentinel.capture.policy import Refusal, RefusalReason, Urgency
from sentinel.capture.sightings import Sightings
from sentinel.model import Capture, CaptureState, Detection, Ending, Mirror, MirrorState, Now

LIVE_MIRROR_STATES = ("installing", "active", "removing", "failed")
RETRY_FIRST_S = 1.0
RETRY_LONGEST_S = 60.0
NEVER = float("inf")


@dataclass(slots=True)
class Retry:
    """When a mirror that failed is tried again, in monotonic seconds, and how often it was."""

    attempts: int = 0
    at: float = 0.0

    def later(self, now: Now) -> None:
        self.attempts += 1
        self.at = now.mono + min(RETRY_FIRST_S * 2 ** min(self.attempts - 1, 10), RETRY_LONGEST_S)


class Track:
    """One live capture. Times are monotonic.

    ``placed``: when its first mirror was asked for; it is left in peace for a while from then on.
    ``installed``: when a switch last said that its rule was put there by our request.
    ``leaving``: switches whose mirror goes while the capture stays; ``unsure``: switches that have not said yet what an
    earlier run left there; ``doubtful``: the clock says more time has passed than a lease allows.
    """

    __slots__ = (
        "capture",
        "created",
        "detection",
        "doubtful",
        "ends",
        "evicting_until",
        "evidence",
        "excluded",
        "installed",
        "leaving",
        "placed",
        "queued_for",
        "rate",
        "recorded",
        "retries",
        "retry_at",
        "scheduled",
        "sightings",
        "unsure",
        "urgency",
    )

    def __init__(self, capture: Capture, detection: Detection | None, evidence: float, ends: float, now: Now) -> None:
        self.capture = capture
        self.detection = detection
        self.created = now.mono
        self.placed = now.mono
        self.evidence = evidence
        self.ends = ends
        self.recorded = evidence
        self.urgency = Urgency(int(capture.requested_by != "policy"), 0, 0)
        self.excluded: set[str] = set()
        self.installed: dict[str, float] = {}
        self.leaving: set[str] = set()
        self.unsure: set[str] = set()
        self.queued_for: tuple[str, ...] = ()
        self.retries: dict[str, Retry] = {}
        self.retry_at = now.mono
        self.evicting_until = 0.0
        self.scheduled = NEVER
        self.doubtful = False
        self.rate = Rate()
        self.sightings = Sightings(now)

    @property
    def ending(self) -> Ending | None:
        return self.capture.ending

    @property
    def pair(self) -> tuple[str, str]:
        return self.capture.pair

    def mirror(self, switch: str) -> Mirror | None:
        return next((m for m in self.capture.mirrors if m.switch == switch), None)

    def mirror_live(self, switch: str) -> bool:
        mirror = self.mirror(switch)
        return mirror is not None and mirror.state in LIVE_MIRROR_STATES

    def going(self, switch: str) -> bool:
        """Whether that switch's mirror is to be taken away."""
        return self.capture.ending is not None or switch in self.leaving

    def staying(self) -> list[Mirror]:
        """The mirrors that are wanted, in the order they were placed."""
        if self.capture.ending:
            return []
        return [m for m in self.capture.mirrors if m.state in LIVE_MIRROR_STATES and m.switch not in self.leaving]

    def retry(self, switch: str) -> Retry:
        return self.retries.setdefault(switch, Retry())


class Ledger:
    """``out`` collects the actions of the event under way; ``counters`` and ``refusals`` are for the screen."""

    def __init__(self) -> None:
        self.tracks: dict[str, Track] = {}
        self.by_pair: dict[tuple[str, str], Track] = {}
        self.counters = engine_counters()
        self.refusals: OrderedDict[str, Refusal] = OrderedDict()
        self.out: list[actions.Action] = []
        self._heap: list[tuple[float, int, str]] = []
        self._serial = 0

    def add(self, track: Track) -> None:
        self.tracks[track.capture.id] = track
        self.by_pair[track.pair] = track

    def forget(self, track: Track) -> None:
        del self.tracks[track.capture.id]
        self.by_pair.pop(track.pair, None)

    def count(self, kind: Counted) -> None:
        self.counters[kind] += 1

    def count_refused(self, reason: RefusalReason) -> None:
        self.counters[f"refused_{reason}"] += 1

    def count_ended(self, ending: Ending) -> None:
        self.counters[f"ended_{ending}"] += 1

    # --- changes ---------------------------------------------------------------------------------

    def mirror(self, track: Track, switch: str, state: MirrorState, **changes: Any) -> None:
        mirrors = list(track.capture.mirrors)
        at = next(i for i, m in enumerate(mirrors) if m.switch == switch)
        old = mirrors[at]
        if old.state != state:
            check_mirror(old.state, state)
            self.counters[f"mirror_edge_{old.state}_{state}"] += 1
        mirrors[at] = replace(old, state=state, **changes)
        track.capture = replace(track.capture, mirrors=tuple(mirrors))

    def state(self, track: Track, state: CaptureState, note: str, now: Now) -> None:
        """The capture's own step; staying where it is only changes the note."""
        old = track.capture.state
        if old == state:
            self.note(track, note, now)
            return
        check_capture(old, state)
        self.counters[f"edge_{old}_{state}"] += 1
        track.capture = replace(track.capture, state=state, note=note)
        self.record(track, old, now)

    def settle(self, track: Track, note: str, now: Now) -> None:
        """The capture's state is that of its best mirror."""
        states = {mirror.state for mirror in track.staying()}
        for state in ("active", "installing", "failed"):
            if state in states:
                if state == "failed" and track.capture.state == "active":
                    # The last mirror that worked is leaving; the other one is being tried again.
                    self.state(track, "installing", note, now)
                self.state(track, state, note, now)
                return

    def note(self, track: Track, note: str, now: Now) -> None:
        """Stored with what changed; the same words again are no news."""
        if track.capture.note != note:
            track.capture = replace(track.capture, note=note)
        self.record(track, None, now)

    def record(self, track: Track, previous: CaptureState | None, now: Now) -> None:
        """Wall times are told by today's clock, whatever it was when the capture began."""
        track.recorded = now.mono
        track.capture = replace(
            track.capture,
            evidence_at=now.wall - (now.mono - track.evidence),
            ends_at=now.wall + (track.ends - now.mono),
        )
        self.out.append(actions.Record(track.capture, previous))

    # --- deadlines -------------------------------------------------------------------------------

    def wake(self, track: Track, at: float) -> None:
        """Look at it no later than this."""
        if at < track.scheduled:
            track.scheduled = at
            self._serial += 1
            heapq.heappush(self._heap, (at, self._serial, track.capture.id))

    def due(self, now: Now) -> Iterator[Track]:
        """What is due, each once; who handles it says when it is due again."""
        while self._heap and self._heap[0][0] <= now.mono:
            at, _, capture_id = heapq.heappop(self._heap)
            track = self.tracks.get(capture_id)
            if track is not None and track.scheduled == at:
                track.scheduled = NEVER
                yield track

    @property
    def next_due(self) -> float:
        return self._heap[0][0] if self._heap else NEVER


class NewCaptures:
    """At most so many new captures a minute, per switch and in all."""

    def __init__(self, per_switch: int, in_all: int) -> None:
        self._per_switch = per_switch
        self._in_all = in_all
        self._times: dict[str, deque[float]] = {}

    def take(self, switch: str, now: Now) -> bool:
        recent = [self._times.setdefault(name, deque()) for name in (switch, "")]
        for times in recent:
            while times and times[0] <= now.mono - 60.0:
                times.popleft()
        if len(recent[0]) >= self._per_switch or len(recent[1]) >= self._in_all:
            return False
        for times in recent:
            times.append(now.mono)
        return True
