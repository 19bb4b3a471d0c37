# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# The health of agents: the twin of sflow/agents.py and sflow/sequence.py, with the same bounds and the same rules.
#
# Streams stand in an array, found by a hash of (agent, sub-agent), linked from the longest silent to the latest heard.
# Data sources of all streams stand in one open hash table that grows; a source is never removed but with its stream.

cdef struct Sequence:
    uint32_t highest
    bint begun
    int64_t lost
    uint64_t late
    uint64_t duplicates
    uint64_t restarts
    uint64_t seen

cdef struct Tag:
    uint32_t tag
    bint of_sample
    uint64_t count

cdef struct Stream:
    uint8_t agent[16]
    uint8_t sender[16]
    uint8_t family
    uint8_t sender_family
    bint used
    uint32_t sub_agent
    uint32_t uptime_ms
    int32_t older
    int32_t newer
    Sequence sequence
    double first_seen
    double last_seen
    uint64_t datagrams
    uint64_t samples
    uint64_t drops
    uint64_t bad_samples
    uint64_t bad_records
    uint64_t trailing_octets
    uint32_t sources
    int n_rates
    uint32_t rates[MAX_RATES_C]
    int n_tags
    Tag tags[MAX_TAGS_C]
    uint64_t other_tags

cdef struct Source:
    int32_t stream
    uint32_t kind
    uint32_t source_class
    uint32_t source_index
    Sequence sequence
    uint32_t drops
    bint has_drops


cdef bint sequence_next(Sequence *self, uint32_t number, bint began_anew) noexcept nogil:
    cdef uint32_t ahead
    cdef uint64_t behind
    if not self.begun:
        self.begun = True
        self.highest = number
        self.seen = ~(<uint64_t>0)
        return True
    ahead = number - self.highest
    if began_anew or (ahead > MAX_GAP_C and ahead <= <uint32_t>(0 - WINDOW_C)):
        self.restarts += 1
        self.highest = number
        self.seen = ~(<uint64_t>0)
        return True
    if ahead == 0:
        self.duplicates += 1
        return False
    if ahead <= MAX_GAP_C:
        self.lost += ahead - 1
        self.seen = (self.seen << ahead if ahead < WINDOW_C else 0) | 1
        self.highest = number
        return True
    behind = <uint64_t>1 << (self.highest - number)
    if self.seen & behind:
        self.duplicates += 1
    else:
        self.seen |= behind
        self.late += 1
        self.lost -= 1
    return False


cdef inline bint uptime_went_back(uint32_t before_ms, uint32_t now_ms) noexcept nogil:
    cdef bint wrapped = before_ms >= <uint32_t>(0 - UPTIME_WRAP_C) and now_ms <= UPTIME_WRAP_C
    return <uint64_t>now_ms + UPTIME_SLACK_C < before_ms and not wrapped


cdef inline uint64_t stream_hash(const uint8_t *agent, int family, uint32_t sub_agent) noexcept nogil:
    return mix(word(agent) ^ mix(word(agent + 8) + (<uint64_t>sub_agent << 8) + family))


cdef inline uint64_t source_hash(const Source *key, uint64_t seed) noexcept nogil:
    return folded(
        ((<uint64_t>key.source_class << 32) | key.source_index) ^ <uint64_t>0x9E3779B97F4A7C15,
        ((<uint64_t>key.stream << 2) | key.kind) ^ seed,
    )


@cython.final
cdef class Health:
    """The twin of ``AgentTable``: streams by (agent, sub-agent) with the same bounds; filled by the compiled scan."""

    cdef Stream *_streams
    cdef int32_t _n_streams
    cdef int32_t _room
    cdef int32_t _max_streams
    cdef int32_t *_slots
    cdef uint64_t _slot_mask
    cdef int32_t _oldest
    # Streams that were forgotten, chained by `older`.
    cdef int32_t _free
    cdef int32_t _newest
    cdef Source *_sources
    cdef uint64_t _source_mask
    cdef uint64_t _n_sources
    cdef uint64_t _seed
    cdef readonly uint64_t overflow
    cdef readonly uint64_t sources_overflow

    def __cinit__(self, int max_streams=MAX_AGENT_STREAMS):
        cdef uint64_t slots = 64
        while slots < <uint64_t>max_streams * 2:
            slots *= 2
        self._max_streams = max_streams
        self._slot_mask = slots - 1
        self._slots = <int32_t *>malloc(slots * sizeof(int32_t))
        self._source_mask = 1023
        self._sources = <Source *>calloc(1024, sizeof(Source))
        if self._slots == NULL or self._sources == NULL:
            raise MemoryError
        self._seed = seed_of(self._sources)
        memset(self._slots, 0xFF, slots * sizeof(int32_t))
        self._oldest = self._newest = self._free = -1

    def __dealloc__(self):
        free(self._streams)
        free(self._slots)
        free(self._sources)

    def snapshot(self):
        """Every stream, ordered by agent and sub-agent; not while a batch is scanned."""
        cdef int32_t i
        cdef uint64_t at
        cdef Stream *stream
        lost = {}
        for at in range(self._source_mask + 1):
            if self._sources[at].stream > 0:
                i = self._sources[at].stream - 1
                lost[i] = lost.get(i, 0) + self._sources[at].sequence.lost
        rows = []
        for i in range(self._n_streams):
            stream = &self._streams[i]
            if stream.used:
                rows.append(self._row(stream, lost.get(i, 0)))
        rows.sort(key=lambda row: (row.agent, row.sub_agent))
        return rows

    cdef object _row(self, Stream *stream, samples_lost):
        cdef int i
        tags = {}
        for i in range(stream.n_tags):
            text = f"{stream.tags[i].tag >> 12}:{stream.tags[i].tag & 0xFFF}"
            tags[f"sample {text}" if stream.tags[i].of_sample else text] = stream.tags[i].count
        if stream.other_tags:
            tags["other"] = stream.other_tags
        return AgentHealth(
            agent=text_of(stream.family, stream.agent),
            sub_agent=stream.sub_agent,
            sender=text_of(stream.sender_family, stream.sender) if stream.sender_family else "",
            datagrams=stream.datagrams,
            lost=stream.sequence.lost,
            late=stream.sequence.late,
            duplicates=stream.sequence.duplicates,
            restarts=stream.sequence.restarts,
            samples=stream.samples,
            samples_lost=samples_lost,
            drops=stream.drops,
            sampling_rates=tuple(sorted([stream.rates[i] for i in range(stream.n_rates)])),
            unknown_tags=tags,
            bad_samples=stream.bad_samples,
            bad_records=stream.bad_records,
            trailing_octets=stream.trailing_octets,
            data_sources=stream.sources,
            uptime_ms=stream.uptime_ms,
            first_seen=stream.first_seen,
            last_seen=stream.last_seen,
        )

    cdef Stream *stream_at(self, int32_t i) noexcept nogil:
        return &self._streams[i]

    cdef uint64_t _slot(self, const uint8_t *agent, int family, uint32_t sub_agent) noexcept nogil:
        """Where the stream is, or the free place where it would be."""
        cdef uint64_t at = stream_hash(agent, family, sub_agent) & self._slot_mask
        cdef Stream *stream
        while self._slots[at] != -1:
            stream = &self._streams[self._slots[at]]
            if stream.sub_agent == sub_agent and stream.family == family and memcmp(stream.agent, agent, 16) == 0:
                break
            at = (at + 1) & self._slot_mask
        return at

    cdef void _unlink(self, int32_t i) noexcept nogil:
        cdef Stream *stream = &self._streams[i]
        if stream.older != -1:
            self._streams[stream.older].newer = stream.newer
        else:
            self._oldest = stream.newer
        if stream.newer != -1:
            self._streams[stream.newer].older = stream.older
        else:
            self._newest = stream.older

    cdef void _link_newest(self, int32_t i) noexcept nogil:
        self._streams[i].older = self._newest
        self._streams[i].newer = -1
        if self._newest != -1:
            self._streams[self._newest].newer = i
        else:
            self._oldest = i
        self._newest = i

    cdef int32_t observe(
        self,
        const uint8_t *agent,
        int family,
        uint32_t sub_agent,
        uint32_t sequence,
        uint32_t uptime_ms,
        double now,
        const uint8_t *sender,
        int sender_family,
    ) noexcept nogil:
        """The header of a datagram; the number of its stream, or -1 where there is no room for it."""
        cdef uint64_t at = self._slot(agent, family, sub_agent)
        cdef int32_t i = self._slots[at]
        cdef Stream *stream
        cdef bint anew
        if i == -1:
            i = self._new_stream(now)
            if i == -1:
                self.overflow += 1
                return -1
            # Room may have been made by removing a stream, which moves the others' places.
            at = self._slot(agent, family, sub_agent)
            self._slots[at] = i
            stream = &self._streams[i]
            memset(stream, 0, sizeof(Stream))
            stream.used = True
            memcpy(stream.agent, agent, 16)
            stream.family = family
            stream.sub_agent = sub_agent
            stream.uptime_ms = uptime_ms
            stream.first_seen = now
            self._link_newest(i)
        elif i != self._newest:
            self._unlink(i)
            self._link_newest(i)
        stream = &self._streams[i]
        stream.datagrams += 1
        stream.last_seen = now
        if sender_family:
            stream.sender_family = sender_family
            memcpy(stream.sender, sender, 16)
        anew = uptime_went_back(stream.uptime_ms, uptime_ms)
        if sequence_next(&stream.sequence, sequence, anew):
            stream.uptime_ms = uptime_ms
        return i

    cdef int32_t _new_stream(self, double now) noexcept nogil:
        cdef int32_t i, room
        cdef void *grown
        if self._free == -1 and self._n_streams == self._max_streams:
            self._forget(now)
        i = self._free
        if i != -1:
            self._free = self._streams[i].older
            return i
        if self._n_streams == self._max_streams:
            return -1
        if self._n_streams == self._room:
            room = min(self._max_streams, max(64, self._room * 2))
            grown = realloc(self._streams, room * sizeof(Stream))
            if grown == NULL:
                return -1
            self._streams = <Stream *>grown
            self._room = room
        self._n_streams += 1
        return self._n_streams - 1

    cdef void _forget(self, double now) noexcept nogil:
        """Take out all streams that were silent for long, and their sources: the tables are made anew once for all."""
        cdef int32_t i = self._oldest
        cdef int32_t newer
        cdef uint64_t at, to
        cdef Source *old = self._sources
        cdef Source *fresh
        if i == -1 or now - self._streams[i].last_seen < AGENT_FORGOTTEN_C:
            return
        while i != -1 and now - self._streams[i].last_seen >= AGENT_FORGOTTEN_C:
            newer = self._streams[i].newer
            self._unlink(i)
            self._n_sources -= self._streams[i].sources
            self._streams[i].used = False
            self._streams[i].older = self._free
            self._free = i
            i = newer
        memset(self._slots, 0xFF, (self._slot_mask + 1) * sizeof(int32_t))
        for i in range(self._n_streams):
            if self._streams[i].used:
                at = self._slot(self._streams[i].agent, self._streams[i].family, self._streams[i].sub_agent)
                self._slots[at] = i
        fresh = <Source *>calloc(self._source_mask + 1, sizeof(Source))
        if fresh == NULL:
            # Sources of a stream that is gone are found by nobody else: the next stream there must not inherit them.
            for at in range(self._source_mask + 1):
                if old[at].stream > 0 and not self._streams[old[at].stream - 1].used:
                    old[at].stream = -1
            return
        self._sources = fresh
        for at in range(self._source_mask + 1):
            if old[at].stream > 0 and self._streams[old[at].stream - 1].used:
                to = self._source_slot(&old[at])
                fresh[to] = old[at]
        free(old)

    cdef uint64_t _source_slot(self, const Source *key) noexcept nogil:
        cdef uint64_t at = source_hash(key, self._seed) & self._source_mask
        cdef Source *source
        while self._sources[at].stream:
            source = &self._sources[at]
            if (
                source.source_index == key.source_index
                and source.stream == key.stream
                and source.source_class == key.source_class
                and source.kind == key.kind
            ):
                break
            at = (at + 1) & self._source_mask
        return at

    cdef bint _grow_sources(self) noexcept nogil:
        cdef uint64_t before = self._source_mask, at
        cdef Source *old = self._sources
        cdef Source *fresh = <Source *>calloc((before + 1) * 2, sizeof(Source))
        if fresh == NULL:
            return False
        self._sources = fresh
        self._source_mask = before * 2 + 1
        for at in range(before + 1):
            if old[at].stream > 0:
                fresh[self._source_slot(&old[at])] = old[at]
        free(old)
        return True

    cdef void flow_sample(
        self,
        int32_t i,
        bint discard,
        uint32_t source_class,
        uint32_t source_index,
        uint32_t sequence,
        uint32_t rate,
        uint32_t drops,
    ) noexcept nogil:
        """What the head of a good sample tells of its stream and data source."""
        cdef Stream *stream = &self._streams[i]
        cdef Source key
        cdef Source *source
        cdef uint64_t at, restarts
        cdef uint32_t more
        cdef int n
        stream.samples += 1
        if not discard and stream.n_rates < MAX_RATES_C:
            for n in range(stream.n_rates):
                if stream.rates[n] == rate:
                    break
            else:
                stream.rates[stream.n_rates] = rate
                stream.n_rates += 1
        memset(&key, 0, sizeof(Source))
        key.stream = i + 1
        key.kind = discard
        key.source_class = source_class
        key.source_index = source_index
        at = self._source_slot(&key)
        if not self._sources[at].stream:
            if stream.sources >= MAX_SOURCES_PER_STREAM_C or self._n_sources >= MAX_SOURCES_C:
                self.sources_overflow += 1
                return
            if self._n_sources * 2 >= self._source_mask:
                if not self._grow_sources():
                    self.sources_overflow += 1
                    return
                at = self._source_slot(&key)
            self._sources[at] = key
            stream.sources += 1
            self._n_sources += 1
        source = &self._sources[at]
        restarts = source.sequence.restarts
        if not sequence_next(&source.sequence, sequence, False):
            return
        if source.has_drops and source.sequence.restarts == restarts:
            more = drops - source.drops
            if more < <uint32_t>0x80000000:
                stream.drops += more
        source.drops = drops
        source.has_drops = True

    cdef void unknown_tag(self, int32_t i, uint32_t tag, bint of_sample) noexcept nogil:
        cdef Stream *stream = &self._streams[i]
        cdef int n
        for n in range(stream.n_tags):
            if stream.tags[n].tag == tag and stream.tags[n].of_sample == of_sample:
                stream.tags[n].count += 1
                return
        if stream.n_tags >= MAX_TAGS_C:
            stream.other_tags += 1
            return
        stream.tags[stream.n_tags].tag = tag
        stream.tags[stream.n_tags].of_sample = of_sample
        stream.tags[stream.n_tags].count = 1
        stream.n_tags += 1
