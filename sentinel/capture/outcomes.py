# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What became of the changes that a switch was asked for, singly or in bulk: the rule is there, gone, or neither."""

from sentinel.capture import actions, events
from sentinel.capture.ending import Ender
from sentinel.capture.ledger import Ledger, Track
from sentinel.capture.placing import Placer
from sentinel.capture.policy import Policy
from sentinel.capture.switchbook import SwitchBook
from sentinel.capture.vantage import Vantage
from sentinel.model import Mirror, Now

Done = events.Installed | events.Removed
Failed = events.InstallFailed | events.RemoveFailed


class Outcomes:
    """Hears the answers; ``placer`` and ``ender`` do what follows from them."""

    def __init__(
        self, policy: Policy, ledger: Ledger, book: SwitchBook, placer: Placer, vantage: Vantage, ender: Ender
    ) -> None:
        self._policy = policy
        self._ledger = ledger
        self._book = book
        self._placer = placer
        self._vantage = vantage
        self._ender = ender

    def done(self, event: Done, now: Now) -> None:
        self._book.answered(event.switch)
        if isinstance(event, events.Installed):
            self._installed(event, now)
        else:
            self._removed(event, now)

    def failed(self, event: Failed, now: Now) -> None:
        if _is_trouble(event):
            self.switch_failed(event.switch, event.detail, now)
        self._not_done(event, now)

    def of_bulk(self, event: events.BulkAnswered, now: Now) -> None:
        """Each rule has its own outcome; the switch as such failed no more than once."""
        failures = [outcome for outcome in event.outcomes if isinstance(outcome, Failed)]
        for outcome in event.outcomes:
            if isinstance(outcome, Done):
                self.done(outcome, now)
        if len(failures) == len(event.outcomes):
            self._ledger.count("bulk_repairs_failed")
            self._book.bulk_failed(event.switch)
        trouble = [failure.detail for failure in failures if _is_trouble(failure)]
        if trouble:
            self.switch_failed(event.switch, trouble[0], now)
        for failure in failures:
            self._not_done(failure, now)

    def switch_failed(self, switch: str, detail: str, now: Now, *, question: bool = False) -> None:
        """``question``: it was our question that failed, not a change."""
        self._book.failed(switch, detail, now, question=question)
        if self._book.silent_s(switch, now) >= self._policy.lease_s:
            self._vantage.silent(switch, now)

    # --- of one rule -----------------------------------------------------------------------------

    def _of_rule(self, switch: str, rule: str) -> tuple[Track, Mirror] | None:
        capture_id = self._book.held(switch).get(rule)
        track = self._ledger.tracks.get(capture_id) if capture_id else None
        mirror = track.mirror(switch) if track else None
        return (track, mirror) if track and mirror else None

    def _installed(self, event: events.Installed, now: Now) -> None:
        self._book.leased(event.switch, [event.rule], now)
        found = self._of_rule(event.switch, event.rule)
        if found is None:
            self._ledger.out.append(actions.Remove(event.switch, event.rule))
            return
        self._ledger.count("installed" if event.changed else "adopted")
        track, mirror = found
        track.installed[event.switch] = now.mono
        if not track.going(event.switch) and mirror.state == "installing":
            self._placer.installed(track, event.switch, f"mirrored by {event.switch}", now)

    def _removed(self, event: events.Removed, now: Now) -> None:
        self._ledger.count("removed")
        found = self._of_rule(event.switch, event.rule)
        if found is None:
            self._book.release(event.switch, event.rule)
            self._ender.freed.add(event.switch)
        else:
            self._ender.gone(*found, now)

    def _not_done(self, event: Failed, now: Now) -> None:
        found = self._of_rule(event.switch, event.rule)
        if isinstance(event, events.InstallFailed):
            self._ledger.count("install_failed")
            if event.reason == "full":
                # Somebody else took the room: the listing tells how much is left.
                self._book.full(event.switch)
            if found and not found[0].going(event.switch) and found[1].state == "installing":
                self._placer.install_failed(found[0], event, now)
            return
        self._ledger.count("remove_failed")
        if found is None:
            self._book.release(event.switch, event.rule)
        else:
            self._ender.remove_failed(*found, event.detail, now)


def _is_trouble(event: Failed) -> bool:
    """Of the switch, not of this rule alone nor of our own store."""
    return isinstance(event, events.RemoveFailed) or not (event.permanent or event.reason == "store")
