# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""How captures and single mirrors end: the rule is removed until the switch says so or its lease is surely over."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sentinel import limits
from sentinel.capture import actions
from sentinel.capture.budget import Budget
from sentinel.capture.ledger import LIVE_MIRROR_STATES, NEVER, Ledger, Track
from sentinel.capture.policy import Policy, Refusal, RefusalReason, rate_text
from sentinel.capture.switchbook import SwitchBook
from sentinel.model import Capture, Ending, Mirror, Now

# What was ended for its load comes back no sooner.
OVERLOAD_HOLD_S = 300.0


@dataclass(frozen=True, slots=True)
class EndingRule:
    """What an ending entails. ``text`` is its reason in words where the caller has none that says more.

    ``hold``: how long the pair is not captured again, ``"longest"`` as long as a capture may last, over a restart too,
    ``"overload"`` for ``OVERLOAD_HOLD_S``. ``refusal`` is the reason a held pair is refused for.
    """

    text: str
    hold: Literal["longest", "overload"] | None = None
    refusal: RefusalReason = "held"


ENDINGS: Mapping[Ending, EndingRule] = {
    "quiet": EndingRule("quiet"),
    "longest": EndingRule("longest reached", hold="longest"),
    "delisted": EndingRule("delisted"),
    "closed": EndingRule("the detection closed"),
    "stopped": EndingRule("stopped", hold="longest"),
    "evicted": EndingRule("evicted"),
    "flood": EndingRule("flood", hold="longest", refusal="flood"),
    "overload": EndingRule("overload", hold="overload"),
    "switch_gone": EndingRule("the switch is gone"),
    "allowed": EndingRule("allowed"),
    "never_capture": EndingRule("in never_capture"),
    "workload_gone": EndingRule("the workload is gone"),
    "selftest": EndingRule("the self-test is over"),
}


class Holds:
    """Pairs that are not captured again for a while, and why."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], tuple[float, Ending, str]] = {}

    def hold(self, pair: tuple[str, str], until: float, ending: Ending, why: str) -> None:
        self._held.pop(pair, None)
        self._held[pair] = (until, ending, why)
        while len(self._held) > limits.MAX_HELD_PAIRS:
            del self._held[next(iter(self._held))]

    def free(self, pair: tuple[str, str]) -> None:
        self._held.pop(pair, None)

    def refusal(self, pair: tuple[str, str], now: Now) -> Refusal | None:
        held = self._held.get(pair)
        if held is None:
            return None
        until, ending, why = held
        if until > now.mono:
            return Refusal(ENDINGS[ending].refusal, f"{why}; not captured again for {_minutes(until - now.mono)}")
        del self._held[pair]
        return None


class Ender:
    """Takes mirrors away. Rooms it makes are told to ``freed``."""

    def __init__(self, policy: Policy, ledger: Ledger, book: SwitchBook, budget: Budget) -> None:
        self._policy = policy
        self._ledger = ledger
        self._book = book
        self._budget = budget
        self.holds = Holds()
        self.freed: set[str] = set()

    def end(self, track: Track, ending: Ending, now: Now, why: str | None = None) -> None:
        """The whole capture; ``why`` in words, where there is more to say than the ending's own text."""
        if track.ending:
            return
        rule = ENDINGS[ending]
        why = why or rule.text
        track.capture = replace(track.capture, ending=ending, ending_note=why)
        self._ledger.count_ended(ending)
        if rule.hold is not None:
            hold_s = self._policy.longest_s if rule.hold == "longest" else OVERLOAD_HOLD_S
            self.holds.hold(track.pair, now.mono + hold_s, ending, why)
        removals = [action for mirror in track.capture.mirrors for action in self._take(track, mirror)]
        if not self.finish_if_done(track, now) and track.capture.state != "queued":
            self._ledger.state(track, "removing", why, now)
        self._ledger.out += removals

    def flood(self, track: Track, now: Now) -> None:
        why = f"flood of some {rate_text(track.rate.bps)}: sFlow shows it, a mirror only repeats it"
        self.end(track, "flood", now, why)

    def leave(self, track: Track, switch: str, note: str, now: Now) -> None:
        """One mirror; the capture goes on elsewhere."""
        mirror = track.mirror(switch)
        if mirror is None or mirror.state not in LIVE_MIRROR_STATES:
            return
        track.leaving.add(switch)
        removals = self._take(track, mirror)
        self._ledger.note(track, note, now)
        self._ledger.settle(track, note, now)
        self._ledger.out += removals

    def _take(self, track: Track, mirror: Mirror) -> list[actions.Action]:
        track.retries.pop(mirror.switch, None)
        if mirror.state == "planned":
            self._ledger.mirror(track, mirror.switch, "ended")
        if mirror.state not in {"installing", "active", "failed"}:
            return []
        self._ledger.mirror(track, mirror.switch, "removing")
        return [actions.Remove(mirror.switch, mirror.rule)]

    # --- answers ---------------------------------------------------------------------------------

    def gone(self, track: Track, mirror: Mirror, now: Now, error: str = "") -> None:
        """The rule is not on the switch any more."""
        self._release(mirror.switch, mirror.rule, track)
        if mirror.state != "removing":
            self._ledger.mirror(track, mirror.switch, "removing")
        self._ledger.mirror(track, mirror.switch, "ended", error=error)
        if track.ending:
            if not self.finish_if_done(track, now):
                self._ledger.record(track, None, now)
            return
        self._ledger.record(track, None, now)
        self._ledger.wake(track, now.mono)

    def remove_failed(self, track: Track, mirror: Mirror, detail: str, now: Now) -> None:
        retry = track.retry(mirror.switch)
        retry.later(now)
        if mirror.state == "removing":
            self._ledger.mirror(track, mirror.switch, "failed", error=detail)
        if track.ending and track.capture.state != "queued":
            self._ledger.state(track, "failed", f"{track.capture.ending_note}; not removed yet: {detail}", now)
        else:
            self._ledger.record(track, None, now)
        self._ledger.wake(track, retry.at)

    def retry(self, track: Track, now: Now) -> float:
        """Remove again what could not be removed; returns when to come back."""
        removals: list[actions.Action] = []
        again = NEVER
        for mirror in track.capture.mirrors:
            if mirror.state != "failed" or not track.going(mirror.switch):
                continue
            retry = track.retry(mirror.switch)
            if self._book.lease_surely_over(mirror.switch, mirror.rule, now):
                self._ledger.count("ended_by_lease")
                self.gone(track, mirror, now, "ended by its lease")
            elif retry.at > now.mono:
                again = min(again, retry.at)
            else:
                self._ledger.mirror(track, mirror.switch, "removing")
                removals.append(actions.Remove(mirror.switch, mirror.rule))
        if removals and track.ending and track.capture.state == "failed":
            self._ledger.state(track, "removing", track.capture.ending_note, now)
        self._ledger.out += removals
        self.finish_if_done(track, now)
        return again

    def finish_if_done(self, track: Track, now: Now) -> bool:
        if not track.ending or any(m.state in LIVE_MIRROR_STATES for m in track.capture.mirrors):
            return False
        if track.capture.id not in self._ledger.tracks:
            return True
        self._ledger.forget(track)
        if track.capture.state in {"installing", "active"}:
            self._ledger.state(track, "removing", track.capture.ending_note, now)
        track.capture = replace(track.capture, ended_at=now.wall)
        self._ledger.state(track, "ended", track.capture.ending_note, now)
        return True

    def _release(self, switch: str, rule: str, track: Track) -> None:
        self._book.release(switch, rule)
        self._budget.drop(switch, track.capture.id)
        track.rate.uncounted(switch)
        track.sightings.released(switch)
        track.retries.pop(switch, None)
        track.leaving.discard(switch)
        track.installed.pop(switch, None)
        self.freed.add(switch)

    # --- an earlier run --------------------------------------------------------------------------

    def restore_hold(self, capture: Capture, now: Now) -> None:
        """What is held back for ``longest`` is so over a restart, too."""
        left = min(self._policy.longest_s, self._policy.longest_s - (now.wall - (capture.ended_at or 0.0)))
        # A newer program may have stored an ending that this one has no row for.
        rule = ENDINGS.get(capture.ending) if capture.ending is not None else None
        if left > 0 and capture.ending is not None and rule is not None and rule.hold == "longest":
            self.holds.hold(capture.pair, now.mono + left, capture.ending, capture.ending_note)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
