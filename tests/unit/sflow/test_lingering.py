# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled receiver lets datagrams gather before it asks, but never where the buffer would be full meanwhile."""

import resource
import socket

import pytest

from sentinel.limits import KIB, MIB

_SO_RCVBUFFORCE = 33
TIMES, EACH = 20, 8


def slept(buffer_bytes: int) -> int:
    """How often the thread went to sleep although there always was something to receive."""
    receive = pytest.importorskip("sentinel.receive._native")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as into, socket.socket(type=socket.SOCK_DGRAM) as out:
        try:
            into.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
        except PermissionError:
            into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        if into.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < buffer_bytes:
            pytest.skip(f"the system does not grant {buffer_bytes} octets")
        into.bind(("127.0.0.1", 0))
        out.connect(into.getsockname())
        receiver = receive.BatchReceiver(4 * EACH, 2 * KIB)
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        for _ in range(TIMES):
            for _ in range(EACH):
                out.send(b"x")
            assert len(receiver.receive(into.fileno(), -1, 1000)) == EACH
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before


def test_what_is_busy_is_let_gather() -> None:
    assert slept(8 * MIB) >= TIMES - 1


def test_a_small_buffer_is_never_left_alone() -> None:
    assert slept(128 * KIB) < TIMES // 2
