# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A bounds-checked reader of XDR (RFC 4506) as sFlow uses it: big-endian, in units of four octets."""

from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct

from sentinel.errors import DecodeError

_U32 = Struct(">I")
_U64 = Struct(">Q")
_F32 = Struct(">f")


class Cursor:
    """Reads ``data`` from ``at`` up to ``end``; both count octets from the start of the datagram.

    Every read raises ``DecodeError`` rather than look past ``end``; ``at`` then stays where the read began.
    """

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else end

    @property
    def left(self) -> int:
        """Octets that are still unread."""
        return self.end - self.at

    def need(self, size: int) -> None:
        """Raise unless ``size`` octets are left."""
        if self.end - self.at < size:
            raise DecodeError("truncated", f"{size} octets needed, {self.end - self.at} left", self.at)

    def u32(self) -> int:
        """An unsigned int."""
        at = self.at
        if self.end - at < 4:
            self.need(4)
        self.at = at + 4
        value: int = _U32.unpack_from(self.data, at)[0]
        return value

    def u64(self) -> int:
        """An unsigned hyper."""
        self.need(8)
        value: int = _U64.unpack_from(self.data, self.at)[0]
        self.at += 8
        return value

    def f32(self) -> float:
        """A float; NaN and infinities come as they are."""
        self.need(4)
        value: float = _F32.unpack_from(self.data, self.at)[0]
        self.at += 4
        return value

    def take(self, size: int) -> bytes:
        """Exactly ``size`` octets, without padding."""
        self.need(size)
        self.at += size
        return self.data[self.at - size : self.at]

    def fixed(self, size: int) -> bytes:
        """opaque[size]: the octets, then the padding to a multiple of four."""
        value = self.take(size)
        self.pad(size)
        return value

    def opaque(self) -> bytes:
        """opaque<>: a length, the octets, the padding."""
        start = self.at
        size = self.u32()
        if size > self.left:
            left = self.left
            self.at = start
            raise DecodeError("truncated", f"opaque of {size} octets, {left} left", start)
        return self.fixed(size)

    def pad(self, size: int) -> None:
        """Skip what pads ``size`` octets to a multiple of four, as far as it is there: some agents leave it out."""
        self.at = min(self.at + (-size & 3), self.end)

    def count(self, least: int) -> int:
        """The number of elements of an array; raises where they can't all be here, at ``least`` octets each."""
        start = self.at
        number = self.u32()
        if number * least > self.left:
            left = self.left
            self.at = start
            raise DecodeError(
                "truncated", f"{number} elements of at least {least} octets announced, {left} octets left", start
            )
        return number

    def address(self) -> str | None:
        """union address: type 1 IPv4, 2 IPv6, 0 unknown (``None``)."""
        start = self.at
        kind = self.u32()
        if kind == 0:
            return None
        if kind == 1 and self.left >= 4:
            return inet_ntop(AF_INET, self.take(4))
        if kind == 2 and self.left >= 16:
            return inet_ntop(AF_INET6, self.take(16))
        left = self.left
        self.at = start
        if kind > 2:
            raise DecodeError("address", f"address type {kind}, expected 1 (IPv4), 2 (IPv6) or 0 (unknown)", start)
        raise DecodeError("address", f"address of type {kind}, {left} octets left", start)
