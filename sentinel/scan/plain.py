# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The hot path in plain Python: datagrams in, matches out. No I/O, no clock, one call per received batch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from sentinel.blacklist.trie import Blacklist
from sentinel.errors import DecodeError
from sentinel.limits import MAX_COUNTERS_TOLD_PER_S
from sentinel.model import CountersSample, FlowSample, Indicator, Match
from sentinel.receive.batches import Received
from sentinel.scan.counters import ScanCounters, reason_of
from sentinel.scan.flowtable import FlowTable
from sentinel.scan.pairs import Pair, innermost, pairs_of
from sentinel.sflow.admission import Admission, Refusal, Refusals
from sentinel.sflow.agents import AgentTable
from sentinel.sflow.cursor import Cursor
from sentinel.sflow.datagram import BadSample, Datagram, decode

_VERSION = 5
# Version, address type, an IPv4 address.
_LEAST_HEADER = 12
# The record in which Broadcom's switches say how full their tables are: all that counter samples are asked for.
TABLE_SPACE = "4413:3"
# What an interface's value is, by its format: an ifIndex, a reason of discarding (or a number of ports).
_IFINDEX, _DISCARDED = 0, 1


@dataclass(slots=True)
class ScanResult:
    """What one batch held: matches in order of arrival, and counter samples of table space with their agents."""

    matches: list[Match] = field(default_factory=list)
    counters_samples: list[tuple[str, CountersSample]] = field(default_factory=list)


class PlainScan:
    """``admission`` decides who is heard (``None``: everybody); ``agents`` keeps their health, ``flows`` counts.

    Packets to ``erspan_destinations`` are mirrors on their way to the analyst. One batch at a time.
    """

    implementation = "python"

    def __init__(
        self,
        admission: Admission | None = None,
        agents: AgentTable | None = None,
        erspan_destinations: Iterable[str] = (),
        flows: FlowTable | None = None,
    ) -> None:
        self.counters = ScanCounters()
        self.agents = agents
        self.flows = flows
        self._admission = admission
        self._refusals = Refusals()
        # Counter samples told since the second began, and when that was.
        self._told, self._told_since = 0, -inf
        self._erspan_destinations = frozenset(erspan_destinations)

    def scan(self, batch: Sequence[Received], blacklist: Blacklist) -> ScanResult:
        """Decode every datagram of the batch and match every address pair against one state of the lists."""
        result = ScanResult()
        for payload, sender, received_at in batch:
            self.counters.datagrams += 1
            datagram = self._heard(payload, sender, received_at)
            if datagram is not None:
                self._datagram(datagram, sender, received_at, blacklist, result)
        return result

    def refusals(self) -> list[Refusal]:
        """The latest kinds of datagrams that were not taken, the latest first."""
        return self._refusals.latest()

    def _heard(self, payload: bytes, sender: str, received_at: float) -> Datagram | None:
        """The datagram, unless it is none or is not to be heard; strangers are refused before they cost a decoding."""
        try:
            if not self._admitted(_agent_of(payload), sender):
                return None
            datagram = decode(payload)
        except DecodeError as error:
            reason = reason_of(error)
            self.counters.bad_datagrams[reason] += 1
            self._refusals.note(reason, "", sender)
            return None
        if self.agents is not None:
            self.agents.note(datagram, sender, received_at)
        return datagram

    def _admitted(self, agent: str, sender: str) -> bool:
        refused = None if self._admission is None else self._admission.check(agent, sender)
        if refused is not None:
            self.counters.refused[refused] += 1
            self._refusals.note(refused, agent, sender)
        return refused is None

    def _datagram(
        self, datagram: Datagram, sender: str, received_at: float, blacklist: Blacklist, result: ScanResult
    ) -> None:
        counters = self.counters
        counters.samples += len(datagram.samples)
        for sample in datagram.samples:
            if isinstance(sample, FlowSample):
                if sample.kind == "discard":
                    counters.discards += 1
                else:
                    counters.flow_samples += 1
                result.matches += self.matches_of(sample, datagram.agent, sender, received_at, blacklist)
            elif isinstance(sample, CountersSample):
                counters.counters_samples += 1
                if any(record.tag == TABLE_SPACE for record in sample.records):
                    self._tell_counters(datagram.agent, sample, received_at, result)
            elif isinstance(sample, BadSample):
                counters.bad_samples += 1
            else:
                counters.unknown_samples += 1

    def _tell_counters(self, agent: str, sample: CountersSample, received_at: float, result: ScanResult) -> None:
        """Hand it on, unless that was done often enough this second."""
        if not 0 <= received_at - self._told_since < 1:
            self._told, self._told_since = 0, received_at
        if self._told < MAX_COUNTERS_TOLD_PER_S:
            self._told += 1
            result.counters_samples.append((agent, sample))
        else:
            self.counters.counters_skipped += 1

    def matches_of(
        self, sample: FlowSample, agent: str, sender: str, received_at: float, blacklist: Blacklist
    ) -> list[Match]:
        """The matches of one flow sample, counted; its flow too."""
        pairs, mirror = pairs_of(sample, self._erspan_destinations)
        if mirror:
            self.counters.mirror_samples += 1
        elif not pairs:
            self.counters.without_addresses += 1
        self.counters.pairs += len(pairs)
        if self.flows is not None and sample.kind == "flow":
            self._count_flow(sample, pairs, agent, received_at)
        matches: list[Match] = []
        for pair in pairs:
            source, destination = blacklist.lookup(pair.src_ip), blacklist.lookup(pair.dst_ip)
            if source or destination:
                self.counters.hits += 1
            if source:
                matches.append(_match(sample, pair, agent, sender, received_at, "source", source))
            if destination:
                matches.append(_match(sample, pair, agent, sender, received_at, "destination", destination))
        self.counters.matches += len(matches)
        return matches

    def _count_flow(self, sample: FlowSample, pairs: list[Pair], agent: str, received_at: float) -> None:
        """The innermost pair of the header that was looked at is who talks; a tunnel's ends only carry it."""
        flows, pair = self.flows, innermost(sample.packet, pairs)
        if flows is not None and pair is not None:
            input_, output = _ports(sample)
            flows.add(agent, input_, output, pair, sample.sampling_rate, sample.frame_length, received_at)


def _ports(sample: FlowSample) -> tuple[int, int]:
    """Input and output: what is no ifIndex (a reason, a number of ports) must not pass for one; 0 is unknown."""
    return (
        sample.input if sample.input_format == _IFINDEX else 0,
        sample.output if sample.output_format == _IFINDEX else 0,
    )


def _agent_of(payload: bytes) -> str:
    """The agent that the header names; ``DecodeError`` as ``decode`` raises it where there is none."""
    cursor = Cursor(payload)
    if cursor.left >= _LEAST_HEADER and cursor.u32() == _VERSION:
        agent = cursor.address()
        if agent is not None:
            return agent
    return decode(payload).agent


def _match(
    sample: FlowSample,
    pair: Pair,
    agent: str,
    sender: str,
    received_at: float,
    listed: Literal["source", "destination"],
    indicators: tuple[Indicator, ...],
) -> Match:
    input_, output = _ports(sample)
    return Match(
        agent=agent,
        sender=sender,
        source_class=sample.source_class,
        source_index=sample.source_index,
        input=input_,
        output=output,
        sampling_rate=sample.sampling_rate,
        frame_length=sample.frame_length,
        src_ip=pair.src_ip,
        dst_ip=pair.dst_ip,
        protocol=pair.protocol,
        src_port=pair.src_port,
        dst_port=pair.dst_port,
        tcp_flags=pair.tcp_flags,
        icmp_type=pair.icmp_type,
        layer=pair.layer,
        vni=pair.vni,
        listed=listed,
        indicators=indicators,
        seen_at=received_at,
        discarded=sample.kind == "discard" or sample.output_format == _DISCARDED,
    )
