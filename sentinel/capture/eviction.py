# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Who must go so that something more urgent fits: for its rule, for its bit/s there, for its bit/s at the destination.

Nobody goes in vain: where all that may go would not make room enough, all stay; and of those chosen only as many go as
are needed. A rule is left in peace for its first minute: what it was made for deserves a look, and a forger of urgent
pairs shall not blind us to it. Among equals there are turns: who was never mirrored goes before who was for long, for
a look at every compromised host is worth more than an hour at one. What people asked for is not timed.
"""

from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import NamedTuple

from sentinel.capture.budget import Budget
from sentinel.capture.ledger import LIVE_MIRROR_STATES, Ledger, Track
from sentinel.capture.policy import Policy
from sentinel.capture.switchbook import ENTRIES_PER_MIRROR, SwitchBook
from sentinel.model import Now

FIRST_MINUTE_S = 60.0
# A table that is always contended changes each of its rules no more often than this.
TURN_S = 300.0
# One heavy newcomer is not worth more conversations than this.
MOST_AT_ONCE = 8
# The captures of the whole fabric are put in order no more often: at 10,000 that takes some 20 ms.
ROSTER_S = 1.0


class _Need(NamedTuple):
    """ACL entries and bit/s on the switch, bit/s at the ERSPAN destination; positive where they are short."""

    entries: int
    bps: int
    bps_in_all: int

    @property
    def met(self) -> bool:
        return max(self) <= 0

    def without(self, freed: "_Need") -> "_Need":
        return _Need(*(short - more for short, more in zip(self, freed, strict=True)))

    def with_again(self, freed: "_Need") -> "_Need":
        return _Need(*(short + more for short, more in zip(self, freed, strict=True)))

    def eased_by(self, freed: "_Need") -> bool:
        return any(short > 0 and more > 0 for short, more in zip(self, freed, strict=True))


class Evictor:
    """Chooses; ending them is another's work."""

    def __init__(self, policy: Policy, ledger: Ledger, book: SwitchBook, budget: Budget) -> None:
        self._policy = policy
        self._ledger = ledger
        self._book = book
        self._budget = budget
        self._roster: list[Track] = []
        self._roster_at = float("-inf")

    def victims(self, track: Track, name: str, now: Now) -> list[Track]:
        """Those that end so that ``track`` fits on the switch, the least urgent first; empty where that cannot be."""
        if not self._policy.evict or not self._budget.ever_fits(track.rate.bps):
            return []
        need = _Need(
            ENTRIES_PER_MIRROR - self._book.room(name),
            self._budget.short(name, track.rate.bps),
            self._budget.short_in_all(track.rate.bps),
        )
        chosen: list[tuple[Track, _Need]] = []
        for other in self._less_urgent(track, name, need, now):
            freed = self._freed_by(other, name)
            if need.eased_by(freed):
                chosen.append((other, freed))
                need = need.without(freed)
            if need.met or len(chosen) == MOST_AT_ONCE:
                break
        if not need.met:
            return []
        for other, freed in reversed(chosen[:]):
            if need.with_again(freed).met:
                chosen.remove((other, freed))
                need = need.with_again(freed)
        return [other for other, _ in chosen]

    def _less_urgent(self, track: Track, name: str, need: _Need, now: Now) -> Iterator[Track]:
        others: Iterable[Track]
        if need.bps_in_all > 0:
            others = self._everybody(now)
        else:
            here = (self._ledger.tracks[capture_id] for capture_id in self._book.held(name).values())
            others = sorted(here, key=_order)
        new_here = not track.capture.mirrors and not track.urgency.person
        takes_turns = new_here and need.bps <= 0 and need.bps_in_all <= 0
        for other in takewhile(lambda other: other.urgency.level <= track.urgency.level, others):
            equal = other.urgency.level == track.urgency.level
            rest_s = TURN_S if equal else FIRST_MINUTE_S
            if not other.ending and now.mono - other.placed >= rest_s and (takes_turns or not equal):
                yield other

    def _everybody(self, now: Now) -> list[Track]:
        """All captures in order; who came since is too young to go, who went since is seen to be gone."""
        if now.mono >= self._roster_at + ROSTER_S:
            self._roster_at = now.mono
            self._roster = sorted(self._ledger.tracks.values(), key=_order)
        return self._roster

    def _freed_by(self, other: Track, name: str) -> _Need:
        switches = [m.switch for m in other.capture.mirrors if m.state in LIVE_MIRROR_STATES]
        loads = {switch: self._budget.load(switch, other.capture.id) for switch in switches}
        return _Need(ENTRIES_PER_MIRROR * switches.count(name), loads.get(name, 0), sum(loads.values()))


def _order(track: Track) -> tuple[tuple[int, ...], float, int, str]:
    """The least urgent first; of those the one that was silent for longest, then the heaviest."""
    return track.urgency, track.evidence, -track.rate.bps, track.capture.id
