# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Every flow row of a second arrives in a consumer of its own thread, once, with what was counted."""

import numpy as np
import pytest

from sentinel.flowmodel import FlowTaking
from sentinel.flows.arrays import values
from sentinel.handover import HandOver
from sentinel.limits import MAX_FLOW_TABLES_WAITING
from sentinel.scan.threads import Scanning
from tests.bench import traffic
from tests.support.traffic import blacklist
from tests.support.twins import native


def unexpected(taking: FlowTaking) -> None:
    pytest.fail(f"a table of second {taking.second} found no room")


@pytest.mark.parametrize(("choice", "datagrams"), [("python", 6_000), ("native", 40_000)])
def test_every_row_of_a_second_arrives_in_a_consumer(choice: str, datagrams: int) -> None:
    """Six samples a datagram, each of another flow."""
    if choice == "native":
        native()
    arrived: list[FlowTaking] = []
    way = HandOver("flows", arrived.append, unexpected, MAX_FLOW_TABLES_WAITING)
    now = [5.0]
    scanning = Scanning(choice=choice, on_flows=way.give, clock=lambda: now[0])
    lists, payloads = blacklist("203.0.113.9"), traffic.distinct(datagrams)
    way.start()
    try:
        for at in range(0, datagrams, 256):
            batch = [(payload, "10.0.0.1", 1.0) for payload in payloads[at : at + 256]]
            scanning.scan(batch, lists)
        now[0] = 6.0
        scanning.take_flows()
        way.flush()
    finally:
        way.stop()
    tables = [taking.flows.table() for taking in arrived]
    wanted = datagrams * traffic.SAMPLES
    assert {taking.second for taking in arrived} == {5}
    assert sum(table.rows for table in tables) == sum(len(taking.flows) for taking in arrived) == wanted
    sources = np.concatenate([values(table, "src_ip") for table in tables]).view(">u4")[3::4]
    assert len(np.unique(sources)) == wanted
    assert sum(int(values(table, "samples").sum()) for table in tables) == wanted
    assert sum(taking.total.samples for taking in arrived) == wanted
    assert sum(int(values(table, "bytes").sum()) for table in tables) == sum(each.total.bytes for each in arrived)
    assert not any(taking.evicted_samples for taking in arrived)
