# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Fragments of outer packets, put together within bounds.

Mirroring adds 38 to 60 octets, so a full-sized frame often arrives in two pieces. Pieces that overlap make the whole
packet unusable (RFC 5722, section 4; the same for IPv4, where no honest sender overlaps); an exact repetition is
ignored. What is refused stays refused until it would have expired, so that late pieces don't start it anew.
"""

from dataclasses import dataclass, field

from sentinel.errors import DecodeCode, DecodeError
from sentinel.limits import (
    FRAGMENT_AGE_S,
    MAX_FRAGMENT_BYTES,
    MAX_FRAGMENTED_PACKETS,
    MAX_FRAGMENTS_PER_PACKET,
    MAX_IP_PAYLOAD_BYTES,
)
from sentinel.packets.ip import Outer, resume

_Key = tuple[str, str, int, int]


@dataclass(slots=True)
class FragmentCounters:
    """``refused`` packets overlapped, overran or had too many pieces; ``expired``, ``evicted`` ones weren't whole."""

    fragments: int = 0
    reassembled: int = 0
    repeated: int = 0
    refused: int = 0
    expired: int = 0
    evicted: int = 0


@dataclass(slots=True)
class _Partial:
    first_at: float
    protocol: int | None = None
    pieces: dict[int, bytes] = field(default_factory=dict)
    size: int = 0
    total: int | None = None
    refused: bool = False


class Reassembler:
    """Holds so many octets, in so many packets, for so long; what exceeds it drives out the oldest."""

    def __init__(
        self,
        max_packets: int = MAX_FRAGMENTED_PACKETS,
        max_bytes: int = MAX_FRAGMENT_BYTES,
        max_age_s: float = FRAGMENT_AGE_S,
    ) -> None:
        self.counters = FragmentCounters()
        self._max_packets = max_packets
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._partial: dict[_Key, _Partial] = {}
        self._bytes = 0

    @property
    def held_bytes(self) -> int:
        return self._bytes

    @property
    def held_packets(self) -> int:
        """Packets that wait for pieces; refused ones not counted."""
        return sum(not partial.refused for partial in self._partial.values())

    def add(self, outer: Outer, now: float) -> Outer | None:
        """A packet as it is, a packet this piece completed, or nothing yet; raises ``DecodeError`` on refusal."""
        fragment = outer.fragment
        if fragment is None:
            return outer
        self.counters.fragments += 1
        self._expire(now)
        # RFC 791 tells packets apart by protocol too; in IPv6 only the first piece's next header counts (RFC 8200).
        key = (outer.src, outer.dst, fragment.identification, outer.protocol if outer.version == 4 else -1)
        partial = self._partial.get(key)
        if partial is None:
            while len(self._partial) >= self._max_packets:
                self._evict_oldest()
            partial = self._partial[key] = _Partial(now)
        elif partial.refused:
            raise DecodeError("fragment_refused", "fragment of a packet already refused", fragment.offset)
        size = len(outer.payload)
        end = fragment.offset + size
        if (known := partial.pieces.get(fragment.offset)) is not None and known == outer.payload:
            self.counters.repeated += 1
            return None
        if wrong := self._wrong(partial, outer, fragment.offset, end, fragment.more):
            self._refuse(partial)
            raise DecodeError(*wrong, fragment.offset)
        partial.pieces[fragment.offset] = outer.payload
        partial.size += size
        self._bytes += size
        if not fragment.more:
            partial.total = end
        if fragment.offset == 0:
            partial.protocol = outer.protocol
        if partial.size == partial.total and partial.protocol is not None:
            del self._partial[key]
            self._bytes -= partial.size
            self.counters.reassembled += 1
            payload = b"".join(partial.pieces[at] for at in sorted(partial.pieces))
            return resume(outer.version, outer.src, outer.dst, partial.protocol, payload)
        while self._bytes > self._max_bytes:
            self._evict_oldest()
        return None

    @staticmethod
    def _wrong(partial: _Partial, outer: Outer, start: int, end: int, more: bool) -> tuple[DecodeCode, str] | None:
        """Return why this piece can't belong to the packet, or ``None``."""
        if outer.missing:
            return "fragment_truncated", "fragment cut short by the recording"
        if end == start:
            return "fragment_empty", "empty fragment"
        if more and (end - start) % 8:
            return "fragment_unaligned", "fragment in the middle whose length isn't a multiple of 8"
        if end > MAX_IP_PAYLOAD_BYTES:
            return "fragment_too_long", "fragment beyond the longest packet"
        if len(partial.pieces) >= MAX_FRAGMENTS_PER_PACKET:
            return "fragment_too_many", "too many fragments"
        if partial.total is not None and (not more or end > partial.total):
            return "fragment_beyond_last", "fragment beyond the last one"
        if not more and any(at + len(piece) > end for at, piece in partial.pieces.items()):
            return "fragment_before_end", "last fragment before the end of another"
        if any(at < end and start < at + len(piece) for at, piece in partial.pieces.items()):
            return "fragment_overlap", "overlapping fragments"
        return None

    def _refuse(self, partial: _Partial) -> None:
        self.counters.refused += 1
        self._bytes -= partial.size
        partial.pieces.clear()
        partial.size = 0
        partial.refused = True

    def _expire(self, now: float) -> None:
        while self._partial:
            key, oldest = next(iter(self._partial.items()))
            if now - oldest.first_at <= self._max_age_s:
                return
            self._drop(key)
            self.counters.expired += not oldest.refused

    def _evict_oldest(self) -> None:
        key, oldest = next(iter(self._partial.items()))
        self._drop(key)
        self.counters.evicted += not oldest.refused

    def _drop(self, key: _Key) -> None:
        self._bytes -= self._partial.pop(key).size
