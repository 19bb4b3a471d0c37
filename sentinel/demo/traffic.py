# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What the hosts say to each other: real frames with the time they are sent, from a seed and virtual seconds.

The same seed gives the same frames. Nothing here sends anything or looks at a clock.
"""

import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from socket import inet_aton

import dpkt
from dpkt.tcp import TH_ACK, TH_FIN, TH_PUSH, TH_SYN

from sentinel.demo.topology import HARMLESS, HOSTS, Host

_SEGMENT_BYTES = 1200
_ROUND_TRIP_S = 0.012
_GAP_S = 0.004
_PAUSE_S = 1.0
_HTTP = 80


@dataclass(frozen=True, slots=True, order=True)
class Sent:
    """A frame and when it leaves its source (virtual seconds)."""

    at: float
    number: int
    source: Host
    destination: Host
    frame: bytes


def background(seed: int, start: float, hosts: tuple[Host, ...] = HOSTS, mean_gap_s: float = 0.1) -> Iterator[Sent]:
    """Without end: hosts fetch from one another and from a harmless server, and look names up."""
    rng = random.Random(seed)  # noqa: S311  # a play, not a secret
    streams = [_of_host(rng.randrange(2**32), start, host, hosts, mean_gap_s) for host in hosts]
    return heapq.merge(*streams)


def beacon(seed: int, start: float, end: float, host: Host, listed: Host) -> Iterator[Sent]:
    """One host that fetches a little from a listed address, again and again, from ``start`` until ``end``."""
    rng = random.Random(seed)  # noqa: S311
    at = start
    while at < end:
        for sent in fetch(rng, at, host, listed, segments=rng.randint(2, 5)):
            at = sent.at
            yield sent
        at += _PAUSE_S * rng.uniform(0.5, 1.0)


def _of_host(seed: int, start: float, host: Host, hosts: tuple[Host, ...], mean_gap_s: float) -> Iterator[Sent]:
    rng = random.Random(seed)  # noqa: S311
    others = [other for other in hosts if other != host]
    at = start
    while True:
        at += rng.expovariate(1 / (mean_gap_s * len(hosts)))
        other = HARMLESS if rng.random() < 0.2 else rng.choice(others)
        talk = lookup(rng, at, host, other) if rng.random() < 0.3 else fetch(rng, at, host, other, rng.randint(1, 6))
        for sent in talk:
            at = sent.at
            yield sent


def lookup(rng: random.Random, at: float, client: Host, server: Host) -> list[Sent]:
    """A DNS query and its answer over UDP."""
    port, ident = _client_port(rng), rng.randrange(2**16)
    name = f"{rng.choice(HOSTS).name}.example"
    query = dpkt.dns.DNS(id=ident, qd=[dpkt.dns.DNS.Q(name=name, type=dpkt.dns.DNS_A)])
    answer = dpkt.dns.DNS(id=ident, op=dpkt.dns.DNS_QR | dpkt.dns.DNS_RD, qd=query.qd)
    frames = [(client, server, _udp(port, 53, bytes(query))), (server, client, _udp(53, port, bytes(answer)))]
    return _numbered(rng, at, [(*pair, dpkt.ip.IP_PROTO_UDP, udp) for *pair, udp in frames])


def fetch(rng: random.Random, at: float, client: Host, server: Host, segments: int) -> list[Sent]:
    """One HTTP fetch: handshake, request, ``segments`` of answer each acknowledged, both sides' FIN."""
    tcp = _Tcp(rng, client, server, _HTTP)
    tcp.say(client, TH_SYN)
    tcp.say(server, TH_SYN | TH_ACK)
    tcp.say(client, TH_ACK)
    tcp.say(
        client,
        TH_ACK | TH_PUSH,
        b"GET /%08x HTTP/1.1\r\nHost: %s.example\r\n\r\n" % (rng.randrange(2**32), server.name.encode()),
    )
    header = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
    body = header % (segments * _SEGMENT_BYTES) + rng.randbytes(segments * _SEGMENT_BYTES)
    size = len(body) // segments + 1
    for start in range(0, len(body), size):
        tcp.say(server, TH_ACK | TH_PUSH, body[start : start + size])
        tcp.say(client, TH_ACK)
    tcp.say(server, TH_ACK | TH_FIN)
    tcp.say(client, TH_ACK | TH_FIN)
    tcp.say(server, TH_ACK)
    return _numbered(rng, at, tcp.said)


class _Tcp:
    """Both ends of a connection: sequence and acknowledgement numbers as they follow from what was said."""

    def __init__(self, rng: random.Random, client: Host, server: Host, port: int) -> None:
        self.said: list[tuple[Host, Host, int, object]] = []
        self._peer = {client.address: server, server.address: client}
        self._port = {client.address: _client_port(rng), server.address: port}
        self._next = {client.address: rng.randrange(2**32), server.address: rng.randrange(2**32)}

    def say(self, host: Host, flags: int, data: bytes = b"") -> None:
        peer = self._peer[host.address]
        segment = dpkt.tcp.TCP(
            sport=self._port[host.address],
            dport=self._port[peer.address],
            seq=self._next[host.address],
            ack=self._next[peer.address] if flags & TH_ACK else 0,
            flags=flags,
            win=64240,
            data=data,
        )
        self.said.append((host, peer, dpkt.ip.IP_PROTO_TCP, segment))
        length = len(data) + bool(flags & (TH_SYN | TH_FIN))
        self._next[host.address] = (self._next[host.address] + length) % 2**32


def _numbered(rng: random.Random, at: float, said: Sequence[tuple[Host, Host, int, object]]) -> list[Sent]:
    """Frames in order, a round trip between two directions, a little between two of the same."""
    sent: list[Sent] = []
    for source, destination, protocol, payload in said:
        if sent:
            at += _GAP_S if sent[-1].source == source else _ROUND_TRIP_S
        frame = _frame(source, destination, protocol, payload, rng.randrange(2**16))
        sent.append(Sent(at, len(sent), source, destination, frame))
    return sent


def _frame(source: Host, destination: Host, protocol: int, payload: object, ident: int) -> bytes:
    ip = dpkt.ip.IP(
        src=inet_aton(source.address), dst=inet_aton(destination.address), p=protocol, ttl=64, id=ident, data=payload
    )
    ip.len = len(ip)
    frame = dpkt.ethernet.Ethernet(src=source.mac, dst=destination.mac, type=dpkt.ethernet.ETH_TYPE_IP, data=ip)
    return bytes(frame)


def _udp(source_port: int, destination_port: int, data: bytes) -> object:
    return dpkt.udp.UDP(sport=source_port, dport=destination_port, ulen=8 + len(data), data=data)


def _client_port(rng: random.Random) -> int:
    return rng.randint(32768, 60999)
