# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What the mirrors cost: estimated bit/s per switch and at the ERSPAN destination, against what the policy allows.

A mirror carries what its conversation carries. Until the switch has counted, that is estimated from the samples; the
rule's own counter replaces the estimate as soon as it was read twice.
"""

from sentinel.capture.policy import Policy, rate_text
from sentinel.model import Detection

# A conversation seen for less time is not extrapolated: one sample at 1:10,000 would be 120 Mbit in no time at all.
SHORTEST_S = 60.0
WINDOW_S = 10.0


class Rate:
    """The bit/s of one conversation. ``now`` is monotonic seconds."""

    __slots__ = ("_at", "_bytes", "_counted", "bps")

    def __init__(self) -> None:
        self.bps = 0
        self._bytes = 0
        self._at = float("-inf")
        self._counted: dict[str, tuple[int, float]] = {}

    def sampled(self, detection: Detection, now: float) -> None:
        """From sFlow, only while no switch counts it."""
        if self._counted or now - self._at < WINDOW_S:
            return
        grown = detection.bytes - self._bytes
        if self._at == float("-inf") or grown < 0:
            fresh = detection.bytes * 8 / max(SHORTEST_S, detection.last_seen - detection.first_seen)
        else:
            fresh = grown * 8 / max(SHORTEST_S, now - self._at)
        self.bps = round(max(fresh, (self.bps + fresh) / 2))
        self._bytes, self._at = detection.bytes, now

    def counted(self, switch: str, octets: int, now: float) -> None:
        """From the rule's counter; one that fell was reset there."""
        before = self._counted.get(switch)
        self._counted[switch] = (octets, now)
        if before is not None and octets >= before[0] and now > before[1]:
            self.bps = round((octets - before[0]) * 8 / max(1.0, now - before[1]))

    def uncounted(self, switch: str) -> None:
        self._counted.pop(switch, None)


class Budget:
    """What each switch and the destination carry, by (switch, capture)."""

    def __init__(self, policy: Policy) -> None:
        self._per_switch = policy.max_bps_per_switch
        self._in_all = policy.max_bps
        self._loads: dict[str, dict[str, int]] = {}
        self._sums: dict[str, int] = {}
        self.total_bps = 0

    def bps(self, switch: str) -> int:
        return self._sums.get(switch, 0)

    def carry(self, switch: str, capture_id: str, bps: int) -> None:
        """The mirror is there, or may be, and carries so much."""
        loads = self._loads.setdefault(switch, {})
        self._add(switch, bps - loads.get(capture_id, 0))
        loads[capture_id] = bps

    def carry_everywhere(self, capture_id: str, switches: tuple[str, ...], bps: int) -> None:
        for switch in switches:
            if capture_id in self._loads.get(switch, ()):
                self.carry(switch, capture_id, bps)

    def drop(self, switch: str, capture_id: str) -> None:
        self._add(switch, -self._loads.get(switch, {}).pop(capture_id, 0))

    def load(self, switch: str, capture_id: str) -> int:
        """What the capture's mirror there carries."""
        return self._loads.get(switch, {}).get(capture_id, 0)

    def heaviest(self, switch: str) -> list[str]:
        """The captures mirrored there, the heaviest first."""
        loads = self._loads.get(switch, {})
        return sorted(loads, key=lambda capture_id: (-loads[capture_id], capture_id))

    def over(self, switch: str) -> str | None:
        """What is over its limit now, in words; ``None`` where nothing is."""
        return self.shortage(switch, 0)

    def shortage(self, switch: str, more_bps: int) -> str | None:
        """Why so much more does not fit, in words; ``None`` where it does."""
        if self.short(switch, more_bps) > 0:
            return f"{switch} would mirror more than {rate_text(self._per_switch)}"
        if self.short_in_all(more_bps) > 0:
            return f"the ERSPAN destination would get more than {rate_text(self._in_all)}"
        return None

    def short(self, switch: str, more_bps: int) -> int:
        """How many bit/s the switch is short of for so much more; zero or less where it fits."""
        return self.bps(switch) + more_bps - self._per_switch

    def short_in_all(self, more_bps: int) -> int:
        """The same of the ERSPAN destination."""
        return self.total_bps + more_bps - self._in_all

    def ever_fits(self, bps: int) -> bool:
        """Whether a conversation is light enough for a mirror at all."""
        return bps <= min(self._per_switch, self._in_all)

    def _add(self, switch: str, bps: int) -> None:
        self._sums[switch] = self._sums.get(switch, 0) + bps
        self.total_bps += bps
