# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Datagrams as they are received, many at a time, and the compiled receiver of them."""

from collections.abc import Callable, Sequence
from typing import Protocol

from sentinel.compiled import Implementation

Received = tuple[bytes, str, float]
"""A datagram, its sender's address (IPv4-mapped ones as IPv4), the UTC second it was read."""


class BatchReceiver(Protocol):
    """The compiled receiver: many datagrams a call. The result may be iterated until the next call."""

    @property
    def datagrams(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def truncated(self) -> int: ...
    def receive(self, fd: int, wake_fd: int, timeout_ms: int) -> Sequence[Received]: ...


def receiver_of(implementation: Implementation) -> Callable[[int, int], BatchReceiver] | None:
    """Return the maker of compiled receivers of so many datagrams of at most so many octets; ``None`` for plain."""
    if implementation != "native":
        return None
    from sentinel.receive import _native  # noqa: PLC0415 - only where it was built

    return _native.BatchReceiver  # type: ignore[return-value]  # a batch is only ever iterated
