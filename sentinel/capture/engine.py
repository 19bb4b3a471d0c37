# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Detections and answers of switches in, commands out. No I/O, no clock: ``handle(event, now)`` is all there is.

Theory of operation. A capture is one pair; its mirror is that pair's rule on one switch. Two clocks run: the capture's
(``quiet`` without evidence, ``longest`` in all) and the switch's lease, renewed in bulk while we live. Evidence is a
sample or a rise of the rule's own counter, so a capture never ends as quiet before the switch was asked once more
after ``quiet`` ran out. The switch is made to agree with what is stored here: what is missing there is installed
again, what is ours there but unknown here is removed, what is another's is not looked at.

Every command to a switch is answered by exactly one event, in the order of the commands to that switch.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import blake2s
from typing import Any

from sentinel import limits
from sentinel.capture import commands as do
from sentinel.capture import events as it
from sentinel.capture.lifecycle import check_capture, check_mirror
from sentinel.capture.policy import Policy, Protected, Refusal, View, choose, pair_of, priority, wanted
from sentinel.capture.rules import is_ours, rule_lines, rule_name
from sentinel.capture.switchbook import SwitchBook
from sentinel.model import Capture, CaptureState, Detection, Mirror, MirrorState, Switch

RETRY_FIRST_S = 1.0
RETRY_LONGEST_S = 60.0
ENTRIES_PER_MIRROR = 2
LIVE_MIRROR_STATES = ("installing", "active", "removing", "failed")


class _Track:
    """What the engine remembers of a live capture beside its stored value."""

    __slots__ = ("attempts", "capture", "detection", "ends", "evidence", "excluded", "recorded", "retry_at")

    def __init__(self, capture: Capture, detection: Detection | None, evidence: float, ends: float) -> None:
        self.capture = capture
        self.detection = detection
        self.evidence = evidence
        self.ends = ends
        self.recorded = evidence
        self.retry_at = 0.0
        self.attempts = 0
        self.excluded: set[str] = set()

    @property
    def ending(self) -> str:
        return self.capture.ending

    @property
    def mirror(self) -> Mirror | None:
        return self.capture.mirrors[-1] if self.capture.mirrors else None


class CaptureEngine:
    """The captures of one daemon. Single-threaded; ``counters`` and ``refusals`` are for the screen."""

    def __init__(self, policy: Policy, switches: Iterable[Switch], agents_url_known: Callable[[str], bool]) -> None:
        self.policy = policy
        self.counters: dict[str, int] = {}
        self.refusals: OrderedDict[str, Refusal] = OrderedDict()
        self.protected = Protected(policy)
        self.book = SwitchBook(policy)
        self._probeable = agents_url_known
        self._tracks: dict[str, _Track] = {}
        self._by_pair: dict[tuple[str, str], _Track] = {}
        self._held: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()
        self._created: dict[str, deque[float]] = {}
        self._unsure: set[tuple[str, str]] = set()
        self._serial = 0
        self._out: list[do.Command] = []
        for switch in switches:
            self._add_switch(switch)
        self._handlers: dict[type, Callable[[Any, it.Now], None]] = {
            it.Sighted: self._sighted,
            it.DetectionEnded: self._detection_ended,
            it.StartRequested: self._start_requested,
            it.Approved: self._approved,
            it.StopRequested: self._stop_requested,
            it.Extended: self._extended,
            it.SwitchFound: self._switch_found,
            it.ProbeFailed: self._probe_failed,
            it.Installed: self._installed,
            it.InstallFailed: self._install_failed,
            it.Removed: self._removed,
            it.RemoveFailed: self._remove_failed,
            it.Renewed: self._renewed,
            it.Listed: self._listed,
            it.SwitchFailed: self._switch_failed,
            it.Tick: self._tick,
            it.Reconcile: self._reconcile,
        }

    # --- asked from outside ----------------------------------------------------------------------

    def handle(self, event: it.Event, now: it.Now) -> list[do.Command]:
        """One thing that happened; returns what to do about it, in order."""
        self._out = []
        self._handlers[type(event)](event, now)
        return self._out

    def restore(self, captures: Iterable[Capture], now: it.Now) -> list[do.Command]:
        """Take up the live captures of an earlier run, and the holds of those that ended. Nothing is written before a
        switch has said what it has."""
        self._out = []
        for capture in captures:
            if capture.state == "ended":
                self._restore_hold(capture, now)
                continue
            since = min(max(now.wall - capture.evidence_at, 0.0), self.policy.quiet_s)
            # Both were stored by one clock; today's may be another, so it can only shorten what was left.
            left = min(max(capture.ends_at - now.wall, 0.0), max(capture.ends_at - capture.evidence_at, 0.0))
            track = _Track(capture, None, now.mono - since, now.mono + left)
            self._tracks[capture.id] = track
            self._by_pair[_pair(capture)] = track
            for mirror in capture.mirrors:
                if mirror.state in LIVE_MIRROR_STATES:
                    self._restore_mirror(track, mirror)
        self._ask_all(now)
        return self._out

    def live(self) -> list[Capture]:
        """The captures that have not ended, oldest first."""
        return [track.capture for track in self._tracks.values()]

    def get(self, capture_id: str) -> Capture | None:
        track = self._tracks.get(capture_id)
        return track.capture if track else None

    def of_pair(self, a: str, b: str) -> Capture | None:
        track = self._by_pair.get((min(a, b), max(a, b)))
        return track.capture if track else None

    def ends_in_s(self, capture_id: str, now: it.Now) -> float | None:
        """Seconds until the capture ends if nothing more is seen of the pair."""
        track = self._tracks.get(capture_id)
        if track is None:
            return None
        return max(0.0, min(track.ends, track.evidence + self.policy.quiet_s) - now.mono)

    def room(self, switch: str) -> int:
        """How many more ACL entries the switch may take."""
        return self.book.max_rules(switch) - self._entries(switch)

    # --- detections and people -------------------------------------------------------------------

    def _sighted(self, event: it.Sighted, now: it.Now) -> None:
        detection = event.detection
        track = self._by_pair.get(pair_of(detection))
        if track is not None:
            track.detection = detection
            self._evidence(track, now)
            return
        refusal = wanted(detection, self.policy) or self._refusal_of_pair(detection, now)
        if refusal:
            self._refuse(detection, refusal)
            return
        self._create(detection, now, by="policy", approved=self.policy.mode == "automatic")

    def _start_requested(self, event: it.StartRequested, now: it.Now) -> None:
        detection = event.detection
        pair = pair_of(detection)
        self._held.pop(pair, None)
        if pair in self._by_pair:
            self._approve(self._by_pair[pair], event.by, now)
            return
        refusal = self.protected.refusal(pair)
        if refusal:
            self._refuse(detection, refusal)
            return
        self._create(detection, now, by=event.by, approved=True, seconds=event.seconds)

    def _refusal_of_pair(self, detection: Detection, now: it.Now) -> Refusal | None:
        pair = pair_of(detection)
        refusal = self.protected.refusal(pair)
        if refusal:
            return refusal
        until, why = self._held.get(pair, (0.0, ""))
        if until > now.mono:
            return Refusal("held", f"{why}; not captured again for {_minutes(until - now.mono)}")
        self._held.pop(pair, None)
        if len(self._tracks) >= limits.MAX_LIVE_CAPTURES:
            return Refusal("too_many", f"{limits.MAX_LIVE_CAPTURES} captures are live already")
        return None

    def _create(
        self, detection: Detection, now: it.Now, *, by: str, approved: bool, seconds: float | None = None
    ) -> None:
        switch = self._choose(detection, ())
        if isinstance(switch, Refusal):
            self._probe_observers(detection, now)
            self._refuse(detection, switch)
            return
        if by == "policy" and not self._allowance(switch, now):
            text = f"{switch.name}, or the fabric, had all its new captures of this minute"
            self._refuse(detection, Refusal("rate", text))
            return
        self.refusals.pop(detection.id, None)
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
        track = _Track(capture, detection, now.mono, now.mono + longest)
        self._tracks[capture.id] = track
        self._by_pair[pair_of(detection)] = track
        self._count("created")
        if approved and self.policy.mode != "dry-run":
            self._place(track, now)
            return
        self._plan(track, switch)
        note = "waits for approval" if self.policy.mode != "dry-run" else "dry run: nothing is installed"
        self._state(track, "pending", f"{note}; rule for {switch.name}", now)

    def _allowance(self, switch: Switch, now: it.Now) -> bool:
        """At most so many new captures a minute, per switch and in all."""
        recent = [self._created.setdefault(name, deque()) for name in (switch.name, "")]
        for times in recent:
            while times and times[0] <= now.mono - 60.0:
                times.popleft()
        if len(recent[0]) >= self.policy.max_new_per_minute or len(recent[1]) >= limits.MAX_NEW_CAPTURES_PER_MINUTE:
            return False
        for times in recent:
            times.append(now.mono)
        return True

    def _approved(self, event: it.Approved, now: it.Now) -> None:
        track = self._tracks.get(event.capture_id)
        if track:
            self._approve(track, event.by, now)

    def _approve(self, track: _Track, by: str, now: it.Now) -> None:
        if track.capture.state == "pending" and self.policy.mode != "dry-run":
            self._count("approved")
            track.capture = replace(track.capture, reason=f"{track.capture.reason}; approved by {by}")
            track.evidence = now.mono
            self._place(track, now)

    def _stop_requested(self, event: it.StopRequested, now: it.Now) -> None:
        track = self._tracks.get(event.capture_id)
        if track:
            self._end(track, f"stopped by {event.by}", now, hold=True)

    def _extended(self, event: it.Extended, now: it.Now) -> None:
        track = self._tracks.get(event.capture_id)
        if track and not track.ending:
            seconds = min(event.seconds, limits.MAX_EXTENSION_S)
            track.ends = min(track.ends + seconds, now.mono + limits.MAX_EXTENSION_S)
            track.capture = replace(track.capture, note=f"extended by {event.by}")
            self._record(track, None, now)

    def _detection_ended(self, event: it.DetectionEnded, now: it.Now) -> None:
        self.refusals.pop(event.detection.id, None)
        track = self._by_pair.get(pair_of(event.detection))
        if track and event.delisted and track.capture.requested_by == "policy":
            self._end(track, "delisted", now)
        elif track and track.capture.state == "pending":
            self._end(track, "the detection closed", now)

    # --- placing ---------------------------------------------------------------------------------

    def _choose(self, detection: Detection, excluded: Iterable[str]) -> Switch | Refusal:
        views = {name: self._view(name) for name in self.book.names()}
        return choose(detection, self.book.by_agent, views, set(excluded))

    def _view(self, name: str) -> View:
        return View(self.room(name), self.book.trouble(name), self.book.unreachable(name))

    def _place(self, track: _Track, now: it.Now) -> None:
        """Install where there is room, else queue. A restored capture knows only the switch it had."""
        if track.detection is None:
            mirror = track.mirror
            known = self.book.get(mirror.switch) if mirror else None
            switch: Switch | Refusal = known or Refusal("no_switch", "waits to be sampled again")
        else:
            switch = self._choose(track.detection, track.excluded)
        if isinstance(switch, Refusal):
            if track.capture.state == "failed":
                track.retry_at = now.mono + RETRY_LONGEST_S
                track.capture = replace(track.capture, note=switch.detail)
            else:
                self._queue(track, switch.detail, now)
            return
        if any(m.switch == switch.name and m.state == "removing" for m in track.capture.mirrors):
            track.retry_at = now.mono + RETRY_FIRST_S
            return
        if self._needs_room(track, switch) and self.room(switch.name) < ENTRIES_PER_MIRROR:
            self._count("over_budget")
            self._queue(track, f"{switch.name} has no room for {ENTRIES_PER_MIRROR} more entries", now)
            return
        self._install(track, switch, now)

    def _needs_room(self, track: _Track, switch: Switch) -> bool:
        return rule_name(track.capture.id) not in self.book.held(switch.name)

    def _queue(self, track: _Track, why: str, now: it.Now) -> None:
        track.retry_at = now.mono + RETRY_FIRST_S
        if track.capture.state != "queued":
            self._state(track, "queued", why, now)
        else:
            track.capture = replace(track.capture, note=why)

    def _plan(self, track: _Track, switch: Switch) -> Mirror:
        lines = rule_lines(
            _pair(track.capture),
            in_interface=self.policy.in_interface,
            erspan_source=switch.erspan_source,
            erspan_destination=self.policy.erspan_destination,
            ttl=self.policy.ttl,
        )
        mirror = Mirror(track.capture.id, switch.name, rule_name(track.capture.id), lines, "planned")
        older = tuple(m for m in track.capture.mirrors if m.state in LIVE_MIRROR_STATES and m.switch != switch.name)
        track.capture = replace(track.capture, mirrors=(*older, mirror))
        return mirror

    def _install(self, track: _Track, switch: Switch, now: it.Now) -> None:
        mirror = track.mirror
        if mirror is None or mirror.switch != switch.name or mirror.state in {"planned", "ended"}:
            mirror = self._plan(track, switch)
        self._mirror(track, switch.name, "installing", attempts=mirror.attempts + 1)
        self.book.hold(switch.name, mirror.rule, track.capture.id)
        if track.capture.state != "installing":
            self._state(track, "installing", f"installing on {switch.name}", now)
        self._out.append(do.Install(switch.name, mirror.rule, mirror.lines, self._lease()))

    def _lease(self) -> int:
        return max(1, round(self.policy.lease_s))

    # --- answers of switches ---------------------------------------------------------------------

    def _installed(self, event: it.Installed, now: it.Now) -> None:
        self.book.answered(event.switch)
        self.book.leased(event.switch, now)
        track = self._of_rule(event.switch, event.rule)
        if track is None:
            self._out.append(do.Remove(event.switch, event.rule))
            return
        self._count("installed" if event.changed else "adopted")
        if track.ending:
            return
        track.attempts = 0
        self._mirror(track, event.switch, "active", error="")
        self._state(track, "active", f"mirrored by {event.switch}", now)

    def _install_failed(self, event: it.InstallFailed, now: it.Now) -> None:
        self._count("install_failed")
        track = self._of_rule(event.switch, event.rule)
        if track is None or track.ending:
            return
        track.attempts += 1
        track.retry_at = now.mono + _backoff_s(track.attempts)
        self._mirror(track, event.switch, "failed", error=event.detail)
        if not event.permanent:
            if event.reason != "store":
                self.book.failed(event.switch, event.detail, now)
            self._state(track, "failed", event.detail, now)
            return
        # A refusal after a lost answer does not prove that the earlier attempt left nothing.
        self._mirror(track, event.switch, "removing")
        if event.reason == "full":
            self._state(track, "failed", event.detail, now)
            self._state(track, "queued", event.detail, now)
            track.retry_at = now.mono + RETRY_LONGEST_S / 2
        else:
            track.excluded.add(event.switch)
            track.retry_at = now.mono
            self._state(track, "failed", event.detail, now)
        self._out.append(do.Remove(event.switch, event.rule))

    def _removed(self, event: it.Removed, now: it.Now) -> None:
        self.book.answered(event.switch)
        self._count("removed")
        track = self._of_rule(event.switch, event.rule)
        self.book.release(event.switch, event.rule)
        self._unsure.discard((event.switch, event.rule))
        if track is None:
            return
        self._mirror(track, event.switch, "ended")
        self._finish_if_done(track, now)

    def _remove_failed(self, event: it.RemoveFailed, now: it.Now) -> None:
        self._count("remove_failed")
        self.book.failed(event.switch, event.detail, now)
        track = self._of_rule(event.switch, event.rule)
        if track is None:
            return
        track.attempts += 1
        track.retry_at = now.mono + _backoff_s(track.attempts)
        self._mirror(track, event.switch, "failed", error=event.detail)
        if track.ending:
            self._state(track, "failed", f"{track.ending}; not removed yet: {event.detail}", now)

    def _renewed(self, event: it.Renewed, now: it.Now) -> None:
        self.book.answered(event.switch)
        self.book.renewed(event.switch, now)
        self._compare(event.switch, dict(event.rules), now)

    def _listed(self, event: it.Listed, now: it.Now) -> None:
        self.book.answered(event.switch)
        self.book.listed(event.switch, event.ipv6, event.max_rules, event.unreachable, now)
        self._compare(event.switch, {name: rule for name, rule in event.rules.items() if rule.ours}, now)
        if self.book.held(event.switch):
            self.book.renew_now(event.switch, now)
            self._ask(event.switch, now)

    def _compare(self, switch: str, found: dict[str, it.RuleOnSwitch], now: it.Now) -> None:
        """Make the switch agree: restore what is missing or altered, adopt what is right, remove our orphans."""
        for rule, capture_id in list(self.book.held(switch).items()):
            track = self._tracks[capture_id]
            mirror = next(m for m in track.capture.mirrors if m.switch == switch)
            self._compare_one(track, mirror, found.pop(rule, None), now)
        for rule in found:
            if is_ours(rule):
                self._count("orphans_removed")
                self._out.append(do.Remove(switch, rule))

    def _compare_one(self, track: _Track, mirror: Mirror, there: it.RuleOnSwitch | None, now: it.Now) -> None:
        place = (mirror.switch, mirror.rule)
        unsure = place in self._unsure
        self._unsure.discard(place)
        right = there is not None and there.lines in {None, mirror.lines}
        if mirror.state == "installing" and not unsure:
            return
        if there is not None and right:
            self._counted(track, mirror, there, now)
        if mirror.state in {"removing", "failed"}:
            if mirror.state == "failed":
                track.retry_at = now.mono
            return
        if right:
            if mirror.state == "installing":
                self._mirror(track, mirror.switch, "active", error="")
                self._state(track, "active", f"adopted on {mirror.switch}", now)
                self._count("adopted")
            return
        self._count("drift_restored")
        if mirror.state == "active":
            self._mirror(track, mirror.switch, "installing")
            self._state(track, "installing", f"the rule was gone from {mirror.switch}; restoring it", now)
        self._out.append(do.Install(mirror.switch, mirror.rule, mirror.lines, self._lease()))

    def _counted(self, track: _Track, mirror: Mirror, there: it.RuleOnSwitch, now: it.Now) -> None:
        """A counter that rose is evidence; one that fell was reset there, and what it shows since then is new."""
        if there.packets is None or there.packets == mirror.packets:
            return
        rose = there.packets > mirror.packets or there.packets > 0
        self._mirror(track, mirror.switch, mirror.state, packets=there.packets, bytes=there.bytes or 0)
        if rose and not track.ending:
            self._evidence(track, now)

    def _switch_failed(self, event: it.SwitchFailed, now: it.Now) -> None:
        self._count("switch_failed")
        self.book.failed(event.switch, event.detail, now)

    def _switch_found(self, event: it.SwitchFound, now: it.Now) -> None:
        self._add_switch(event.switch)
        self.book.answered(event.switch.name)
        self._ask(event.switch.name, now)

    def _probe_failed(self, event: it.ProbeFailed, now: it.Now) -> None:
        self._count("probe_failed")
        self.book.probed(event.agent, event.detail, now)

    def _probe_observers(self, detection: Detection, now: it.Now) -> None:
        for observer in detection.observers:
            agent = observer.agent
            known = agent in self.book.by_agent
            if not known and observer.sender_is_agent and self._probeable(agent) and self.book.may_probe(agent, now):
                self._count("probed")
                self._out.append(do.Probe(agent))

    # --- time ------------------------------------------------------------------------------------

    def _tick(self, event: it.Tick, now: it.Now) -> None:
        del event
        for track in list(self._tracks.values()):
            self._tick_one(track, now)
        waiting = [t for t in self._tracks.values() if t.capture.state == "queued" and t.retry_at <= now.mono]
        for track in sorted(
            waiting, key=lambda t: (-priority(t.detection) if t.detection else 0, t.capture.created_at)
        ):
            self._place(track, now)
        for switch in self.book.names():
            self._ask(switch, now)

    def _tick_one(self, track: _Track, now: it.Now) -> None:
        if track.ending:
            self._retry_removal(track, now)
        elif now.mono >= track.ends:
            self._end(track, "longest reached", now, hold=True)
        elif now.mono - track.evidence >= self.policy.quiet_s:
            self._end_if_quiet(track, now)
        elif track.capture.state == "failed" and track.retry_at <= now.mono:
            self._place(track, now)

    def _end_if_quiet(self, track: _Track, now: it.Now) -> None:
        """Quiet needs the switch's word: its counter is read once more after the last evidence grew old."""
        mirror = track.mirror
        if mirror is None or mirror.state != "active":
            self._end(track, "quiet", now)
            return
        asked_since = self.book.polled(mirror.switch) >= track.evidence + self.policy.quiet_s
        if asked_since:
            self._end(track, "quiet", now)
        elif self.book.silent_s(mirror.switch, now) > self.policy.lease_s:
            self._end(track, f"quiet, and {mirror.switch} does not answer: its lease ends the rule", now)
        else:
            self.book.renew_now(mirror.switch, now)

    def _retry_removal(self, track: _Track, now: it.Now) -> None:
        if track.retry_at > now.mono:
            return
        removals: list[do.Command] = []
        for mirror in track.capture.mirrors:
            if mirror.state != "failed":
                continue
            if self.book.lease_surely_over(mirror.switch, now):
                self._count("ended_by_lease")
                self.book.release(mirror.switch, mirror.rule)
                self._mirror(track, mirror.switch, "ended", error="ended by its lease")
            else:
                self._mirror(track, mirror.switch, "removing")
                removals.append(do.Remove(mirror.switch, mirror.rule))
        if not self._finish_if_done(track, now) and track.capture.state == "failed":
            self._state(track, "removing", track.ending, now)
        self._out += removals

    def _reconcile(self, event: it.Reconcile, now: it.Now) -> None:
        del event
        self._ask_all(now)

    def _ask_all(self, now: it.Now) -> None:
        for switch in self.book.names():
            self.book.list_now(switch)
            self._ask(switch, now)

    def _ask(self, switch: str, now: it.Now) -> None:
        question = self.book.next_question(switch, now)
        if question == "list":
            self._out.append(do.List(switch))
        elif question == "renew":
            self._out.append(do.Renew(switch, self._lease()))

    # --- ending ----------------------------------------------------------------------------------

    def _end(self, track: _Track, why: str, now: it.Now, *, hold: bool = False) -> None:
        if track.ending:
            return
        track.capture = replace(track.capture, ending=why)
        track.attempts = 0
        self._count("ended_" + why.split(" ", maxsplit=1)[0].rstrip(","))
        if hold:
            self._held[_pair(track.capture)] = (now.mono + self.policy.longest_s, why)
            _trim(self._held, limits.MAX_HELD_PAIRS)
        removals: list[do.Command] = []
        for mirror in track.capture.mirrors:
            if mirror.state in {"installing", "active", "failed"}:
                self._mirror(track, mirror.switch, "removing")
                removals.append(do.Remove(mirror.switch, mirror.rule))
            elif mirror.state == "planned":
                self._mirror(track, mirror.switch, "ended")
        if not self._finish_if_done(track, now) and track.capture.state != "queued":
            self._state(track, "removing", why, now)
        self._out += removals

    def _finish_if_done(self, track: _Track, now: it.Now) -> bool:
        if not track.ending or any(m.state in LIVE_MIRROR_STATES for m in track.capture.mirrors):
            return False
        del self._tracks[track.capture.id]
        self._by_pair.pop(_pair(track.capture), None)
        if track.capture.state in {"installing", "active"}:
            self._state(track, "removing", track.ending, now)
        track.capture = replace(track.capture, ended_at=now.wall)
        self._state(track, "ended", track.ending, now)
        return True

    # --- bookkeeping -----------------------------------------------------------------------------

    def _add_switch(self, switch: Switch) -> None:
        self.book.add(switch)
        self.protected.add(switch.agents, f"is an agent of {switch.name}")
        self.protected.add((switch.erspan_source,), f"is the ERSPAN source of {switch.name}")

    def _restore_mirror(self, track: _Track, mirror: Mirror) -> None:
        if self.book.get(mirror.switch) is None:
            self._count("switch_unknown")
            mirrors = tuple(replace(m, state="ended") if m is mirror else m for m in track.capture.mirrors)
            why = track.ending or f"{mirror.switch} is no longer a switch of ours: its lease ends the rule"
            track.capture = replace(track.capture, mirrors=mirrors, ending=why)
            return
        self.book.hold(mirror.switch, mirror.rule, track.capture.id)
        self._unsure.add((mirror.switch, mirror.rule))
        if mirror.state == "removing":
            self._mirror(track, mirror.switch, "failed")

    def _restore_hold(self, capture: Capture, now: it.Now) -> None:
        left = self.policy.longest_s - max(0.0, now.wall - (capture.ended_at or 0.0))
        if left > 0 and capture.note.startswith(("stopped", "longest")):
            self._held[_pair(capture)] = (now.mono + left, capture.note)
            _trim(self._held, limits.MAX_HELD_PAIRS)

    def _of_rule(self, switch: str, rule: str) -> _Track | None:
        capture_id = self.book.held(switch).get(rule)
        return self._tracks.get(capture_id) if capture_id else None

    def _entries(self, switch: str) -> int:
        return ENTRIES_PER_MIRROR * len(self.book.held(switch))

    def _evidence(self, track: _Track, now: it.Now) -> None:
        track.evidence = now.mono
        # The store needs it only so well that a restart does not end a talking pair.
        if now.mono - track.recorded >= max(1.0, self.policy.quiet_s / 10):
            self._record(track, None, now)

    def _mirror(self, track: _Track, switch: str, state: MirrorState, **changes: Any) -> None:
        mirrors = list(track.capture.mirrors)
        at = next(i for i, m in enumerate(mirrors) if m.switch == switch)
        if mirrors[at].state != state:
            check_mirror(mirrors[at].state, state)
        mirrors[at] = replace(mirrors[at], state=state, **changes)
        track.capture = replace(track.capture, mirrors=tuple(mirrors))

    def _state(self, track: _Track, state: CaptureState, note: str, now: it.Now) -> None:
        old = track.capture.state
        check_capture(old, state)
        self._count(f"edge_{old}_{state}")
        track.capture = replace(track.capture, state=state, note=note)
        self._record(track, old, now)

    def _record(self, track: _Track, previous: CaptureState | None, now: it.Now) -> None:
        track.recorded = now.mono
        evidence_at = now.wall - (now.mono - track.evidence)
        ends_at = now.wall + (track.ends - now.mono)
        track.capture = replace(track.capture, evidence_at=evidence_at, ends_at=ends_at)
        self._out.append(do.Record(track.capture, previous))

    def _refuse(self, detection: Detection, refusal: Refusal) -> None:
        known = self.refusals.get(detection.id)
        if known is None or known.reason != refusal.reason:
            self._count("refused_" + refusal.reason)
        self.refusals[detection.id] = refusal
        self.refusals.move_to_end(detection.id)
        _trim(self.refusals, limits.MAX_REFUSALS_KEPT)

    def _count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1


def _pair(capture: Capture) -> tuple[str, str]:
    return min(capture.local_ip, capture.listed_ip), max(capture.local_ip, capture.listed_ip)


def _reason(detection: Detection) -> str:
    first = detection.indicators[0] if detection.indicators else None
    return f"{detection.evidence}, {first.prefix} in {first.feed} ({first.group})" if first else "asked for by hand"


def _backoff_s(attempts: int) -> float:
    return float(min(RETRY_FIRST_S * 2 ** min(attempts - 1, 10), RETRY_LONGEST_S))


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _trim(kept: "OrderedDict[Any, Any]", most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
