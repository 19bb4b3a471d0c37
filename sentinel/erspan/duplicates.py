# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The same packet mirrored by two switches, or by one at its entry and its exit.

Each packet of a capture gets a number; a copy from elsewhere gets the same one. Two equal packets from one place are
two packets, however close: the first of them here is the first of them there, the second the second. Pure: the time
is handed in.
"""

from typing import NamedTuple

from sentinel.limits import DUPLICATE_WINDOW_S, MAX_DUPLICATE_PACKETS, MAX_EQUAL_PACKETS

# Where a packet was mirrored: the switch, and the direction where its encapsulation tells.
Place = tuple[str, str | None]


class Numbered(NamedTuple):
    """``first`` is the place whose copy came before this one; ``None`` where there was none."""

    packet_id: int
    first: Place | None


class _Equal:
    """Equal packets met within the window: their numbers and where each was met first, and how many by place."""

    __slots__ = ("at", "met", "places")

    def __init__(self, at: float, packet_id: int, place: Place) -> None:
        self.at = at
        self.met = [Numbered(packet_id, place)]
        self.places = {place: 1}


# Nearly all packets are met once; a tuple of plain values is what the garbage collector never looks at again.
_Once = tuple[float, int, Place]


class Duplicates:
    """Numbers the packets of all captures from ``first_id`` on.

    What is remembered lies in two tables of at most half of ``max_packets`` each; when the younger is full or a window
    old, the older is forgotten whole.
    """

    def __init__(
        self,
        first_id: int = 1,
        window_s: float = DUPLICATE_WINDOW_S,
        max_packets: int = MAX_DUPLICATE_PACKETS,
        max_equal: int = MAX_EQUAL_PACKETS,
    ) -> None:
        self._next_id = first_id
        self._window_s = window_s
        self._max_young = max_packets // 2
        self._max_equal = max_equal
        # By a keyed hash, so that nobody outside can make two packets fall together.
        self._young: dict[int, _Once | _Equal] = {}
        self._old: dict[int, _Once | _Equal] = {}
        self._young_since = float("-inf")

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def number(self, capture_id: str, place: Place, identity: bytes, now: float) -> Numbered:
        """The number of a packet met at ``place``; ``identity`` is equal for equal packets. ``now`` in seconds."""
        if now - self._young_since > self._window_s or len(self._young) >= self._max_young:
            self._old, self._young, self._young_since = self._young, {}, now
        key = hash((capture_id, identity))
        known = self._young.get(key) or self._old.get(key)
        if known is not None:
            equal = _Equal(*known) if isinstance(known, tuple) else known
            if now - equal.at <= self._window_s:
                self._young[key] = equal
                return self._again(equal, place)
        packet_id = self._next_id
        self._next_id = packet_id + 1
        self._young[key] = (now, packet_id, place)
        return Numbered(packet_id, None)

    def _again(self, equal: _Equal, place: Place) -> Numbered:
        count = equal.places.get(place, 0)
        if count < len(equal.met):
            equal.places[place] = count + 1
            return equal.met[count]
        packet_id = self._next_id
        self._next_id = packet_id + 1
        if count < self._max_equal:
            equal.places[place] = count + 1
            equal.met.append(Numbered(packet_id, place))
        return Numbered(packet_id, None)
