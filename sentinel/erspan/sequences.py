# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Gaps in the sequence numbers of mirrored packets: what was lost between switch and receiver.

The numbers run per switch and session (types II and III; RFC 2890 section 2.2: 32 bits, wrapping). Some switches count
all their sessions in one row, so a gap may also be frames of another session; it is an upper bound.
"""

from sentinel.limits import MAX_ERSPAN_SEQUENCES, MAX_SEQUENCE_GAP

_MODULUS = 1 << 32


class Sequences:
    """Remembers the last number of each (switch, session); the one longest not heard of is forgotten first."""

    def __init__(self) -> None:
        self.lost = 0
        self.restarts = 0
        self._last: dict[tuple[str, int | None], int] = {}

    def gap(self, switch: str, session: int | None, sequence: int | None) -> int:
        """Frames missing before this one; 0 for the first, for late ones, and where a switch started again."""
        if sequence is None:
            return 0
        key = (switch, session)
        last = self._last.pop(key, None)
        if last is None:
            while len(self._last) >= MAX_ERSPAN_SEQUENCES:
                del self._last[next(iter(self._last))]
            self._last[key] = sequence
            return 0
        ahead = (sequence - last) % _MODULUS
        late = (last - sequence) % _MODULUS <= MAX_SEQUENCE_GAP
        if late and sequence != 0:
            self._last[key] = last
            return 0
        self._last[key] = sequence
        if ahead > MAX_SEQUENCE_GAP or ahead == 0:
            self.restarts += ahead != 0
            return 0
        self.lost += ahead - 1
        return ahead - 1

    def last(self, switch: str, session: int | None) -> int | None:
        """The number that the next one is compared with."""
        return self._last.get((switch, session))

    def follow(self, switch: str, session: int | None, sequence: int) -> None:
        """All numbers up to this one came in their order, as ``gap`` would have found them."""
        self._last.pop((switch, session), None)
        self._last[switch, session] = sequence
