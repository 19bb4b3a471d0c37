# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""How fast one agent may fill the event log and the store.

A detection is made at once, but it is *announced* (given out as ``opened``, which somebody writes down) only while its
agent keeps within its rate for that kind of evidence. The others wait in the table for their next sample. Half of the
means is a second allowance for pairs that were seen again: a flood of pairs that never repeat cannot use it up.
"""

from sentinel.model import Evidence


class Allowance:
    """A token bucket that starts full; ``now`` is monotonic seconds."""

    __slots__ = ("_at", "_burst", "_left", "_per_s")

    def __init__(self, burst: float, per_s: float, now: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = burst
        self._at = now

    def take(self, now: float) -> bool:
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def full(self, now: float) -> bool:
        return self._left + (now - self._at) * self._per_s >= self._burst


class Announcer:
    """The allowances of every agent, by evidence and by whether the pair was seen before."""

    def __init__(self, burst: int, per_s: float) -> None:
        self._burst = burst / 2
        self._per_s = per_s / 2
        self._allowances: dict[tuple[str, Evidence, bool], Allowance] = {}

    def __len__(self) -> int:
        return len(self._allowances)

    def may(self, agent: str, evidence: Evidence, samples: int, now: float) -> bool:
        """Whether a detection of this agent may be announced now; a pair seen again may use both allowances."""
        return self._take(agent, evidence, False, now) or (samples > 1 and self._take(agent, evidence, True, now))

    def forget_idle(self, now: float) -> None:
        """Drop allowances that are full again: a new one would be no different."""
        for key in [key for key, allowance in self._allowances.items() if allowance.full(now)]:
            del self._allowances[key]

    def _take(self, agent: str, evidence: Evidence, again: bool, now: float) -> bool:
        key = (agent, evidence, again)
        allowance = self._allowances.get(key)
        if allowance is None:
            allowance = self._allowances[key] = Allowance(self._burst, self._per_s, now)
        return allowance.take(now)
