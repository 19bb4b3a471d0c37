# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import socket
import sys
from dataclasses import asdict
from typing import Any

import pytest

from sentinel.receive.sockets import ReceivingSocket, enlarge, readings, worst
from sentinel.report.metrics import Metrics
from sentinel.rows import SocketRow
from tests.contract.test_http_api import DOCUMENT
from tests.support.schemas import faults

SFLOW = [
    *(SocketRow("sflow", "10.0.0.1:6343", thread, 4096, drops) for thread, drops in enumerate((0, 7, 900, 1, 2, 3))),
    SocketRow("sflow", "[::]:6344", 1, 4096, None),
]
ERSPAN = [SocketRow("erspan", "raw GRE on ::", 0, 8192, 5)]
SOCKETS = [*SFLOW, *ERSPAN]


def test_each_socket_is_a_series_of_its_own() -> None:
    metrics = Metrics(lambda: readings(SOCKETS))
    text = metrics.render().decode()
    assert 'sentinel_sflow_socket_kernel_drops_total{listener="10.0.0.1:6343",thread="2"} 900.0' in text
    assert 'sentinel_erspan_socket_kernel_drops_total{listener="raw GRE on ::",thread="0"} 5.0' in text
    assert "[::]:6344" not in text
    assert not metrics.counters.refused


def test_the_worst_are_named_first() -> None:
    where = worst(SFLOW)
    assert where.startswith("10.0.0.1:6343 thread 2: 900, 10.0.0.1:6343 thread 1: 7, ")
    assert where.endswith(", 1 more")
    assert worst(ERSPAN) == "raw GRE on :: thread 0: 5"
    assert worst(SOCKETS[:1]) == ""


def test_the_rows_are_those_of_the_api() -> None:
    rows = [asdict(each) for each in SOCKETS]
    assert rows[-2]["listener"] == "[::]:6344"
    for row in rows:
        assert not faults(row, DOCUMENT["components"]["schemas"]["Socket"], DOCUMENT)


def test_drops_are_counted_once_and_stand_still_after_the_socket_is_closed() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        opened.bind(("127.0.0.1", 0))
        granted = enlarge(opened, 4096)
        one = ReceivingSocket(opened, "sflow", "here")
        if one.kernel_drops is None:
            pytest.skip("the system does not report drops")
        for _ in range(100):
            out.sendto(bytes(1000), opened.getsockname())
        more = one.count_drops()
        assert 0 < more < 100
        assert one.count_drops() == 0
    assert one.count_drops() == 0
    assert one.row() == SocketRow("sflow", "here", 0, granted, more)


def test_the_kernels_count_wraps() -> None:
    class Kernel(socket.socket):
        drops = 2**32 - 1

        def getsockopt(self, level: int, option: int, size: int = 0) -> Any:
            return bytes(32) + self.drops.to_bytes(4, sys.byteorder) if size else 8192

    with Kernel() as opened:
        one = ReceivingSocket(opened, "erspan", "here")
        opened.drops = 4
        assert one.count_drops() == 5
