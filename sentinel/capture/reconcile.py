# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The switch is made to agree with what is stored: adopt what is right, restore what is missing, remove our orphans.

What differs goes into one request that names each change. It does not replace the whole of our rules: so it cannot
touch what a person installed with our token, nor undo a request that is under way.

Other people's rules are not looked at: neither another owner's, nor names that are not of our making.
"""

from sentinel import limits
from sentinel.capture import actions, events
from sentinel.capture.ending import Ender
from sentinel.capture.ledger import Ledger, Track
from sentinel.capture.placing import Placer
from sentinel.capture.policy import Policy
from sentinel.capture.rules import is_ours
from sentinel.capture.switchbook import SwitchBook
from sentinel.capture.vantage import Vantage
from sentinel.model import Mirror, Now


class Reconciler:
    """Reads the answers to listings and renewals."""

    def __init__(
        self, policy: Policy, ledger: Ledger, book: SwitchBook, placer: Placer, vantage: Vantage, ender: Ender
    ) -> None:
        self._policy = policy
        self._ledger = ledger
        self._book = book
        self._placer = placer
        self._vantage = vantage
        self._ender = ender

    def compare(self, switch: str, found: dict[str, events.RuleOnSwitch], now: Now) -> None:
        """``found``: our owner's rules there, by name."""
        missing: list[Track] = []
        for rule, capture_id in list(self._book.held(switch).items()):
            there = found.pop(rule, None)
            track = self._ledger.tracks[capture_id]
            mirror = track.mirror(switch)
            if mirror is not None and self._compare_one(track, mirror, there, now):
                missing.append(track)
        changes: list[actions.Install | actions.Remove] = []
        for track in missing:
            mirror = track.mirror(switch)
            # A counter that was read after it in this comparison may have ended it.
            if mirror is not None and not track.going(switch):
                changes.append(self._restore(track, mirror, now))
        for rule in filter(is_ours, found):
            self._ledger.count("orphans_removed")
            self._book.orphan(switch, rule)
            changes.append(actions.Remove(switch, rule))
        self._send(switch, changes)

    def _send(self, switch: str, changes: list[actions.Install | actions.Remove]) -> None:
        """All of it in one request; singly where a bulk request has just failed."""
        if not changes:
            return
        if not self._book.takes_bulk(switch) or len(changes) == 1:
            self._ledger.out += changes
            return
        for start in range(0, len(changes), limits.MAX_BULK_CHANGES):
            self._ledger.count("bulk_repairs")
            self._ledger.out.append(actions.Bulk(switch, tuple(changes[start : start + limits.MAX_BULK_CHANGES])))

    def _compare_one(self, track: Track, mirror: Mirror, there: events.RuleOnSwitch | None, now: Now) -> bool:
        """Whether its rule is to be put there."""
        unsure = mirror.switch in track.unsure
        track.unsure.discard(mirror.switch)
        right = there is not None and there.lines in {None, mirror.lines}
        if mirror.state == "installing" and not unsure:
            return False
        if there is not None and right:
            self._counted(track, mirror, there, now)
            if unsure and track.doubtful:
                # The rule's lease lives, so we were away for less than the clock pretends.
                track.doubtful = False
                self.evidence(track, now)
        if mirror.state in {"removing", "failed"}:
            if mirror.state == "failed":
                track.retry(mirror.switch).at = now.mono
                self._ledger.wake(track, now.mono)
        elif right:
            if mirror.state == "installing":
                self._ledger.count("adopted")
                self._placer.installed(track, mirror.switch, f"adopted on {mirror.switch}", now)
        else:
            return True
        return False

    def _restore(self, track: Track, mirror: Mirror, now: Now) -> actions.Install:
        self._ledger.count("drift_restored")
        self._book.leased(mirror.switch, [mirror.rule], now)
        # Put there anew it counts from nothing: as many packets as before are a rise.
        self._ledger.mirror(track, mirror.switch, "installing", packets=0, bytes=0)
        if mirror.state == "active":
            self._ledger.settle(track, f"the rule was gone from {mirror.switch}; restoring it", now)
        return actions.Install(mirror.switch, mirror.rule, mirror.lines, self._placer.lease_s)

    def _counted(self, track: Track, mirror: Mirror, there: events.RuleOnSwitch, now: Now) -> None:
        """A counter that rose is evidence; one that fell was reset there, and what it shows since then is new."""
        if there.packets is None:
            return
        if there.bytes is not None:
            track.rate.counted(mirror.switch, there.bytes, now.mono)
        if there.packets == mirror.packets:
            if self._placer.load(track, now):
                self._vantage.counted_nothing(track, mirror.switch, now)
            return
        rose = there.packets > mirror.packets or there.packets > 0
        self._ledger.mirror(track, mirror.switch, mirror.state, packets=there.packets, bytes=there.bytes or 0)
        if not rose or track.ending:
            return
        track.sightings.rose(mirror.switch)
        self.evidence(track, now)
        if track.rate.bps > self._policy.flood_bps:
            self._ender.flood(track, now)
        else:
            self._placer.load(track, now)

    def evidence(self, track: Track, now: Now) -> None:
        """The pair talks. The store needs it only so well that a restart does not end a talking pair."""
        track.evidence = now.mono
        if now.mono - track.recorded >= max(1.0, self._policy.quiet_s / 10):
            self._ledger.record(track, None, now)
