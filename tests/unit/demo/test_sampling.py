# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
from sentinel.demo.sampling import SflowAgent
from sentinel.demo.topology import HOSTS, hops, node
from sentinel.model import CountersSample, FlowSample
from sentinel.sflow.datagram import decode
from tests.support.mirroring import ethernet

FRAME = ethernet("192.0.2.11", "192.0.2.12", b"x" * 500)
(HOP,) = hops(HOSTS[0], HOSTS[1], FRAME)


def samples(datagrams: list[bytes]) -> list[FlowSample]:
    return [each for data in datagrams for each in decode(data).samples if isinstance(each, FlowSample)]


def test_about_one_frame_in_n_is_sampled_and_the_pool_counts_them_all() -> None:
    agent = SflowAgent(node("leaf1"), 8, seed=1)
    for _ in range(8000):
        agent.forwarded(HOP, 1.0)
    found = samples(agent.due(2.0))
    assert len(found) == agent.samples
    assert 900 < len(found) < 1100
    assert [each.sequence for each in found] == list(range(1, len(found) + 1))
    assert 8000 - 16 < found[-1].sample_pool <= 8000
    one = found[0]
    assert (one.input, one.output, one.source_index, one.sampling_rate) == (1, 2, 1, 8)
    assert one.frame_length == len(FRAME) + 4
    assert one.packet is not None
    assert (one.packet.src_ip, one.packet.dst_ip) == ("192.0.2.11", "192.0.2.12")


def test_datagrams_leave_when_full_or_half_a_second_old() -> None:
    agent = SflowAgent(node("leaf1"), 1, seed=1)
    agent.due(0.0)
    for _ in range(7):
        agent.forwarded(HOP, 1.0)
    assert len(samples(agent.due(1.0))) == 5
    assert agent.due(1.4) == []
    assert len(samples(agent.due(1.6))) == 2


def test_counters_are_polled_and_numbered() -> None:
    agent = SflowAgent(node("leaf1"), 1000, seed=1)
    for _ in range(3):
        agent.forwarded(HOP, 0.0)
    datagrams = [*agent.due(0.0), *agent.due(1.0), *agent.due(5.0)]
    decoded = [decode(data) for data in datagrams]
    assert [each.sequence for each in decoded] == [1, 2]
    assert {each.agent for each in decoded} == {"127.0.1.1"}
    counters = [each for each in decoded[0].samples if isinstance(each, CountersSample)]
    fields = {each.source_index: each.records[0].fields for each in counters}
    assert set(fields) == {1, 2, 3, 51}
    assert fields[1]["if_in_ucast_pkts"] == fields[2]["if_out_ucast_pkts"] == 3
    assert fields[1]["if_in_octets"] == 3 * (len(FRAME) + 4)
