# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Mirrors on their switches: placing, waiting for room, trying again, load. The planner knows where."""

from dataclasses import replace

from sentinel.capture import actions, events
from sentinel.capture.budget import Budget
from sentinel.capture.ending import Ender
from sentinel.capture.eviction import Evictor
from sentinel.capture.ledger import NEVER, RETRY_LONGEST_S, Ledger, Track
from sentinel.capture.planner import View, candidates
from sentinel.capture.policy import Policy, Refusal
from sentinel.capture.queue import Queue
from sentinel.capture.rules import rule_lines, rule_name
from sentinel.capture.switchbook import ENTRIES_PER_MIRROR, SwitchBook
from sentinel.model import Detection, Mirror, Now, Switch

QUEUE_CHECK_S = 30.0


class Placer:
    """Puts mirrors where the planner says, or lets their captures wait."""

    def __init__(self, policy: Policy, ledger: Ledger, book: SwitchBook, budget: Budget, ender: Ender) -> None:
        self._policy = policy
        self._ledger = ledger
        self._book = book
        self._budget = budget
        self._ender = ender
        self._evictor = Evictor(policy, ledger, book, budget)
        self._queue = Queue(book, budget)

    @property
    def lease_s(self) -> int:
        return max(1, round(self._policy.lease_s))

    def view(self, name: str) -> View:
        return View(self._book.room(name), self._book.trouble(name), self._book.unreachable(name))

    def candidates(self, detection: Detection, excluded: set[str]) -> list[str] | Refusal:
        return candidates(detection, self._book.by_agent, self.view, excluded)

    # --- places ----------------------------------------------------------------------------------

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
            shortage = self.shortage(track, name)
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

    def shortage(self, track: Track, name: str) -> str | None:
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
        self.install(track, name, note, now)

    def install(self, track: Track, name: str, note: str, now: Now) -> None:
        """Put the rule on this switch, whatever other mirrors there are."""
        self._queue.drop(track)
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
        track.sightings.mirrored(name)
        if track.capture.state == "active":
            self._ledger.record(track, None, now)
        else:
            self._ledger.state(track, "installing", note, now)
        self._ledger.out.append(actions.Install(name, mirror.rule, mirror.lines, self.lease_s))

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

    def move(self, track: Track, old: str, new: str, note: str, now: Now) -> None:
        """Take the mirror from one switch and put it on another."""
        self._ender.leave(track, old, note, now)
        if track.capture.state == "active" and not any(m.state == "active" for m in track.staying()):
            self._ledger.state(track, "installing", note, now)
        self.install(track, new, note, now)

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
        self._queue.put(track, names)

    def freed(self, now: Now) -> None:
        """Give the rooms that came free to the captures that wait for them, before a new one can take them."""
        switches, self._ender.freed = self._ender.freed, set()
        for track in self._queue.next_for(switches):
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
            self._queue.put(track, (event.switch,))
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
                    self.install(track, mirror.switch, track.capture.note, now)
                return NEVER
        waits = track.capture.state in {"queued", "failed"} and not track.staying()
        if waits and track.retry_at <= now.mono:
            self.place(track, now)
        return track.retry_at if track.capture.state in {"queued", "failed"} else NEVER

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
