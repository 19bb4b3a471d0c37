# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Flow rows from the scan to a consumer, at a rate of datagrams whose samples are all of different flows."""

import time
from collections.abc import Iterator

import numpy as np

from sentinel.columns import Table
from sentinel.flowmodel import FlowTaking
from sentinel.flows.arrays import values
from sentinel.handover import HandOver
from sentinel.limits import MAX_FLOW_TABLES_WAITING, MAX_FLOWS
from sentinel.receive._native import Batch
from sentinel.scan._native import Flows, Health, NativeScan
from sentinel.scan.threads import Scanning
from tests.bench import traffic
from tests.bench.memory import batches

RATE_PPS = 40_000
PASSES = 20


class Consumer:
    """Arranges every table as columns in its own thread, as one does that ships them; ``cpu_s`` is what that took."""

    def __init__(self) -> None:
        self.tables: list[Table] = []
        self.refused = 0
        self.cpu_s = 0.0

    def take(self, taking: FlowTaking) -> None:
        begun = time.thread_time()
        self.tables.append(taking.flows.table())
        self.cpu_s += time.thread_time() - begun

    def refuse(self, taking: FlowTaking) -> None:
        self.refused += len(taking.flows)


def give_s(work: list[Batch]) -> float:
    """CPU of the scanning thread to give one table away, half full, as it happens in a flood."""
    lists, flows = traffic.lists(()), Flows(MAX_FLOWS)
    taken: list[float] = []
    scan = NativeScan(agents=Health(), flows=flows)
    for batch in work:
        scan.scan(batch, lists)
        if len(flows) * 2 >= MAX_FLOWS and len(taken) < PASSES:
            begun = time.thread_time()
            given = flows.take()
            taken.append(time.thread_time() - begun)
            del given
    return sum(taken) / len(taken)


def measure(seconds: float = 2.0) -> Iterator[dict[str, object]]:
    """One row: what arrived, and what it cost for each flow row."""
    datagrams = int(RATE_PPS * seconds)
    work = batches(traffic.distinct(datagrams))
    consumer, lists = Consumer(), traffic.lists(())
    way = HandOver("flows", consumer.take, consumer.refuse, MAX_FLOW_TABLES_WAITING)
    scanning = Scanning(choice="native", on_flows=way.give)
    way.start()
    begun, scanned = time.perf_counter(), 0
    for batch in work:
        scanning.scan(batch, lists)  # type: ignore[arg-type]  # as the listener gives it
        scanned += len(batch)
        time.sleep(max(0.0, begun + scanned / RATE_PPS - time.perf_counter()))
    took_s = time.perf_counter() - begun
    time.sleep(1.0)
    scanning.take_flows()
    way.stop()
    rows = sum(table.rows for table in consumer.tables)
    sources = np.concatenate([values(table, "src_ip") for table in consumer.tables])
    given_s = give_s(work)
    yield {
        "what": "hand-over",
        "datagrams_per_s": scanned / took_s,
        "rows": scanned * traffic.SAMPLES,
        "arrived": rows,
        "distinct": len(np.unique(sources.view(">u4")[3::4])),
        "refused": consumer.refused,
        "tables": len(consumer.tables),
        "give_us_per_table": given_s * 1e6,
        "ns_per_row": (consumer.cpu_s + given_s * len(consumer.tables)) / max(rows, 1) * 1e9,
    }
