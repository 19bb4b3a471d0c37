# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Whether mirrors stand where their pairs are seen: a second one, none too many, and moving after a pair. Pure."""

from sentinel.capture.ending import Ender
from sentinel.capture.ledger import Ledger, Track
from sentinel.capture.placing import QUEUE_CHECK_S, Placer
from sentinel.capture.planner import Seen, second_vantage, seen_by_switch, sees_both
from sentinel.capture.policy import Policy, Refusal
from sentinel.capture.switchbook import SwitchBook
from sentinel.model import Now


class Vantage:
    """Compares mirrors with sightings; ``placer`` and ``ender`` do what follows."""

    def __init__(self, policy: Policy, ledger: Ledger, book: SwitchBook, placer: Placer, ender: Ender) -> None:
        self._policy = policy
        self._ledger = ledger
        self._book = book
        self._placer = placer
        self._ender = ender

    def seen(self, track: Track, now: Now) -> None:
        """New samples: which switch they came from keeps its mirror, or asks for another."""
        detection = track.detection
        if detection is None:
            return
        totals = seen_by_switch(detection.observers, self._book.by_agent)
        track.sightings.sampled(totals, self._policy.lease_s, now)
        if track.sightings.at_several and track.capture.state == "active":
            self._review_sides(track, now)

    def _review_sides(self, track: Track, now: Now) -> None:
        """A second mirror where the first shows one direction only, and none where one is enough."""
        staying = track.staying()
        if any(mirror.state != "active" for mirror in staying):
            return
        recent = track.sightings.recent()
        if len(staying) > 1:
            enough = next((m.switch for m in staying if sees_both(m.switch, recent)), None)
            if enough is not None:
                spare = next(m.switch for m in staying if m.switch != enough)
                self._ledger.count("second_dropped")
                self._ender.leave(track, spare, f"mirrored by {enough}, which sees both directions", now)
            return
        self._second(track, staying[0].switch, recent, now)

    def _second(self, track: Track, first: str, recent: dict[str, Seen], now: Now) -> None:
        if track.detection is None or now.mono < track.retry_at:
            return
        names = self._placer.candidates(track.detection, track.excluded)
        able = [] if isinstance(names, Refusal) else names
        name = second_vantage(first, recent, able)
        if name is None or track.mirror_live(name) or self._book.trouble(name) is not None:
            return
        track.retry_at = now.mono + QUEUE_CHECK_S
        shortage = self._placer.shortage(track, name)
        if shortage is not None:
            self._ledger.count("second_no_room")
            self._ledger.note(track, f"mirrored by {first}, one direction only: {shortage}", now)
            return
        self._ledger.count("second_placed")
        self._placer.install(track, name, f"a second mirror on {name}", now)

    def counted_nothing(self, track: Track, switch: str, now: Now) -> None:
        """The rule's counter stands still: when the pair is sampled elsewhere meanwhile, it has moved."""
        if track.going(switch) or not track.sightings.stood_still(switch) or track.detection is None:
            return
        others = [m.switch for m in track.staying() if m.switch != switch]
        if others:
            if any(m.state != "active" for m in track.staying()):
                return
            self._ledger.count("second_dropped")
            self._ender.leave(track, switch, f"{switch} does not see the pair any more", now)
            return
        names = self._placer.candidates(track.detection, track.excluded)
        recent = track.sightings.recent()
        able = [] if isinstance(names, Refusal) else [n for n in names if n != switch and n in recent]
        name = next((n for n in able if recent[n].samples and not track.mirror_live(n)), None)
        if name is None or self._placer.shortage(track, name) is not None:
            return
        self._ledger.count("moved")
        self._placer.move(track, switch, name, f"the pair moved from {switch} to {name}", now)

    def silent(self, switch: str, now: Now) -> None:
        """The switch has not answered for a whole lease: its rules are gone, so the captures go where they are seen."""
        for capture_id in list(self._book.held(switch).values()):
            track = self._ledger.tracks[capture_id]
            if track.ending or track.going(switch) or track.detection is None:
                continue
            names = self._placer.candidates(track.detection, {*track.excluded, switch})
            if isinstance(names, Refusal):
                continue
            name = names[0]
            if (
                self._book.trouble(name) is not None
                or track.mirror_live(name)
                or self._placer.shortage(track, name) is not None
            ):
                continue
            self._ledger.count("replanned")
            self._placer.move(track, switch, name, f"{switch} does not answer; moved to {name}", now)
