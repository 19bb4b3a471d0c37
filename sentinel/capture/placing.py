# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Where mirrors come to stand: placing, queueing, a second one, moving. The planner knows where."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from sentinel.capture import commands, events
from sentinel.capture.budget import Budget
from sentinel.capture.ending import Ender
from sentinel.capture.eviction import Evictor
from sentinel.capture.ledger import NEVER, RETRY_LONGEST_S, Ledger, Sign, Track
from sentinel.capture.planner import Seen, View, candidates, second_vantage, seen_by_switch, sees_both
from sentinel.capture.policy import Policy, Refusal
from sentinel.capture.rules import rule_lines, rule_name
from sentinel.capture.switchbook import ENTRIES_PER_MIRROR, SwitchBook
from sentinel.model import Detection, Mirror, Now, Switch

# Samples elsewhere, and readings of the counter without a rise, before a pair is believed to have moved.
MOVE_SAMPLES = 2
MOVE_POLLS = 2
QUEUE_CHECK_S = 30.0
# The queue of those that wait for bit/s at the ERSPAN destination; no switch has this name.
AT_DESTINATION = ""


class Waiting(NamedTuple):
    """A place in the queue: the most urgent first, of those the one that waits longest."""

    urgency: tuple[int, ...]
    since: float
    capture_id: str


class Placer:
    """Knows who waits for which switch."""

    def __init__(self, policy: Policy, ledger: Ledger, book: SwitchBook, budget: Budget, ender: Ender) -> None:
        self._policy = policy
        self._ledger = ledger
        self._book = book
        self._budget = budget
        self._ender = ender
        self._evictor = Evictor(policy, ledger, book, budget)
        self._queues: dict[str, dict[str, Track]] = {}

    @property
    def lease_s(self) -> int:
        return max(1, round(self._policy.lease_s))

    def view(self, name: str) -> View:
        return View(self._book.room(name), self._book.trouble(name), self._book.unreachable(name))

    def candidates(self, detection: Detection, excluded: set[str]) -> list[str] | Refusal:
        return candidates(detection, self._book.by_agent, self.view, excluded)

    # --- the first place -------------------------------------------------------------------------

    def place(self, track: Track, now: Now) -> None:
        """Install where it is best and there is room, else queue."""
        names = self._names_for(track)
        if isinstance(names, Refusal):
            self._wait(track, names.detail, (), now)
            return
        busy = {m.switch for m in track.capture.mirrors if m.state == "removing"}
        why: str | None = None
        for name in names:
            if name in busy:
                why = why or f"waits until {name} has removed its rule"
                continue
            shortage = self._shortage(track, name)
            if shortage is None:
                self._put(track, name, f"installing on {name}", now)
                return
            why = why or shortage
        self._ledger.count("over_budget")
        makes_room = "; another capture makes room" if self._evict_for(track, names, now) else ""
        self._wait(track, f"{why}{makes_room}", names, now)

    def _names_for(self, track: Track) -> list[str] | Refusal:
        """A restored capture knows only the switch it had."""
        if track.detection is not None:
            return self.candidates(track.detection, track.excluded)
        had = [m.switch for m in track.capture.mirrors if self._book.get(m.switch) and m.switch not in track.excluded]
        return had[-1:] or Refusal("no_switch", "waits to be sampled again")

    def _shortage(self, track: Track, name: str) -> str | None:
        """What the switch, or the destination, has too little of for this mirror; ``None`` where it fits."""
        if rule_name(track.capture.id) in self._book.held(name):
            return None
        if not self._book.known(name):
            return f"{name} has not told yet what it holds"
        if self._book.room(name) < ENTRIES_PER_MIRROR:
            return f"{name} has no room for {ENTRIES_PER_MIRROR} more entries"
        return self._budget.shortage(name, track.rate.bps)

    def _put(self, track: Track, name: str, note: str, now: Now) -> None:
        """Install there; a failed mirror elsewhere is not waited for."""
        for mirror in track.staying():
            if mirror.switch != name and mirror.state == "failed":
                self._ledger.count("replanned")
                self._ender.leave(track, mirror.switch, f"{mirror.switch} failed; {note}", now)
        self._install(track, name, note, now)

    def _install(self, track: Track, name: str, note: str, now: Now) -> None:
        self._unqueue(track)
        if not track.staying():
            track.placed = now.mono
        track.leaving.discard(name)
        track.unsure.discard(name)
        mirror = track.mirror(name)
        if mirror is None or mirror.state in {"planned", "ended"}:
            switch = self._book.get(name)
            if switch is None:
                return
            mirror = self.plan(track, switch)
        self._ledger.mirror(track, name, "installing", attempts=mirror.attempts + 1)
        self._book.hold(name, mirror.rule, track.capture.id, now)
        self._budget.carry(name, track.capture.id, track.rate.bps)
        track.signs[name] = Sign(now.mono)
        if track.capture.state == "active":
            self._ledger.record(track, None, now)
        else:
            self._ledger.state(track, "installing", note, now)
        self._ledger.out.append(commands.Install(name, mirror.rule, mirror.lines, self.lease_s))

    def plan(self, track: Track, switch: Switch) -> Mirror:
        """The exact rule, before anything is asked of the switch."""
        lines = rule_lines(
            track.pair,
            in_interface=self._policy.in_interface,
            erspan_source=switch.erspan_source,
            erspan_destination=self._policy.erspan_destination,
            ttl=self._policy.ttl,
        )
        mirror = Mirror(track.capture.id, switch.name, rule_name(track.capture.id), lines, "planned")
        older = tuple(
            m for m in track.capture.mirrors if m.switch != switch.name and m.state not in {"planned", "ended"}
        )
        track.capture = replace(track.capture, mirrors=(*older, mirror))
        return mirror

    # --- the queue -------------------------------------------------------------------------------

    def _wait(self, track: Track, why: str, names: "list[str] | tuple[()]", now: Now) -> None:
        track.retry_at = now.mono + (QUEUE_CHECK_S if names else RETRY_LONGEST_S)
        self._ledger.wake(track, track.retry_at)
        if any(m.state == "failed" for m in track.staying()):
            # It has a switch, only that one does not answer; the wait is for it.
            self._ledger.settle(track, why, now)
            return
        if track.capture.state == "active":
            self._ledger.note(track, why, now)
            return
        if track.capture.state != "queued":
            self._ledger.state(track, "queued", why, now)
        elif track.capture.note != why:
            self._ledger.note(track, why, now)
        self._enqueue(track, names)

    def _enqueue(self, track: Track, names: Iterable[str]) -> None:
        self._unqueue(track)
        short = self._budget.short_in_all(track.rate.bps) > 0
        track.queued_for = (*names, AT_DESTINATION) if short else tuple(names)
        for name in track.queued_for:
            self._queues.setdefault(name, {})[track.capture.id] = track

    def _unqueue(self, track: Track) -> None:
        for name in track.queued_for:
            self._queues[name].pop(track.capture.id, None)
        track.queued_for = ()

    def freed(self, now: Now) -> None:
        """Give the rooms that came free to those who wait for them, before anybody new can take them.

        What frees a switch frees the destination too, and those who wait for that are the scarcer good's."""
        switches, self._ender.freed = self._ender.freed, set()
        for name in (AT_DESTINATION, *sorted(switches)):
            queue = self._queues.get(name)
            if queue and (name == AT_DESTINATION or self._book.get(name)):
                self._serve(name, queue, now)

    def _serve(self, name: str, queue: dict[str, Track], now: Now) -> None:
        for capture_id in [i for i, t in queue.items() if t.capture.state != "queued" or t.ending]:
            del queue[capture_id]
        waiting = sorted(
            Waiting(tuple(-n for n in track.urgency), track.created, capture_id) for capture_id, track in queue.items()
        )
        for place in waiting:
            track = queue[place.capture_id]
            if name == AT_DESTINATION and self._budget.short_in_all(track.rate.bps) > 0:
                return
            if name != AT_DESTINATION and self._book.room(name) < ENTRIES_PER_MIRROR:
                return
            self.place(track, now)

    def _evict_for(self, track: Track, names: list[str], now: Now) -> bool:
        """End what is less urgent and in the way, at the best switch where that helps."""
        if now.mono < track.evicting_until:
            return True
        for name in names:
            if not self._book.known(name) or self._book.trouble(name) is not None:
                continue
            victims = self._evictor.victims(track, name, now)
            if victims:
                track.evicting_until = now.mono + QUEUE_CHECK_S
                pair = f"{track.capture.local_ip} - {track.capture.listed_ip}"
                for victim in victims:
                    less = victim.urgency.level < track.urgency.level
                    why = "is more urgent" if less else "was not mirrored yet"
                    self._ender.end(victim, "evicted", now, f"evicted for {pair}, which {why}")
                return True
        return False

    # --- answers ---------------------------------------------------------------------------------

    def installed(self, track: Track, switch: str, note: str, now: Now) -> None:
        track.retries.pop(switch, None)
        self._ledger.mirror(track, switch, "active", error="")
        self._ledger.settle(track, note, now)

    def install_failed(self, track: Track, event: events.InstallFailed, now: Now) -> None:
        retry = track.retry(event.switch)
        retry.later(now)
        self._ledger.mirror(track, event.switch, "failed", error=event.detail)
        if not event.permanent:
            self._ledger.settle(track, event.detail, now)
            self._ledger.wake(track, retry.at)
            return
        self._ledger.settle(track, event.detail, now)
        # A refusal after a lost answer does not prove that the earlier attempt left nothing.
        self._ender.leave(track, event.switch, event.detail, now)
        if event.reason != "full":
            track.excluded.add(event.switch)
        if track.staying():
            return
        track.retry_at = now.mono + (QUEUE_CHECK_S if event.reason == "full" else 0.0)
        if event.reason == "full":
            self._ledger.state(track, "queued", event.detail, now)
            self._enqueue(track, (event.switch,))
        self._ledger.wake(track, track.retry_at)

    def retry(self, track: Track, now: Now) -> float:
        """Try again what failed or waits; returns when to come back."""
        for mirror in track.staying():
            if mirror.state == "failed":
                retry = track.retry(mirror.switch)
                if retry.at > now.mono:
                    return retry.at
                # The first mirror may go elsewhere; a second is only of use where it stands.
                if len(track.staying()) == 1:
                    self.place(track, now)
                else:
                    self._install(track, mirror.switch, track.capture.note, now)
                return NEVER
        waits = track.capture.state in {"queued", "failed"} and not track.staying()
        if waits and track.retry_at <= now.mono:
            self.place(track, now)
        return track.retry_at if track.capture.state in {"queued", "failed"} else NEVER

    def silent(self, switch: str, now: Now) -> None:
        """The switch has not answered for a whole lease: its rules are gone, so the captures go where they are seen."""
        for capture_id in list(self._book.held(switch).values()):
            track = self._ledger.tracks[capture_id]
            if track.ending or track.going(switch) or track.detection is None:
                continue
            names = self.candidates(track.detection, {*track.excluded, switch})
            if isinstance(names, Refusal):
                continue
            name = names[0]
            if (
                self._book.trouble(name) is not None
                or track.mirror_live(name)
                or self._shortage(track, name) is not None
            ):
                continue
            self._ledger.count("replanned")
            self._move(track, switch, name, f"{switch} does not answer; moved to {name}", now)

    # --- where the pair is seen ------------------------------------------------------------------

    def seen(self, track: Track, now: Now) -> None:
        """New samples: which switch they came from keeps its mirror, or asks for another."""
        detection = track.detection
        if detection is None:
            return
        fresh = self._fresh(track, detection, now)
        for switch, sign in track.signs.items():
            here = fresh.get(switch, Seen()).samples
            if here > 0:
                sign.at, sign.elsewhere, sign.polls = now.mono, 0, 0
            else:
                sign.elsewhere += sum(seen.samples for seen in fresh.values())
        if len(track.seen) > 1 and track.capture.state == "active":
            self._review_sides(track, now)

    def _fresh(self, track: Track, detection: Detection, now: Now) -> dict[str, Seen]:
        """What each switch saw since the last look; the window for the recent rolls with it."""
        totals = seen_by_switch(detection.observers, self._book.by_agent)
        before, track.seen = track.seen, totals
        if now.mono - track.recent_at >= self._policy.lease_s:
            track.recent_before, track.recent_base, track.recent_at = track.recent_base, totals, now.mono
        return _grown(totals, before)

    def _review_sides(self, track: Track, now: Now) -> None:
        """A second mirror where the first shows one direction only, and none where one is enough."""
        staying = track.staying()
        if any(mirror.state != "active" for mirror in staying):
            return
        recent = _grown(track.seen, track.recent_before)
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
        names = self.candidates(track.detection, track.excluded)
        able = [] if isinstance(names, Refusal) else names
        name = second_vantage(first, recent, able)
        if name is None or track.mirror_live(name) or self._book.trouble(name) is not None:
            return
        track.retry_at = now.mono + QUEUE_CHECK_S
        shortage = self._shortage(track, name)
        if shortage is not None:
            self._ledger.count("second_no_room")
            self._ledger.note(track, f"mirrored by {first}, one direction only: {shortage}", now)
            return
        self._ledger.count("second_placed")
        self._install(track, name, f"a second mirror on {name}", now)

    def counted_nothing(self, track: Track, switch: str, now: Now) -> None:
        """The rule's counter stands still: when the pair is sampled elsewhere meanwhile, it has moved."""
        sign = track.signs.get(switch)
        if sign is None or sign.elsewhere < MOVE_SAMPLES or track.going(switch):
            return
        sign.polls += 1
        if sign.polls < MOVE_POLLS or track.detection is None:
            return
        others = [m.switch for m in track.staying() if m.switch != switch]
        if others:
            if any(m.state != "active" for m in track.staying()):
                return
            self._ledger.count("second_dropped")
            self._ender.leave(track, switch, f"{switch} does not see the pair any more", now)
            return
        names = self.candidates(track.detection, track.excluded)
        recent = _grown(track.seen, track.recent_before)
        able = [] if isinstance(names, Refusal) else [n for n in names if n != switch and n in recent]
        name = next((n for n in able if recent[n].samples and not track.mirror_live(n)), None)
        if name is None or self._shortage(track, name) is not None:
            return
        self._ledger.count("moved")
        self._move(track, switch, name, f"the pair moved from {switch} to {name}", now)

    def _move(self, track: Track, old: str, new: str, note: str, now: Now) -> None:
        self._ender.leave(track, old, note, now)
        if track.capture.state == "active" and not any(m.state == "active" for m in track.staying()):
            self._ledger.state(track, "installing", note, now)
        self._install(track, new, note, now)

    # --- load ------------------------------------------------------------------------------------

    def load(self, track: Track, now: Now) -> bool:
        """The conversation carries more or less than it did; false when that was too much and ended this capture."""
        bps = track.rate.bps
        staying = tuple(m.switch for m in track.capture.mirrors)
        self._budget.carry_everywhere(track.capture.id, staying, bps)
        for switch in staying:
            self._relieve(switch, now)
        return not track.ending

    def _relieve(self, switch: str, now: Now) -> None:
        why = self._budget.over(switch)
        if why is None:
            return
        tracks = [self._ledger.tracks[i] for i in self._budget.heaviest(switch) if i in self._ledger.tracks]
        for track in sorted((t for t in tracks if not t.ending), key=lambda t: (t.urgency.level, -t.rate.bps)):
            self._ender.end(track, "overload", now, f"overload: {why}")
            self._budget.carry_everywhere(track.capture.id, tuple(m.switch for m in track.capture.mirrors), 0)
            if self._budget.over(switch) is None:
                return


def _grown(now: dict[str, Seen], before: dict[str, Seen]) -> dict[str, Seen]:
    """What was added; a detection that began anew counts from nothing."""
    grown = {}
    for switch, seen in now.items():
        old = before.get(switch)
        if old is None or seen.outbound < old.outbound or seen.inbound < old.inbound:
            grown[switch] = seen
        elif seen != old:
            grown[switch] = Seen(seen.outbound - old.outbound, seen.inbound - old.inbound)
    return grown
