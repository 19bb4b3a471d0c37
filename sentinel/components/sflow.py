# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""sFlow in: sockets, admission, and the scan of what arrives; matches, flows and table space out."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from sentinel.blacklist.trie import Current
from sentinel.components.component import Component, Job
from sentinel.config.settings import Settings
from sentinel.flowmodel import FlowTaking
from sentinel.model import Match
from sentinel.problems import Problem
from sentinel.pulse import Pulse
from sentinel.readings import Reading, counters
from sentinel.receive.batches import Received, receiver_of
from sentinel.receive.sockets import readings, worst
from sentinel.rows import AgentRow, SocketRow
from sentinel.scan.threads import Scanning
from sentinel.sflow.admission import Admission, AdmissionRule
from sentinel.sflow.agents import AgentHealth
from sentinel.sflow.listener import Listener
from sentinel.sflow.tablespace import free_entries

log = logging.getLogger(__name__)

FLOWS_S = 1
REFUSED_S = 60


def admission_of(settings: Settings) -> Admission:
    """Return who is heard: each switch from its own addresses, other agents from their very address, and relays."""
    rules = [AdmissionRule(switch.agents, switch.name) for switch in settings.switch]
    prefixes = (*settings.switches.agents, *settings.sflow.agents)
    return Admission([*rules, *(AdmissionRule((prefix,)) for prefix in prefixes)], settings.sflow.relays)


class Sflow(Component):
    """The receiving threads. ``lists`` are matched as they are at the time of each batch.

    ``on_matches`` and ``on_table_space`` (agent, free ACL entries) are called from a receiving thread, ``on_flows``
    from whichever thread finds a second to be over, under that table's lock: all must be quick. ``switch_of`` names the
    switch of an agent.
    """

    def __init__(self, settings: Settings, lists: Current, switch_of: Callable[[str], str | None]) -> None:
        self.on_matches: list[Callable[[Sequence[Match]], None]] = []
        self.on_flows: list[Callable[[FlowTaking], None]] = []
        self.on_table_space: list[Callable[[str, int], None]] = []
        self._lists = lists
        self._switch_of = switch_of
        self._scan = Scanning(
            admission_of(settings),
            (settings.capture.erspan_destination,),
            threads=settings.sflow.threads,
            on_flows=self._flows_over,
        )
        self.implementation = self._scan.implementation
        self._listener = Listener(
            settings.sflow.listen,
            settings.sflow.receive_buffer_bytes,
            [partial(self._received, thread) for thread in range(self._scan.threads)],
            receiver_of(self._scan.implementation),
        )
        self._rates = SampleRates()

    def start(self) -> None:
        self._listener.start()
        heard = (f"{row.listener} (receive buffer {row.receive_buffer_bytes} octets)" for row in self.sockets())
        log.info("sFlow on %s; scan: %s (%s)", ", ".join(heard), self.implementation, self._scan.reason)

    def stop(self) -> None:
        self._listener.stop()

    def jobs(self) -> Iterable[Job]:
        return (
            Job("flows", FLOWS_S, self.take_flows, promise=True),
            Job("refused", REFUSED_S, self._scan.log_refused),
        )

    def take_flows(self) -> None:
        """Hand over the flows of all seconds that are over."""
        self._scan.take_flows()

    def _flows_over(self, taking: FlowTaking) -> None:
        for take in self.on_flows:
            take(taking)

    def _received(self, thread: int, batch: Sequence[Received]) -> None:
        result = self._scan.scan(batch, self._lists.blacklist, thread)
        if result.matches:
            for take in self.on_matches:
                take(result.matches)
        for agent, sample in result.counters_samples:
            free = free_entries(sample)
            if free is not None:
                for hear in self.on_table_space:
                    hear(agent, free)

    # --- rows --------------------------------------------------------------------------------------

    def agents(self) -> list[AgentRow]:
        """Return one row per (agent, sub-agent) heard."""
        return [self._row(health) for health in self._scan.snapshot()]

    def _row(self, health: AgentHealth) -> AgentRow:
        heard = health.datagrams + health.lost
        return AgentRow(
            agent=health.agent,
            sub_agent=health.sub_agent,
            switch=self._switch_of(health.agent),
            last_seen=health.last_seen,
            datagrams=health.datagrams,
            samples=health.samples,
            samples_per_s=self._rates.per_s((health.agent, health.sub_agent), health.samples),
            lost_datagrams=health.lost,
            loss_pct=round(100 * health.lost / heard, 2) if heard else 0.0,
            sampling_rate=max(health.sampling_rates, default=None),
            errors=health.bad_samples,
        )

    def sockets(self) -> list[SocketRow]:
        """Return one row per socket."""
        return self._listener.sockets()

    def pulses(self) -> Iterable[Pulse]:
        return self._listener.pulses()

    def problems(self) -> Iterable[Problem]:
        drops = self._listener.counters().kernel_drops
        if drops:
            yield Problem(
                "sflow_kernel_drops",
                "degraded",
                "sflow",
                f"the kernel dropped {drops} sFlow datagrams ({worst(self.sockets())})",
                "raise sflow.receive_buffer and net.core.rmem_max",
            )

    def readings(self) -> Iterable[Reading]:
        yield from counters("sflow", self._listener.counters())
        yield from readings(self.sockets())
        yield from counters("scan", self._scan.counters)
        streams, sources = self._scan.agents_overflow
        for name, count, text in (
            ("streams_overflow", streams, "Datagrams of streams whose health found no room"),
            ("sources_overflow", sources, "Samples of data sources whose health found no room"),
        ):
            yield f"sentinel_scan_{name}_total", {}, float(count), "counter", text


class SampleRates:
    """Samples a second of each stream, over at least a second between two looks; frequent looks get the last figure."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[tuple[str, int], tuple[float, int, float]] = {}

    def per_s(self, stream: tuple[str, int], samples: int) -> float:
        """Return the rate of a stream that has come to so many ``samples``."""
        with self._lock:
            now = self._clock()
            at, before, shown = self._last.get(stream, (now, samples, 0.0))
            if now - at >= 1.0:
                shown = round(max(0, samples - before) / (now - at), 1)
            elif stream in self._last:
                return shown
            self._last[stream] = (now, samples, shown)
            return shown
