# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import itertools
import random

import dpkt

from sentinel.demo.topology import HOSTS, LISTED
from sentinel.demo.traffic import Sent, background, beacon, fetch, lookup


def first(count: int, seed: int = 1) -> list[Sent]:
    return list(itertools.islice(background(seed, 0.0), count))


def test_the_same_seed_gives_the_same_frames() -> None:
    assert first(300) == first(300)
    assert first(300) != first(300, seed=2)


def test_background_is_in_order_and_never_with_a_listed_address() -> None:
    sent = first(500)
    assert [each.at for each in sent] == sorted(each.at for each in sent)
    listed = {host.address for host in LISTED}
    assert all({each.source.address, each.destination.address}.isdisjoint(listed) for each in sent)
    assert 20 < 500 / sent[-1].at < 500


def test_a_fetch_is_a_conversation_that_tcp_would_accept() -> None:
    sent = fetch(random.Random(3), 5.0, HOSTS[0], LISTED[0], segments=4)
    expected: dict[str, int] = {}
    flags = []
    for each in sent:
        ip = dpkt.ethernet.Ethernet(each.frame).data
        tcp = ip.data
        # The checksum must be the one that the same segment gets when it is built anew.
        again = dpkt.ip.IP(src=ip.src, dst=ip.dst, p=6, ttl=ip.ttl, id=ip.id, len=ip.len, data=dpkt.tcp.TCP(bytes(tcp)))
        again.data.sum = 0
        assert dpkt.ip.IP(bytes(again)).data.sum == tcp.sum != 0
        if each.source.address in expected:
            assert tcp.seq == expected[each.source.address]
        if tcp.flags & dpkt.tcp.TH_ACK:
            assert tcp.ack == expected[each.destination.address]
        expected[each.source.address] = (
            tcp.seq + len(tcp.data) + bool(tcp.flags & (dpkt.tcp.TH_SYN | dpkt.tcp.TH_FIN))
        ) % 2**32
        flags.append(tcp.flags)
    assert flags[0] == dpkt.tcp.TH_SYN
    assert flags[1] == dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK
    assert flags[-3] & flags[-2] & dpkt.tcp.TH_FIN
    body = b"".join(dpkt.ethernet.Ethernet(each.frame).data.data.data for each in sent if each.source == LISTED[0])
    assert len(dpkt.http.Response(body).body) == 4 * 1200


def test_a_lookup_is_dns() -> None:
    query, answer = (dpkt.ethernet.Ethernet(each.frame).data.data for each in lookup(random.Random(1), 0, *HOSTS[:2]))
    assert dpkt.dns.DNS(query.data).id == dpkt.dns.DNS(answer.data).id
    assert (query.dport, answer.sport) == (53, 53)
    assert query.ulen == len(bytes(query))


def test_a_beacon_talks_for_its_time_and_stops() -> None:
    sent = list(beacon(7, 10.0, 20.0, HOSTS[0], LISTED[0]))
    assert sent[0].at == 10.0
    assert 18.0 < sent[-1].at < 22.0
    syns = [each for each in sent if dpkt.ethernet.Ethernet(each.frame).data.data.flags == dpkt.tcp.TH_SYN]
    assert len(syns) > 5
    assert all(each.source == HOSTS[0] for each in syns)
