# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Detections and answers of switches in, actions out. No I/O, no clock: ``handle(event, now)`` is all there is.

Theory of operation. A capture is one pair; its mirrors are that pair's rule on one switch, or on two where one sees
only one direction. Two clocks run: the capture's (``quiet`` without evidence, ``longest`` in all) and the switch's
lease, renewed in bulk while we live. Evidence is a sample or a rise of the rule's own counter, so a capture never ends
as quiet before the switch was asked once more after ``quiet`` ran out. The switch is made to agree with what is stored
here: what is missing there is installed again, what is ours there but unknown here is removed, what is another's is
left alone.

Every action to a switch is answered by exactly one event, in the order of the actions to that switch.

This file receives events and passes them on: ``policy`` and ``planner`` answer questions, ``placing`` puts mirrors on
switches, ``queue`` holds the captures that wait, ``vantage`` keeps mirrors where ``sightings`` show the pair,
``outcomes`` takes the answers to requests, ``reconcile`` compares, ``ending`` takes away, ``restoring`` takes up an
earlier run, ``ledger`` keeps the captures, ``switchbook`` the switches, ``budget`` the load; ``eviction`` chooses what
ends to make room, ``probing`` the agents that may be switches.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import blake2s
from typing import Any

from sentinel import limits
from sentinel.capture import actions, events
from sentinel.capture.budget import Budget
from sentinel.capture.ending import Ender
from sentinel.capture.ledger import Ledger, NewCaptures, Track
from sentinel.capture.outcomes import Outcomes
from sentinel.capture.placing import Placer
from sentinel.capture.policy import Policy, Protected, Refusal, flood, urgency, wanted
from sentinel.capture.probing import Prober
from sentinel.capture.reconcile import Reconciler
from sentinel.capture.restoring import Restorer
from sentinel.capture.rules import entry_count, is_ours
from sentinel.capture.switchbook import SwitchBook
from sentinel.capture.vantage import Vantage
from sentinel.model import Capture, Detection, Now, Switch, unordered

# A neighbour that is being resolved, a route that comes back: what keeps mirrors from arriving is often mended soon.
LOOK_AGAIN_S = 5.0


class CaptureEngine:
    """The captures of one daemon. Single-threaded; ``counters`` and ``refusals`` are for the screen."""

    def __init__(self, policy: Policy, switches: Iterable[Switch], agents_url_known: Callable[[str], bool]) -> None:
        self.policy = policy
        self.protected = Protected(policy)
        self.book = SwitchBook(policy)
        self.budget = Budget(policy)
        self._ledger = Ledger()
        self.counters = self._ledger.counters
        self.refusals = self._ledger.refusals
        self._ender = Ender(policy, self._ledger, self.book, self.budget)
        self._placer = Placer(policy, self._ledger, self.book, self.budget, self._ender)
        self._vantage = Vantage(policy, self._ledger, self.book, self._placer, self._ender)
        self._restorer = Restorer(policy, self._ledger, self.book, self.budget, self._ender)
        self._reconciler = Reconciler(policy, self._ledger, self.book, self._placer, self._vantage, self._ender)
        self._outcomes = Outcomes(policy, self._ledger, self.book, self._placer, self._vantage, self._ender)
        self._new = NewCaptures(policy.max_new_per_minute, limits.MAX_NEW_CAPTURES_PER_MINUTE)
        self._prober = Prober(self.book, self._ledger, agents_url_known)
        self._serial = 0
        self._look_again = float("-inf")
        for switch in switches:
            self._add_switch(switch)
        self._handlers: dict[type, Callable[[Any, Now], None]] = {
            events.Sighted: self._sighted,
            events.DetectionEnded: self._detection_ended,
            events.StartRequested: self._start_requested,
            events.Approved: self._approved,
            events.StopRequested: self._stop_requested,
            events.Extended: self._extended,
            events.SwitchFound: self._switch_found,
            events.ProbeFailed: self._probe_failed,
            events.Installed: self._outcomes.done,
            events.InstallFailed: self._outcomes.failed,
            events.Removed: self._outcomes.done,
            events.RemoveFailed: self._outcomes.failed,
            events.BulkAnswered: self._outcomes.of_bulk,
            events.Renewed: self._renewed,
            events.Listed: self._listed,
            events.SwitchFailed: self._switch_failed,
            events.TableSpace: self._table_space,
            events.Tick: self._tick,
            events.Reconcile: self._reconcile,
        }

    # --- asked from outside ----------------------------------------------------------------------

    def handle(self, event: events.Event, now: Now) -> list[actions.Action]:
        """One thing that happened; returns what to do about it, in order."""
        self._ledger.out = []
        self._handlers[type(event)](event, now)
        if self._ender.freed:
            self._placer.freed(now)
        return self._ledger.out

    def restore(self, captures: Iterable[Capture], now: Now) -> list[actions.Action]:
        """Take up the live captures of an earlier run, and the holds of those that ended. Nothing is written before a
        switch has said what it has."""
        self._ledger.out = []
        self._restorer.restore(captures, now)
        self._ask_all(now)
        return self._ledger.out

    def live(self) -> list[Capture]:
        """The captures that have not ended, oldest first."""
        return [track.capture for track in self._ledger.tracks.values()]

    def get(self, capture_id: str) -> Capture | None:
        track = self._ledger.tracks.get(capture_id)
        return track.capture if track else None

    def of_pair(self, a: str, b: str) -> Capture | None:
        track = self._ledger.by_pair.get(unordered(a, b))
        return track.capture if track else None

    def room(self, switch: str) -> int:
        """How many more ACL entries the switch may take."""
        return self.book.room(switch)

    def rate_bps(self, capture_id: str) -> int | None:
        """What one mirror of the capture is believed to carry."""
        track = self._ledger.tracks.get(capture_id)
        return track.rate.bps if track else None

    @property
    def next_due(self) -> float:
        """Monotonic seconds at which a ``Tick`` will have something to do."""
        return min(self._ledger.next_due, self.book.next_due)

    # --- detections ------------------------------------------------------------------------------

    def _sighted(self, event: events.Sighted, now: Now) -> None:
        detection = event.detection
        track = self._ledger.by_pair.get(detection.pair)
        if track is not None:
            self._sighted_again(track, detection, now)
            return
        refusal = wanted(detection, self.policy) or self._refusal_of_pair(detection, now)
        if refusal:
            self._refuse(detection, refusal)
            return
        self._create(detection, now, by="policy", approved=self.policy.mode == "automatic")

    def _sighted_again(self, track: Track, detection: Detection, now: Now) -> None:
        met = track.detection is not None and len(track.detection.observers) == len(detection.observers)
        track.detection = detection
        self._reconciler.evidence(track, now)
        if track.ending:
            return
        urgent = urgency(detection, self.policy, person=track.capture.requested_by != "policy")
        more_urgent, track.urgency = urgent > track.urgency, urgent
        track.rate.sampled(detection, now.mono)
        if track.capture.requested_by == "policy" and flood(detection, self.policy):
            self._ender.flood(track, now)
            return
        if not self._placer.load(track, now):
            return
        self._vantage.seen(track, now)
        if not met:
            self._prober.ask_observers(detection, now)
        if track.capture.state == "queued" and (more_urgent or not met):
            self._placer.place(track, now)

    def _detection_ended(self, event: events.DetectionEnded, now: Now) -> None:
        self.refusals.pop(event.detection.id, None)
        self._prober.forget(event.detection)
        track = self._ledger.by_pair.get(event.detection.pair)
        if track and event.delisted and track.capture.requested_by == "policy":
            self._ender.end(track, "delisted", now)
        elif track and track.capture.state == "pending":
            self._ender.end(track, "closed", now)

    def _refusal_of_pair(self, detection: Detection, now: Now) -> Refusal | None:
        refusal = (
            self.protected.refusal(detection.pair)
            or self._ender.holds.refusal(detection.pair, now)
            or flood(detection, self.policy)
        )
        if refusal is None and len(self._ledger.tracks) >= limits.MAX_LIVE_CAPTURES:
            return Refusal("too_many", f"{limits.MAX_LIVE_CAPTURES} captures are live already")
        return refusal

    def _create(self, detection: Detection, now: Now, *, by: str, approved: bool, seconds: float | None = None) -> None:
        self._prober.ask_observers(detection, now)
        names = self._placer.candidates(detection, set())
        if isinstance(names, Refusal):
            self._refuse(detection, names)
            return
        if by == "policy" and not self._new.take(names[0], now):
            text = f"{names[0]}, or the fabric, had all its new captures of this minute"
            self._refuse(detection, Refusal("rate", text))
            return
        self.refusals.pop(detection.id, None)
        track = self._begin(detection, now, by, seconds)
        if approved and self.policy.mode != "dry-run":
            self._placer.place(track, now)
            return
        switch = self.book.get(names[0])
        if switch is not None:
            self._placer.plan(track, switch)
        note = "waits for approval" if self.policy.mode != "dry-run" else "dry run: nothing is installed"
        self._ledger.state(track, "pending", f"{note}; rule for {names[0]}", now)

    def _begin(self, detection: Detection, now: Now, by: str, seconds: float | None) -> Track:
        self._serial += 1
        seed = f"{detection.local_ip} {detection.listed_ip} {now.wall!r} {self._serial}"
        longest = self.policy.longest_s if seconds is None else min(seconds, limits.MAX_EXTENSION_S)
        capture = Capture(
            id="c" + blake2s(seed.encode(), digest_size=6).hexdigest(),
            local_ip=detection.local_ip,
            listed_ip=detection.listed_ip,
            state="wanted",
            reason=_reason(detection),
            requested_by=by,
            created_at=now.wall,
            evidence_at=now.wall,
            ends_at=now.wall + longest,
            indicators=detection.indicators,
        )
        track = Track(capture, detection, now.mono, now.mono + longest, now)
        track.urgency = urgency(detection, self.policy, person=by != "policy")
        track.rate.sampled(detection, now.mono)
        self._ledger.add(track)
        self._ledger.count("created")
        self._ledger.wake(track, self._due(track, now))
        return track

    def _refuse(self, detection: Detection, refusal: Refusal) -> None:
        known = self.refusals.get(detection.id)
        if known is None or known.reason != refusal.reason:
            self._ledger.count_refused(refusal.reason)
        self.refusals[detection.id] = refusal
        self.refusals.move_to_end(detection.id)
        while len(self.refusals) > limits.MAX_REFUSALS_KEPT:
            self.refusals.popitem(last=False)

    # --- people ----------------------------------------------------------------------------------

    def _start_requested(self, event: events.StartRequested, now: Now) -> None:
        detection = event.detection
        pair = detection.pair
        self._ender.holds.free(pair)
        track = self._ledger.by_pair.get(pair)
        if track is not None:
            self._approve(track, event.by, now)
            return
        refusal = self.protected.refusal(pair)
        if refusal:
            self._refuse(detection, refusal)
            return
        self._create(detection, now, by=event.by, approved=True, seconds=event.seconds)

    def _approved(self, event: events.Approved, now: Now) -> None:
        track = self._ledger.tracks.get(event.capture_id)
        if track:
            self._approve(track, event.by, now)

    def _approve(self, track: Track, by: str, now: Now) -> None:
        if track.capture.state == "pending" and self.policy.mode != "dry-run":
            self._ledger.count("approved")
            track.capture = replace(track.capture, reason=f"{track.capture.reason}; approved by {by}")
            track.evidence = now.mono
            self._placer.place(track, now)

    def _stop_requested(self, event: events.StopRequested, now: Now) -> None:
        track = self._ledger.tracks.get(event.capture_id)
        if track:
            self._ender.end(track, "stopped", now, f"stopped by {event.by}")

    def _extended(self, event: events.Extended, now: Now) -> None:
        track = self._ledger.tracks.get(event.capture_id)
        if track and not track.ending:
            seconds = min(event.seconds, limits.MAX_EXTENSION_S)
            track.ends = min(track.ends + seconds, now.mono + limits.MAX_EXTENSION_S)
            self._ledger.note(track, f"extended by {event.by}", now)

    # --- answers of switches ---------------------------------------------------------------------

    def _renewed(self, event: events.Renewed, now: Now) -> None:
        self.book.answered(event.switch)
        self.book.renewed(event.switch, event.rules, now)
        self._reconciler.compare(event.switch, dict(event.rules), now)

    def _listed(self, event: events.Listed, now: Now) -> None:
        self.book.answered(event.switch)
        theirs = [rule for name, rule in event.rules.items() if not (rule.ours and is_ours(name))]
        foreign = sum(entry_count(rule.lines or ()) for rule in theirs)
        self.book.listed(
            event.switch,
            event.ipv6,
            event.max_rules,
            event.unreachable,
            now,
            foreign_entries=foreign,
            tcam_free=event.tcam_free,
        )
        self._reconciler.compare(event.switch, {name: rule for name, rule in event.rules.items() if rule.ours}, now)
        self._ender.freed.add(event.switch)
        self._placer.freed(now)
        if self.book.held(event.switch):
            self.book.renew_now(event.switch, now)
            self._ask(event.switch, now)

    def _switch_failed(self, event: events.SwitchFailed, now: Now) -> None:
        self._ledger.count("switch_failed")
        self._outcomes.switch_failed(event.switch, event.detail, now, question=True)

    def _table_space(self, event: events.TableSpace, now: Now) -> None:
        del now
        switch = self.book.by_agent.get(event.agent)
        if switch is not None:
            self.book.tcam(switch.name, event.free_entries)

    def _switch_found(self, event: events.SwitchFound, now: Now) -> None:
        self._add_switch(event.switch)
        self.book.answered(event.switch.name)
        self._ask(event.switch.name, now)
        for detection in self._prober.found(event.switch.agents):
            track = self._ledger.by_pair.get(detection.pair)
            if track is None:
                self._sighted(events.Sighted(detection), now)
            elif track.capture.state == "queued":
                self._placer.place(track, now)

    def _probe_failed(self, event: events.ProbeFailed, now: Now) -> None:
        self._ledger.count("probe_failed")
        self._prober.failed(event.agent)
        self.book.probed(event.agent, event.detail, now)

    # --- time ------------------------------------------------------------------------------------

    def _tick(self, event: events.Tick, now: Now) -> None:
        del event
        for track in list(self._ledger.due(now)):
            if track.capture.id in self._ledger.tracks:
                self._tick_one(track, now)
        if now.mono >= self._look_again:
            self._look_again = now.mono + LOOK_AGAIN_S
            for switch in self.book.all_unreachable():
                self.book.list_now(switch)
        for switch in self.book.due(now):
            self._ask(switch, now)

    def _tick_one(self, track: Track, now: Now) -> None:
        if not track.ending:
            if now.mono >= track.ends:
                self._ender.end(track, "longest", now)
            elif now.mono - track.evidence >= self.policy.quiet_s:
                self._end_if_quiet(track, now)
        again = self._ender.retry(track, now)
        if not track.ending:
            again = min(again, self._placer.retry(track, now))
        if track.capture.id in self._ledger.tracks:
            # Half a second later at the least: a tick handles everything once.
            self._ledger.wake(track, max(min(again, self._due(track, now)), now.mono + 0.5))

    def _due(self, track: Track, now: Now) -> float:
        """When its own two clocks ask for a look."""
        if track.ending:
            return now.mono + self.policy.lease_s
        return min(track.ends, max(track.evidence + self.policy.quiet_s, now.mono + 1.0))

    def _end_if_quiet(self, track: Track, now: Now) -> None:
        """Quiet needs the word of every switch: the counters are read once more after the last evidence grew old.

        A look that found the rule gone is none: of one that was put back since then nothing was read yet. A rule whose
        request failed may be there all the same.
        """
        since = track.evidence + self.policy.quiet_s
        silent: str | None = None
        for mirror in track.staying():
            polled = self.book.polled(mirror.switch)
            read = polled >= since and polled > track.installed.get(mirror.switch, 0.0)
            if mirror.state == "planned" or (read and mirror.state != "installing"):
                continue
            if self.book.silent_s(mirror.switch, now) <= self.policy.lease_s:
                self.book.renew_now(mirror.switch, now)
                return
            silent = mirror.switch
        why = None if silent is None else f"quiet, and {silent} does not answer: its lease ends the rule"
        self._ender.end(track, "quiet", now, why)

    def _reconcile(self, event: events.Reconcile, now: Now) -> None:
        del event
        self._ask_all(now)

    def _ask_all(self, now: Now) -> None:
        for switch in self.book.names():
            self.book.list_now(switch)
            self._ask(switch, now)

    def _ask(self, switch: str, now: Now) -> None:
        question = self.book.next_question(switch, now)
        if question == "list":
            self._ledger.out.append(actions.List(switch))
        elif question == "renew":
            self._ledger.out.append(actions.Renew(switch, self._placer.lease_s))

    # --- switches -----------------------------------------------------------------------------

    def _add_switch(self, switch: Switch) -> None:
        self.book.add(switch)
        self.protected.add(switch.agents, f"is an agent of {switch.name}")
        self.protected.add((switch.erspan_source,), f"is the ERSPAN source of {switch.name}")


def _reason(detection: Detection) -> str:
    first = detection.indicators[0] if detection.indicators else None
    return f"{detection.evidence}, {first.prefix} in {first.feed} ({first.group})" if first else "asked for by hand"
