# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import socket
import time

from sentinel.demo.fabric import Fabric
from sentinel.demo.topology import HOSTS, LISTED
from sentinel.demo.traffic import beacon
from sentinel.sflow.datagram import decode


def received(sock: socket.socket) -> list[tuple[bytes, str]]:
    found: list[tuple[bytes, str]] = []
    sock.setblocking(False)
    while True:
        try:
            data, address = sock.recvfrom(65535)
        except BlockingIOError:
            return found
        found.append((data, address[0]))


def test_frames_reach_their_leaf_and_samples_come_from_the_agents_own_addresses() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as leaf1,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as spine,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector,
    ):
        for sock in (leaf1, spine, collector):
            sock.bind(("127.0.0.1", 0))
        fabric = Fabric(
            {"leaf1": leaf1.getsockname(), "spine": spine.getsockname()},
            collector.getsockname(),
            sampling_rate=1,
            seed=1,
        )
        watched = fabric.watch(LISTED[0].address, HOSTS[0].address)
        fabric.start()
        expected = [sent.frame for sent in beacon(1, 0.0, 0.5, HOSTS[0], LISTED[0])]
        fabric.add(beacon(1, 0.0, 0.5, HOSTS[0], LISTED[0]))
        until = time.monotonic() + 5
        while fabric.frames_forwarded < len(expected) and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.6)
        fabric.stop()
        assert [frame for _, frame in watched.sent] == expected
        at_leaf = [data for data, _ in received(leaf1)]
        assert [data[1 + data[0] :] for data in at_leaf] == expected
        assert {data[1 : 1 + data[0]] for data in at_leaf} == {b"swp1", b"swp51"}
        at_spine = [data for data, _ in received(spine)]
        assert len(at_spine) == len(expected)
        assert all(frame in data and data[5:].find(frame) > 40 for data, frame in zip(at_spine, expected, strict=True))
        datagrams = received(collector)
        assert {(decode(data).agent, sender) for data, sender in datagrams} == {
            ("127.0.1.1", "127.0.1.1"),
            ("127.0.1.2", "127.0.1.2"),
            ("127.0.1.3", "127.0.1.3"),
        }
        assert fabric.sampled("leaf1") == fabric.sampled("spine") == len(expected)
        assert fabric.sampled("leaf2") == 0
