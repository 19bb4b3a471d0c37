# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Receiving sockets: the buffer that the kernel granted each, what it dropped there, and which thread serves it.

A sum would hide that of several threads one is overloaded, as by a single agent, all of whose datagrams go to the same.
"""

import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from sentinel.readings import Reading
from sentinel.rows import SocketRow

# Linux's numbers (asm-generic/socket.h), which the socket module doesn't name. SO_MEMINFO gives nine 32-bit numbers,
# the last of which is the count of drops (sock_diag(7), SK_MEMINFO_DROPS).
_SO_RCVBUFFORCE, _SO_MEMINFO = 33, 55
_MEMINFO = struct.Struct("=32xI")
_U32 = 0xFFFFFFFF
_NAMED = 4


class ReceivingSocket:
    """An open socket that ``listener`` names, served by a thread of its own stage.

    ``kernel_drops`` counts since the start, and stands still once the socket is closed; it is ``None`` where the system
    does not report it.
    """

    def __init__(
        self, opened: socket.socket, stage: Literal["sflow", "erspan"], listener: str, thread: int = 0
    ) -> None:
        self.socket = opened
        self.stage = stage
        self.listener = listener
        self.thread = thread
        self.receive_buffer_bytes = _granted(opened)
        self.kernel_drops: int | None = None
        # Guards the count, which any thread may bring up to date.
        self._counting = threading.Lock()
        # The kernel's own count, which wraps.
        self._drops = 0
        self.count_drops()

    def count_drops(self) -> int:
        """Bring ``kernel_drops`` up to date; return how many there were since the last time."""
        with self._counting:
            try:
                info = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
            except OSError:
                return 0
            if len(info) < _MEMINFO.size:
                return 0
            (drops,) = _MEMINFO.unpack(info)
            more: int = drops - self._drops & _U32
            self._drops = drops
            self.kernel_drops = (self.kernel_drops or 0) + more
            return more

    def row(self) -> SocketRow:
        """Return the socket as the API shows it."""
        return SocketRow(self.stage, self.listener, self.thread, self.receive_buffer_bytes, self.kernel_drops)


def enlarge(opened: socket.socket, size: int) -> int:
    """Enlarge a receive buffer, without CAP_NET_ADMIN at most to net.core.rmem_max; return its size in octets."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except OSError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    return _granted(opened)


def _granted(opened: socket.socket) -> int:
    # Linux doubles the size for its own bookkeeping and reports the double.
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def has_ipv6() -> bool:
    """Return whether the running kernel has IPv6, which ``ipv6.disable=1`` takes from it."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True


def worst(sockets: Sequence[SocketRow]) -> str:
    """Return where the drops are, the most first; empty where there are none."""
    dropping = [each for each in sockets if each.kernel_drops]
    dropping.sort(key=lambda each: -(each.kernel_drops or 0))
    named = [f"{each.listener} thread {each.thread}: {each.kernel_drops}" for each in dropping[:_NAMED]]
    return ", ".join([*named, *([f"{len(dropping) - _NAMED} more"] if len(dropping) > _NAMED else [])])


def readings(sockets: Iterable[SocketRow]) -> Iterator[Reading]:
    """Yield one series a socket."""
    for each in sockets:
        if each.kernel_drops is not None:
            name = f"sentinel_{each.stage}_socket_kernel_drops_total"
            labels = {"listener": each.listener, "thread": str(each.thread)}
            yield name, labels, float(each.kernel_drops), "counter", "Dropped for want of receive buffer, by socket"
