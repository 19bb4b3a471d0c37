# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of each sFlow agent's health: loss, restarts, sampling, and what it sent that could not be used.

A stream is an (agent, sub-agent) pair: datagrams are numbered per stream, samples per data source within it. An agent
restarted when its uptime went back, or its numbers went back by more than reordering explains.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile

from sentinel.limits import (
    AGENT_FORGOTTEN_S,
    MAX_AGENT_STREAMS,
    MAX_DATA_SOURCES,
    MAX_DATA_SOURCES_PER_STREAM,
    MAX_SAMPLING_RATES_KEPT,
    MAX_UNKNOWN_TAGS_KEPT,
    UPTIME_SLACK_MS,
    UPTIME_WRAP_MS,
)
from sentinel.model import FlowSample
from sentinel.sflow.admission import Admission, AdmissionRule
from sentinel.sflow.datagram import BadSample, Datagram, Sample, UnknownSample
from sentinel.sflow.sequence import Sequence

__all__ = ["Admission", "AdmissionRule", "AgentHealth", "AgentTable"]

_U32 = 1 << 32


@dataclass(frozen=True, slots=True)
class AgentHealth:
    """One stream as it stands. ``sender`` is the UDP source of its last datagram; ``*_seen`` in the clock of ``now``.

    ``lost`` counts datagrams by their numbers, ``samples_lost`` flow samples by theirs; ``drops`` are samples that
    the agent itself says it dropped. ``sampling_rates`` were all seen; the tags of ``unknown_tags`` with how often.
    """

    agent: str
    sub_agent: int
    sender: str
    datagrams: int
    lost: int
    late: int
    duplicates: int
    restarts: int
    samples: int
    samples_lost: int
    drops: int
    sampling_rates: tuple[int, ...]
    unknown_tags: Mapping[str, int]
    bad_samples: int
    bad_records: int
    trailing_octets: int
    data_sources: int
    uptime_ms: int
    first_seen: float
    last_seen: float


@dataclass(slots=True)
class _Source:
    sequence: Sequence = field(default_factory=Sequence)
    drops: int | None = None


@dataclass(slots=True)
class _Stream:
    first_seen: float
    last_seen: float
    uptime_ms: int
    sender: str = ""
    datagrams: int = 0
    sequence: Sequence = field(default_factory=Sequence)
    samples: int = 0
    drops: int = 0
    bad_samples: int = 0
    bad_records: int = 0
    trailing_octets: int = 0
    rates: dict[int, None] = field(default_factory=dict)
    unknown_tags: Counter[str] = field(default_factory=Counter)
    sources: dict[tuple[str, int, int], _Source] = field(default_factory=dict)


class AgentTable:
    """Streams by (agent, sub-agent), bounded: at the bound those that have long been silent make room, else nobody.

    ``overflow`` counts datagrams of streams that found no room, ``sources_overflow`` samples of such data sources.
    """

    def __init__(self, max_streams: int = MAX_AGENT_STREAMS) -> None:
        self._max_streams = max_streams
        # Longest silent first.
        self._streams: OrderedDict[tuple[str, int], _Stream] = OrderedDict()
        self._sources = 0
        self.overflow = 0
        self.sources_overflow = 0

    def note(self, decoded: Datagram, sender: str, now: float) -> None:
        """A decoded datagram with all its samples."""
        self.observe(decoded.agent, decoded.sub_agent, decoded.sequence, decoded.uptime_ms, now, sender=sender)
        stream = self._streams.get((decoded.agent, decoded.sub_agent))
        if stream is not None:
            stream.trailing_octets += decoded.trailing
            for sample in decoded.samples:
                self._sample(stream, sample)

    def observe(
        self, agent: str, sub_agent: int, sequence: int, uptime_ms: int, now: float, *, sender: str = ""
    ) -> None:
        """The header of a datagram."""
        key = (agent, sub_agent)
        stream = self._streams.get(key)
        if stream is None:
            if len(self._streams) >= self._max_streams and not self._make_room(now):
                self.overflow += 1
                return
            stream = self._streams[key] = _Stream(now, now, uptime_ms)
        else:
            self._streams.move_to_end(key)
        stream.datagrams += 1
        stream.last_seen = now
        stream.sender = sender or stream.sender
        anew = _uptime_went_back(stream.uptime_ms, uptime_ms)
        if stream.sequence.next(sequence, began_anew=anew):
            stream.uptime_ms = uptime_ms

    def note_sample(self, agent: str, sub_agent: int, sample: Sample) -> None:
        """One sample of a datagram that was observed before."""
        stream = self._streams.get((agent, sub_agent))
        if stream is not None:
            self._sample(stream, sample)

    def snapshot(self) -> list[AgentHealth]:
        """Every stream, ordered by agent and sub-agent; may be called while another thread observes."""
        streams = sorted(self._streams.items(), key=lambda item: item[0])
        return [_health(agent, sub_agent, stream) for (agent, sub_agent), stream in streams]

    def _make_room(self, now: float) -> bool:
        gone = list(takewhile(lambda item: now - item[1].last_seen >= AGENT_FORGOTTEN_S, self._streams.items()))
        for key, stream in gone:
            del self._streams[key]
            self._sources -= len(stream.sources)
        return bool(gone)

    def _sample(self, stream: _Stream, sample: Sample) -> None:
        if isinstance(sample, BadSample):
            stream.bad_samples += 1
            return
        if isinstance(sample, UnknownSample):
            _count_tag(stream.unknown_tags, f"sample {sample.tag}")
            return
        stream.samples += 1
        for record in sample.records:
            if record.name == "unknown":
                _count_tag(stream.unknown_tags, record.tag)
            elif "error" in record.fields:
                stream.bad_records += 1
        if isinstance(sample, FlowSample):
            self._flow_sample(stream, sample)

    def _flow_sample(self, stream: _Stream, sample: FlowSample) -> None:
        if sample.kind == "flow" and len(stream.rates) < MAX_SAMPLING_RATES_KEPT:
            stream.rates[sample.sampling_rate] = None
        key = (sample.kind, sample.source_class, sample.source_index)
        source = stream.sources.get(key)
        if source is None:
            if len(stream.sources) >= MAX_DATA_SOURCES_PER_STREAM or self._sources >= MAX_DATA_SOURCES:
                self.sources_overflow += 1
                return
            source = stream.sources[key] = _Source()
            self._sources += 1
        restarts = source.sequence.restarts
        if not source.sequence.next(sample.sequence):
            return
        if source.drops is not None and source.sequence.restarts == restarts:
            # A counter that went back began anew without its numbers doing so.
            more = (sample.drops - source.drops) % _U32
            stream.drops += more if more < _U32 // 2 else 0
        source.drops = sample.drops


def _uptime_went_back(before_ms: int, now_ms: int) -> bool:
    """Whether an agent's clock started again, rather than two datagrams changing places or 49.7 days being over."""
    wrapped = before_ms >= _U32 - UPTIME_WRAP_MS and now_ms <= UPTIME_WRAP_MS
    return now_ms + UPTIME_SLACK_MS < before_ms and not wrapped


def _count_tag(tags: Counter[str], tag: str) -> None:
    """Under ``other`` from the bound on: tags come from the wire."""
    tags[tag if tag in tags or len(tags) < MAX_UNKNOWN_TAGS_KEPT else "other"] += 1


def _health(agent: str, sub_agent: int, stream: _Stream) -> AgentHealth:
    return AgentHealth(
        agent=agent,
        sub_agent=sub_agent,
        sender=stream.sender,
        datagrams=stream.datagrams,
        lost=stream.sequence.lost,
        late=stream.sequence.late,
        duplicates=stream.sequence.duplicates,
        restarts=stream.sequence.restarts,
        samples=stream.samples,
        samples_lost=sum(source.sequence.lost for source in list(stream.sources.values())),
        drops=stream.drops,
        sampling_rates=tuple(sorted(stream.rates)),
        unknown_tags=dict(stream.unknown_tags),
        bad_samples=stream.bad_samples,
        bad_records=stream.bad_records,
        trailing_octets=stream.trailing_octets,
        data_sources=len(stream.sources),
        uptime_ms=stream.uptime_ms,
        first_seen=stream.first_seen,
        last_seen=stream.last_seen,
    )
