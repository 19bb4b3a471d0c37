# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Matches in, detections out. No clock, no I/O: ``now`` is monotonic seconds, wall times come with the matches.

Every match belongs to one (local, listed) pair, and a pair has at most one open detection. What the outside is told is
an event each time something changed that a decision depends on, and otherwise a sign of life once an interval, so that
whoever keeps a capture alive has fresh evidence without an event per sample.
"""

from collections.abc import Callable, Iterable
from typing import Literal

from sentinel import limits
from sentinel.detect import evidence
from sentinel.detect.announce import Announcer
from sentinel.detect.case import Case, local_and_listed
from sentinel.detect.direction import LocalNetworks
from sentinel.detect.events import DetectCounters, DetectionEvent, Kind
from sentinel.detect.rows import RowBudget
from sentinel.detect.table import CaseTable
from sentinel.model import Detection, Indicator, Match

_STATE_AFTER: dict[Kind, Literal["closed", "delisted"]] = {"closed": "closed", "delisted": "delisted"}


class Detector:
    """All open detections of one daemon; single-threaded.

    ``local`` is CIDR text (``ValueError`` for anything else). ``min_samples`` is the policy's number of samples whose
    crossing is worth a ``changed``; ``announce_burst`` and ``announce_per_s`` bound what one agent may have told.
    """

    def __init__(
        self,
        local: Iterable[str],
        *,
        min_samples: int = 3,
        quiet_s: float = 3600.0,
        sighted_interval_s: float = 1.0,
        max_open: int = limits.MAX_OPEN_DETECTIONS,
        max_open_per_agent: int = limits.MAX_OPEN_DETECTIONS_PER_AGENT,
        announce_burst: int = limits.ANNOUNCE_BURST,
        announce_per_s: float = limits.ANNOUNCE_PER_S,
    ) -> None:
        self.counters = DetectCounters()
        self._local = LocalNetworks(local)
        self._min_samples = min_samples
        self._quiet_s = quiet_s
        self._sighted_interval_s = sighted_interval_s
        self._table = CaseTable(max_open, max_open_per_agent)
        self._announcer = Announcer(announce_burst, announce_per_s)
        self._rows = RowBudget()
        self._waiting: dict[str, Case] = {}

    def observe(self, match: Match, now: float) -> list[DetectionEvent]:
        """Take one match; usually nothing is to be said."""
        self.counters.matches += 1
        case = self._table.get(local_and_listed(match))
        if case is None:
            return self._open(match, now)
        changes, refused = case.add(match, now)
        if refused:
            self.counters.refused[refused] += 1
        self._table.seen(case)
        if not case.announced:
            return self._announce(case, now)
        if not case.crossed and case.figures.samples >= self._min_samples:
            case.crossed = True
            changes.append("min_samples")
        if changes:
            return [self._event("changed", case, now, *changes)]
        if now - case.told_at >= self._sighted_interval_s:
            return [self._event("sighted", case, now)]
        return []

    def expects(self, match: Match) -> bool:
        """Whether ``observe`` would add the match to sums and have nothing to say before the next sign of life.

        May be asked by any thread at any time; beside a thread that observes, the answer is a moment old.
        """
        case = self._table.get(local_and_listed(match))
        return case is not None and case.crossed and case.expects(match)

    def expire(self, now: float) -> list[DetectionEvent]:
        """Announce what waits, as far as allowed, and close what was not seen for the quiet period.

        Meant for every second or so. Pinned detections stay until they are unpinned.
        """
        events = self._announce_waiting(now)
        self._announcer.forget_idle(now)
        for case in self._table.quiet_since(now - self._quiet_s):
            events += self._close(case, now, "quiet")
        return events

    def delisted(self, lookup: Callable[[str], tuple[Indicator, ...]], now: float) -> list[DetectionEvent]:
        """Ask the new lists about every open detection: close what they no longer name, renew the rest."""
        events: list[DetectionEvent] = []
        for case in self._table.cases():
            indicators = lookup(case.pair[1])
            if not indicators:
                events += self._close(case, now, "delisted")
            elif case.relist(indicators) and case.announced:
                events.append(self._event("changed", case, now, "indicators"))
        return events

    def open_detections(self) -> list[Detection]:
        """Every open detection, the longest unseen first."""
        return [case.snapshot() for case in self._table.cases()]

    def get(self, detection_id: str) -> Detection | None:
        """An open detection by its id."""
        case = self._table.by_id(detection_id)
        return case.snapshot() if case else None

    def find(self, local_ip: str, listed_ip: str) -> Detection | None:
        """The open detection of a pair."""
        case = self._table.get((local_ip, listed_ip))
        return case.snapshot() if case else None

    def id_of(self, local_ip: str, listed_ip: str) -> str | None:
        """The id of a pair's open detection, which costs far less than all of it."""
        case = self._table.get((local_ip, listed_ip))
        return case.id if case else None

    def pin(self, detection_id: str) -> bool:
        """A capture hangs on this detection: neither evict nor expire it. False when it is not open."""
        return self._table.pin(detection_id)

    def unpin(self, detection_id: str) -> None:
        """The capture is gone; unknown ids are no error."""
        self._table.unpin(detection_id)

    def open_by_agent(self) -> dict[str, int]:
        """Open detections charged to each agent, against ``max_open_per_agent``."""
        return self._table.open_by_agent()

    @property
    def observer_rows(self) -> int:
        """Observer rows of all open detections, against ``limits.MAX_OBSERVERS``."""
        return self._rows.rows

    @property
    def waiting(self) -> int:
        """Open detections that are not announced yet."""
        return len(self._waiting)

    def __len__(self) -> int:
        return len(self._table)

    def _open(self, match: Match, now: float) -> list[DetectionEvent]:
        local_ip, listed_ip = pair = local_and_listed(match)
        case = Case(
            match,
            pair,
            self._rows,
            unlisted_is_local=local_ip in self._local,
            listed_is_local=listed_ip in self._local,
            now=now,
        )
        proof = evidence.of(match, case.is_outbound(match))
        victim, refused = self._table.room_for(match.agent, proof)
        if refused:
            self.counters.refused[refused] += 1
            return []
        events: list[DetectionEvent] = []
        if victim is not None:
            self.counters.evicted[victim.evidence] += 1
            events = self._close(victim, now, "evicted")
        case.add(match, now)
        self._table.add(case)
        self.counters.opened += 1
        return events + self._announce(case, now)

    def _announce(self, case: Case, now: float) -> list[DetectionEvent]:
        if not self._announcer.may(case.charged_to, case.evidence, case.samples, now):
            self._waiting[case.id] = case
            return []
        self._waiting.pop(case.id, None)
        case.announced = True
        case.crossed = case.figures.samples >= self._min_samples
        self.counters.announced += 1
        return [self._event("opened", case, now)]

    def _announce_waiting(self, now: float) -> list[DetectionEvent]:
        events: list[DetectionEvent] = []
        exhausted = set()
        for case in list(self._waiting.values()):
            key = (case.charged_to, case.evidence, case.samples > 1)
            if key not in exhausted:
                announced = self._announce(case, now)
                events += announced
                if not announced:
                    exhausted.add(key)
        return events

    def _close(self, case: Case, now: float, why: Literal["quiet", "evicted", "delisted"]) -> list[DetectionEvent]:
        self._table.remove(case)
        case.release()
        self.counters.closed[why] += 1
        if not case.announced:
            del self._waiting[case.id]
            self.counters.unannounced += 1
            return []
        if why == "delisted":
            return [self._event("delisted", case, now)]
        return [self._event("closed", case, now, why)]

    def _event(self, kind: Kind, case: Case, now: float, *why: str) -> DetectionEvent:
        self.counters.events += 1
        case.told_at = now
        return DetectionEvent(kind, case.snapshot(_STATE_AFTER.get(kind, "open")), why)
