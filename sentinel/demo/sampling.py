# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The sFlow agent of one emulated switch: frames and time in, sFlow v5 datagrams out (sflow_version_5, section 3).

Each port is a data source with a pool and a sequence of its own. One frame in N is sampled at random, as it came in:
the distance to the next is drawn evenly from 1 to 2N-1, so that N is the mean and nothing periodic is always missed.
"""

import random
from dataclasses import dataclass

from sentinel.demo.topology import Hop, Node
from sentinel.model import Record
from sentinel.sflow.encode import counters_sample, datagram, flow_sample

_HEADER_BYTES = 128
_FCS_BYTES = 4
_FLUSH_S = 0.5
_POLLING_S = 5.0
_SAMPLES_PER_DATAGRAM = 5
_TEN_GBPS = 10_000_000_000


@dataclass(slots=True)
class _Port:
    name: str
    index: int
    until_next: int
    pool: int = 0
    flow_sequence: int = 0
    counter_sequence: int = 0
    in_packets: int = 0
    in_octets: int = 0
    out_packets: int = 0
    out_octets: int = 0


class SflowAgent:
    """``forwarded`` takes frames in, ``due`` gives datagrams to send; ``now`` counts seconds since the start."""

    def __init__(self, node: Node, sampling_rate: int, seed: int) -> None:
        self.node = node
        self.samples = 0
        self._rate = sampling_rate
        self._rng = random.Random(seed)  # noqa: S311  # sampling, not a secret
        self._ports = {name: _Port(name, index, self._distance()) for name, index in node.ports.items()}
        self._pending: list[bytes] = []
        self._sequence = 0
        self._flush_at = _FLUSH_S
        self._poll_at = 0.0

    def forwarded(self, hop: Hop, now: float) -> None:
        """Count a frame that goes through the switch, and sample it when its turn has come."""
        port, out = self._ports[hop.in_port], self._ports[hop.out_port]
        size = len(hop.on_wire) + _FCS_BYTES
        port.in_packets, port.in_octets = port.in_packets + 1, port.in_octets + size
        out.out_packets, out.out_octets = out.out_packets + 1, out.out_octets + size
        port.pool += 1
        port.until_next -= 1
        if port.until_next:
            return
        port.until_next = self._distance()
        port.flow_sequence += 1
        self.samples += 1
        if not self._pending:
            self._flush_at = now + _FLUSH_S
        self._pending.append(
            flow_sample(
                sequence=port.flow_sequence,
                source_index=port.index,
                sampling_rate=self._rate,
                sample_pool=port.pool,
                input=port.index,
                output=out.index,
                header=hop.on_wire[:_HEADER_BYTES],
                frame_length=size,
            )
        )

    def due(self, now: float) -> list[bytes]:
        """Datagrams that are full or have waited long enough, and the ports' counters when it is time for them."""
        ready = []
        if now >= self._poll_at:
            self._poll_at = now + _POLLING_S
            ready.append(self._datagram([self._counters(port) for port in self._ports.values()], now))
        while len(self._pending) >= _SAMPLES_PER_DATAGRAM or (self._pending and now >= self._flush_at):
            batch, self._pending = self._pending[:_SAMPLES_PER_DATAGRAM], self._pending[_SAMPLES_PER_DATAGRAM:]
            ready.append(self._datagram(batch, now))
        return ready

    def _datagram(self, samples: list[bytes], now: float) -> bytes:
        self._sequence += 1
        return datagram(self.node.agent, 0, self._sequence, round(now * 1000), samples)

    def _counters(self, port: _Port) -> bytes:
        port.counter_sequence += 1
        fields = {
            "if_index": port.index,
            "if_type": 6,
            "if_speed": _TEN_GBPS,
            "if_direction": 1,
            "if_status": 3,
            "if_in_octets": port.in_octets,
            "if_in_ucast_pkts": port.in_packets,
            "if_in_multicast_pkts": 0,
            "if_in_broadcast_pkts": 0,
            "if_in_discards": 0,
            "if_in_errors": 0,
            "if_in_unknown_protos": 0,
            "if_out_octets": port.out_octets,
            "if_out_ucast_pkts": port.out_packets,
            "if_out_multicast_pkts": 0,
            "if_out_broadcast_pkts": 0,
            "if_out_discards": 0,
            "if_out_errors": 0,
            "if_promiscuous_mode": 0,
        }
        record = Record("0:1", "if_counters", fields)
        return counters_sample(sequence=port.counter_sequence, source_index=port.index, records=[record])

    def _distance(self) -> int:
        return self._rng.randint(1, 2 * self._rate - 1)
