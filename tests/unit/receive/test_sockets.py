# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import asdict

from sentinel.erspan.receiver import Granted
from sentinel.receive.sockets import readings, receiving, worst
from sentinel.report.metrics import Metrics
from sentinel.sflow.listener import ListeningOn
from tests.contract.test_http_api import DOCUMENT
from tests.support.schemas import faults

SOCKETS = receiving(
    [
        *(ListeningOn("10.0.0.1", 6343, 4096, reader, drops) for reader, drops in enumerate((0, 7, 900, 1, 2, 3))),
        ListeningOn("::", 6344, 4096, 1, None),
    ],
    [Granted("raw GRE on ::", 8192, 5)],
)


def test_each_socket_is_a_series_of_its_own() -> None:
    metrics = Metrics(lambda: readings(SOCKETS))
    text = metrics.render().decode()
    assert 'sentinel_sflow_socket_kernel_drops_total{listener="10.0.0.1:6343",thread="2"} 900.0' in text
    assert 'sentinel_erspan_socket_kernel_drops_total{listener="raw GRE on ::",thread="0"} 5.0' in text
    assert "[::]:6344" not in text
    assert not metrics.counters.refused


def test_the_worst_are_named_first() -> None:
    where = worst(SOCKETS, "sflow")
    assert where.startswith("10.0.0.1:6343 thread 2: 900, 10.0.0.1:6343 thread 1: 7, ")
    assert where.endswith(", 1 more")
    assert worst(SOCKETS, "erspan") == "raw GRE on :: thread 0: 5"
    assert worst(SOCKETS[:1], "sflow") == ""


def test_the_rows_are_those_of_the_api() -> None:
    rows = [asdict(each) for each in SOCKETS]
    assert rows[-2]["listener"] == "[::]:6344"
    for row in rows:
        assert not faults(row, DOCUMENT["components"]["schemas"]["Socket"], DOCUMENT)
