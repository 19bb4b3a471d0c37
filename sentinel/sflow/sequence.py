# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Loss from the 32-bit sequence numbers of one stream, over wraps, reordering, duplicates and restarts.

A number ahead of the highest one means that those between are missing; one of them that comes late is taken back. What
lies further back than the window, or further ahead than any loss we would believe, is a stream that began anew.
"""

from dataclasses import dataclass

from sentinel.limits import MAX_SFLOW_SEQUENCE_GAP, SEQUENCE_WINDOW

_MODULUS = 1 << 32
_WINDOW_MASK = (1 << SEQUENCE_WINDOW) - 1


@dataclass(slots=True)
class Sequence:
    """One stream's numbers. ``lost`` counts numbers that were skipped and have not come late."""

    highest: int | None = None
    lost: int = 0
    late: int = 0
    duplicates: int = 0
    restarts: int = 0
    # Bit n: the number n below the highest one has come.
    _seen: int = 0

    def next(self, number: int, *, began_anew: bool = False) -> bool:
        """Take the next number; true if the stream went forward. ``began_anew``: something else tells of a restart."""
        if self.highest is None:
            self._begin(number)
            return True
        ahead = (number - self.highest) % _MODULUS
        if began_anew or MAX_SFLOW_SEQUENCE_GAP < ahead <= _MODULUS - SEQUENCE_WINDOW:
            self.restarts += 1
            self._begin(number)
            return True
        if ahead == 0:
            self.duplicates += 1
            return False
        if ahead <= MAX_SFLOW_SEQUENCE_GAP:
            self.lost += ahead - 1
            self._seen = (self._seen << ahead if ahead < SEQUENCE_WINDOW else 0) & _WINDOW_MASK | 1
            self.highest = number
            return True
        self._behind(1 << (_MODULUS - ahead))
        return False

    def _begin(self, number: int) -> None:
        self.highest = number
        # Nothing before the first number is missing.
        self._seen = _WINDOW_MASK

    def _behind(self, bit: int) -> None:
        if self._seen & bit:
            self.duplicates += 1
        else:
            self._seen |= bit
            self.late += 1
            self.lost -= 1
