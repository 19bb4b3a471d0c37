# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The emulated fabric at work: frames leave their hosts in real time, and every switch on their way sees them.

One thread plays the schedule. A frame that enters a switch goes to that switch's shim (1 octet length of the in-port's
name, the name, the frame), whose emulated driver mirrors what its rules match; and to the switch's sFlow agent, which
sends its datagrams from its own address.
"""

import heapq
import itertools
import logging
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sentinel.demo.sampling import SflowAgent
from sentinel.demo.topology import SWITCHES, Hop, hops
from sentinel.demo.traffic import Sent

log = logging.getLogger(__name__)

_IDLE_S = 0.05
Pair = frozenset[str]


@dataclass(slots=True)
class Watched:
    """What a pair really said: each frame with the monotonic time it was sent."""

    sent: list[tuple[float, bytes]] = field(default_factory=list)


class Fabric:
    """Forwards, samples and feeds the shims from ``start`` to ``stop``; ``clock`` is its virtual time."""

    def __init__(
        self,
        frames_to: Mapping[str, tuple[str, int]],
        collector: tuple[str, int],
        sampling_rate: int,
        seed: int,
    ) -> None:
        self.frames_forwarded = 0
        self.send_errors = 0
        self._frames_to = dict(frames_to)
        self._collector = collector
        self._agents = {
            node.name: SflowAgent(node, sampling_rate, seed + number) for number, node in enumerate(SWITCHES)
        }
        self._sockets: dict[str, socket.socket] = {}
        self._shim_socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._schedule: list[tuple[float, int, Sent, Iterator[Sent]]] = []
        self._order = itertools.count()
        self._watched: dict[Pair, Watched] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._started_at = 0.0

    def start(self) -> None:
        """Open a socket at each agent's address and begin; raises ``OSError`` where an address isn't to be had."""
        try:
            self._shim_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            for name, agent in self._agents.items():
                self._sockets[name] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._sockets[name].bind((agent.node.agent, 0))
        except OSError:
            self._close()
            raise
        self._started_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="demo-fabric", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let nothing more be sent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._close()

    def clock(self) -> float:
        """Virtual seconds: those since the start."""
        return time.monotonic() - self._started_at

    def add(self, traffic: Iterator[Sent]) -> None:
        """Play this too; its times are virtual seconds, what lies in the past is sent at once."""
        with self._lock:
            self._push(traffic)

    def watch(self, one: str, other: str) -> Watched:
        """Remember from now on what two hosts say."""
        watched = self._watched[frozenset((one, other))] = Watched()
        return watched

    def sampled(self, switch: str) -> int:
        """How many frames this switch has sampled."""
        return self._agents[switch].samples

    def _push(self, traffic: Iterator[Sent]) -> None:
        first = next(traffic, None)
        if first is not None:
            heapq.heappush(self._schedule, (first.at, next(self._order), first, traffic))

    def _run(self) -> None:
        while not self._stop.is_set():
            now = self.clock()
            for sent in self._due(now):
                self._forward(sent, now)
            for name, agent in self._agents.items():
                for datagram in agent.due(now):
                    self._send(self._sockets[name], datagram, self._collector)
            self._stop.wait(self._pause())

    def _due(self, now: float) -> Iterator[Sent]:
        while True:
            with self._lock:
                if not self._schedule or self._schedule[0][0] > now:
                    return
                _, _, sent, traffic = heapq.heappop(self._schedule)
                self._push(traffic)
            yield sent

    def _pause(self) -> float:
        with self._lock:
            return min(_IDLE_S, max(0.0, self._schedule[0][0] - self.clock())) if self._schedule else _IDLE_S

    def _forward(self, sent: Sent, now: float) -> None:
        watched = self._watched.get(frozenset((sent.source.address, sent.destination.address)))
        if watched is not None:
            watched.sent.append((time.monotonic(), sent.frame))
        for hop in hops(sent.source, sent.destination, sent.frame):
            self._enter(hop)
            self._agents[hop.switch].forwarded(hop, now)
        self.frames_forwarded += 1

    def _enter(self, hop: Hop) -> None:
        where = self._frames_to.get(hop.switch)
        if where is not None and self._shim_socket is not None:
            name = hop.in_port.encode("ascii")
            self._send(self._shim_socket, bytes([len(name)]) + name + hop.in_acl, where)

    def _send(self, sock: socket.socket, data: bytes, where: tuple[str, int]) -> None:
        try:
            sock.sendto(data, where)
        except OSError as error:
            self.send_errors += 1
            log.debug("%s:%d: %s", *where, error)

    def _close(self) -> None:
        for sock in (*self._sockets.values(), *((self._shim_socket,) if self._shim_socket else ())):
            sock.close()
        self._sockets.clear()
        self._shim_socket = None
