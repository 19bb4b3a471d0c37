# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Where one pair is seen: by samples, switch by switch, and by the counters of its mirrors. Pure."""

from dataclasses import dataclass

from sentinel.capture.planner import Seen
from sentinel.model import Now

# Samples elsewhere, and readings of the counter without a rise, before a pair is believed to have moved.
MOVE_SAMPLES = 2
MOVE_POLLS = 2


@dataclass(slots=True)
class _Sign:
    """Since a switch with a mirror last showed the pair: samples at others, and readings without a rise."""

    elsewhere: int = 0
    polls: int = 0


class Sightings:
    """The sightings of one pair; nothing else writes them.

    ``recent`` looks back one to two windows: a pair that moved must not be judged by where it once was.
    """

    __slots__ = ("_base", "_base_at", "_before", "_signs", "_totals")

    def __init__(self, now: Now) -> None:
        self._totals: dict[str, Seen] = {}
        self._base: dict[str, Seen] = {}
        self._before: dict[str, Seen] = {}
        self._base_at = now.mono
        self._signs: dict[str, _Sign] = {}

    def mirrored(self, switch: str) -> None:
        """Begin to watch whether the mirror on this switch still sees the pair."""
        self._signs[switch] = _Sign()

    def released(self, switch: str) -> None:
        """Forget a switch whose mirror is gone."""
        self._signs.pop(switch, None)

    def sampled(self, totals: dict[str, Seen], window_s: float, now: Now) -> None:
        """Take what each switch has seen of the pair so far."""
        fresh = _grown(totals, self._totals)
        self._totals = totals
        if now.mono - self._base_at >= window_s:
            self._before, self._base, self._base_at = self._base, totals, now.mono
        everywhere = sum(seen.samples for seen in fresh.values())
        for switch, sign in self._signs.items():
            if switch in fresh and fresh[switch].samples > 0:
                sign.elsewhere, sign.polls = 0, 0
            else:
                sign.elsewhere += everywhere

    def rose(self, switch: str) -> None:
        """The mirror's counter rose, so it sees the pair."""
        if switch in self._signs:
            self._signs[switch] = _Sign()

    def stood_still(self, switch: str) -> bool:
        """The mirror's counter did not rise; return whether the pair must have moved to another switch by now."""
        sign = self._signs.get(switch)
        if sign is None or sign.elsewhere < MOVE_SAMPLES:
            return False
        sign.polls += 1
        return sign.polls >= MOVE_POLLS

    @property
    def at_several(self) -> bool:
        """Whether more than one switch has seen the pair."""
        return len(self._totals) > 1

    def recent(self) -> dict[str, Seen]:
        """Return what each switch saw of the pair lately."""
        return _grown(self._totals, self._before)


def _grown(now: dict[str, Seen], before: dict[str, Seen]) -> dict[str, Seen]:
    """Return what was added; a detection that began anew counts from nothing."""
    grown = {}
    for switch, seen in now.items():
        old = before.get(switch)
        if old is None or seen.outbound < old.outbound or seen.inbound < old.inbound:
            grown[switch] = seen
        elif seen != old:
            grown[switch] = Seen(seen.outbound - old.outbound, seen.inbound - old.inbound)
    return grown
