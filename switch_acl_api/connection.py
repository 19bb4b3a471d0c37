# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One client's socket with a deadline for everything it sends, and the ways to read from it."""

import contextlib
import io
import socket
import threading
import time
from typing import Any, Optional

from switch_acl_api.limits import LINGER_S, MAX_LINGER_READS, REQUEST_DEADLINE_S


class Connection:
    """One client. ``receiving`` until its request is complete and again while the answer is written."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.sock = sock
        self.peer = peer
        self.client_name: Optional[str] = None
        self.receiving = True
        self.deadline = time.monotonic() + REQUEST_DEADLINE_S
        self._mutex = threading.Lock()
        self._closed = False
        self._cut = threading.Event()

    def begin(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.receiving = True

    def left(self) -> float:
        """Seconds to the deadline; raises ``socket.timeout`` when it has passed."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout("deadline")
        return left

    def pause(self, seconds: float) -> None:
        """Wait, as one of those that make room for new connections; returns at once when cut."""
        self.begin(2 * seconds)
        self._cut.wait(seconds)

    def linger(self, expected: int) -> None:
        """Take what is still being sent: closing on unread octets would make the kernel throw the answer away."""
        self.begin(LINGER_S)
        socket.socket.shutdown(self.sock, socket.SHUT_WR)
        for _ in range(MAX_LINGER_READS):
            self.sock.settimeout(self.left())
            got = len(self.sock.recv(65_536))
            expected -= got
            if not got or expected <= 0:
                return

    def cut(self) -> None:
        """End it from another thread: what its own thread is reading ends."""
        self._cut.set()
        with self._mutex, contextlib.suppress(OSError):
            if not self._closed:
                # Not SSLSocket's own shutdown: that pulls the TLS object from under the other thread.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        with self._mutex, contextlib.suppress(OSError):
            self._closed = True
            self.sock.close()


class Reader(io.RawIOBase):
    """The connection's octets until its deadline, however they trickle."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.sock.settimeout(self._connection.left())
        return self._connection.sock.recv_into(buffer)


class Body(io.RawIOBase):
    """Exactly one request's body. At its end the request counts as received."""

    def __init__(self, source: Any, length: int, connection: Connection) -> None:
        self._source = source
        self.left = length
        self._connection = connection
        if length == 0:
            connection.receiving = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(min(len(buffer), self.left))
        buffer[: len(data)] = data
        self.left -= len(data)
        if self.left == 0:
            self._connection.receiving = False
        return len(data)
