# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The captures of an earlier run, taken up before any switch has said what it holds. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from sentinel.capture.budget import Budget
from sentinel.capture.ending import Ender
from sentinel.capture.ledger import LIVE_MIRROR_STATES, Ledger, Track
from sentinel.capture.policy import Policy
from sentinel.capture.switchbook import LEASE_MARGIN_S, SwitchBook
from sentinel.model import Capture, Mirror, MirrorState, Now


class Restorer:
    """Makes tracks of stored captures, and holds of ended ones."""

    def __init__(self, policy: Policy, ledger: Ledger, book: SwitchBook, budget: Budget, ender: Ender) -> None:
        self._policy = policy
        self._ledger = ledger
        self._book = book
        self._budget = budget
        self._ender = ender

    def restore(self, captures: Iterable[Capture], now: Now) -> None:
        for capture in captures:
            if capture.state == "ended":
                self._ender.restore_hold(capture, now)
            else:
                self._restore(capture, now)

    def _restore(self, capture: Capture, now: Now) -> None:
        away = now.wall - capture.evidence_at
        since = min(max(away, 0.0), self._policy.quiet_s)
        # Both were stored by one clock; today's may be another, so it can only shorten what was left.
        left = min(max(capture.ends_at - now.wall, 0.0), max(capture.ends_at - capture.evidence_at, 0.0))
        track = Track(capture, None, now.mono - since, now.mono + left, now)
        track.doubtful = away > self._policy.quiet_s + self._policy.lease_s + LEASE_MARGIN_S
        self._ledger.add(track)
        states = {mirror.state for mirror in capture.mirrors}
        for mirror in capture.mirrors:
            if mirror.state in LIVE_MIRROR_STATES:
                self._restore_mirror(track, mirror, states, now)
        self._ledger.wake(track, now.mono)

    def _restore_mirror(self, track: Track, mirror: Mirror, states: set[MirrorState], now: Now) -> None:
        if self._book.get(mirror.switch) is None:
            self._ledger.count("switch_unknown")
            mirrors = tuple(replace(m, state="ended") if m is mirror else m for m in track.capture.mirrors)
            track.capture = replace(track.capture, mirrors=mirrors)
            if not track.staying() and track.ending is None:
                why = f"{mirror.switch} is no longer a switch of ours: its lease ends the rule"
                track.capture = replace(track.capture, ending="switch_gone", ending_note=why)
                self._ledger.count_ended("switch_gone")
            return
        self._book.hold(mirror.switch, mirror.rule, track.capture.id, now)
        self._budget.carry(mirror.switch, track.capture.id, track.rate.bps)
        track.unsure.add(mirror.switch)
        track.sightings.mirrored(mirror.switch)
        if mirror.state == "removing":
            track.leaving.add(mirror.switch)
            self._ledger.mirror(track, mirror.switch, "failed")
        elif mirror.state == "failed" and states & {"active", "installing"}:
            track.leaving.add(mirror.switch)
