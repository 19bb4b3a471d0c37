# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Datagrams and samples: the twin of scan/plain.py and sflow/datagram.py.

cdef struct Counts:
    uint64_t datagrams
    uint64_t samples
    uint64_t flow_samples
    uint64_t discards
    uint64_t counters_samples
    uint64_t counters_skipped
    uint64_t unknown_samples
    uint64_t bad_samples
    uint64_t mirror_samples
    uint64_t without_addresses


@cython.final
cdef class NativeScan:
    """``PlainScan``, compiled: same arguments but ``health`` and ``flows``, which are of this module; same results."""

    cdef Gate _gate
    cdef readonly Health agents
    cdef readonly Flows flows
    cdef Lookup _lookup
    cdef Counts _counts
    cdef Address _destinations[16]
    cdef int _n_destinations
    # Counter samples told since the second began, and when that was.
    cdef uint32_t _n_told
    cdef double _told_since
    # Of the batch under way.
    cdef Incoming *_incoming
    cdef Py_ssize_t _room
    cdef object _result
    cdef SampleRecord _records[MAX_RECORDS]

    def __cinit__(self):
        self._told_since = -INFINITY

    def __init__(self, admission=None, agents=None, erspan_destinations=(), flows=None):
        if agents is not None and not isinstance(agents, Health):
            raise TypeError("the compiled scan keeps the health of agents in a table of its own: Health")
        if flows is not None and not isinstance(flows, Flows):
            raise TypeError("the compiled scan counts flows in a table of its own: Flows")
        destinations = sorted(set(erspan_destinations))
        if len(destinations) > 16:
            raise ValueError("at most 16 ERSPAN destinations")
        for text in destinations:
            self._destinations[self._n_destinations].family = octets_of(
                text, self._destinations[self._n_destinations].octets
            )
            self._n_destinations += 1
        self._gate = Gate(admission)
        self.agents = agents
        self.flows = flows
        self._lookup = Lookup(flows)

    def __dealloc__(self):
        free(self._incoming)

    @property
    def implementation(self):
        return "native"

    @property
    def counters(self):
        """A copy."""
        mine = self._counts
        return ScanCounters(
            datagrams=mine.datagrams,
            refused=self._gate.counted(UNKNOWN_AGENT, FOREIGN_SENDER),
            bad_datagrams=self._gate.counted(TOO_LONG, TRUNCATED),
            samples=mine.samples,
            flow_samples=mine.flow_samples,
            discards=mine.discards,
            counters_samples=mine.counters_samples,
            counters_skipped=mine.counters_skipped,
            unknown_samples=mine.unknown_samples,
            bad_samples=mine.bad_samples,
            mirror_samples=mine.mirror_samples,
            without_addresses=mine.without_addresses,
            pairs=self._lookup.pairs,
            hits=self._lookup.hits,
            matches=self._lookup.matches,
        )

    def refusals(self):
        """As ``PlainScan.refusals``; not while a batch is scanned."""
        return self._gate.latest()

    def scan(self, batch, blacklist):
        """As ``PlainScan.scan``: every datagram of the batch against one state of the lists."""
        cdef Py_ssize_t count
        held = None if isinstance(batch, Batch) else list(batch)
        self._result = result = ScanResult()
        self._lookup.begin(frozen(blacklist), result.matches)
        self._reserve(len(batch) if held is None else len(held))
        count = self._take_over(batch) if held is None else self._take_in(held)
        try:
            with nogil:
                self._scan(count)
        finally:
            self._lookup.begin(None, None)
            self._result = None
            self._let_go(count)
        return result

    cdef int _reserve(self, Py_ssize_t count) except -1:
        cdef void *grown
        if count > self._room:
            grown = realloc(self._incoming, count * sizeof(Incoming))
            if grown == NULL:
                raise MemoryError
            self._incoming = <Incoming *>grown
            self._room = count
        return 0

    cdef Py_ssize_t _take_in(self, list held) except -1:
        cdef Py_ssize_t i, size
        cdef char *octets
        cdef Incoming *one
        cdef const char *text
        for i in range(len(held)):
            payload, sender, at = held[i]
            one = &self._incoming[i]
            memset(one, 0, sizeof(Incoming))
            PyBytes_AsStringAndSize(payload, &octets, &size)
            one.data = apart(<const uint8_t *>octets, size)
            one.size = size
            one.at = at
            one.sender_text = <PyObject *>sender
            text = PyUnicode_AsUTF8AndSize(sender, NULL)
            if inet_pton(AF_INET, text, one.sender) == 1:
                one.sender_family = 4
            elif inet_pton(AF_INET6, text, one.sender) == 1:
                one.sender_family = 6
        return len(held)

    cdef Py_ssize_t _take_over(self, Batch batch) noexcept:
        """Datagrams as the compiled receiver holds them: nothing is copied, nothing becomes an object."""
        cdef Py_ssize_t i
        cdef Incoming *one
        cdef const Slot *slot
        for i in range(batch.count):
            one = &self._incoming[i]
            slot = &batch.slots[i]
            memset(one, 0, sizeof(Incoming))
            one.data = apart(slot.data, slot.size)
            one.size = slot.size
            one.at = batch.at
            memcpy(one.sender, slot.sender, 16)
            one.sender_family = slot.family
        return batch.count

    cdef void _let_go(self, Py_ssize_t count) noexcept:
        cdef Py_ssize_t i
        if EXACT_COPIES:
            for i in range(count):
                let_go(self._incoming[i].data)
                self._incoming[i].data = NULL

    # --- datagrams -------------------------------------------------------------------------------

    cdef int _scan(self, Py_ssize_t count) except -1 nogil:
        cdef Py_ssize_t i
        for i in range(count):
            if i + 1 < count:
                prefetch(self._incoming[i + 1].data)
            self._counts.datagrams += 1
            self._datagram(&self._incoming[i])
        return self._lookup.end()

    cdef int _datagram(self, Incoming *incoming) except -1 nogil:
        cdef const uint8_t *data = incoming.data
        cdef int64_t at
        cdef int reason = agent_of(incoming)
        cdef int32_t stream = -1
        cdef int number = -1
        if reason != HEARD:
            self._gate.refuse(reason, incoming)
            return 0
        # Strangers are told as such before anything else is read.
        if not self._gate.hears(incoming):
            return 0
        at = 12 if incoming.agent_family == 4 else 24
        if incoming.size > MAX_DATAGRAM_C or incoming.size < at + 16:
            self._gate.refuse(TOO_LONG if incoming.size > MAX_DATAGRAM_C else TRUNCATED, incoming)
            return 0
        if self.agents is not None:
            stream = self.agents.observe(
                incoming.agent,
                incoming.agent_family,
                be32(data + at),
                be32(data + at + 4),
                be32(data + at + 8),
                incoming.at,
                incoming.sender,
                incoming.sender_family,
            )
        if self.flows is not None:
            number = self.flows.agent_number(incoming.agent, incoming.agent_family)
        return self._samples(incoming, stream, number, at + 16, be32(data + at + 12))

    cdef int _samples(
        self, Incoming *incoming, int32_t stream, int number, int64_t at, uint32_t announced
    ) except -1 nogil:
        cdef const uint8_t *data = incoming.data
        cdef const uint8_t *sample
        cdef int64_t end = incoming.size, begin, size
        cdef uint32_t index = 0, tag
        while index < announced:
            self._counts.samples += 1
            if end - at < 8:
                self._bad(stream)
                at = end
                break
            tag = be32(data + at)
            size = be32(data + at + 4)
            begin = at + 8
            if size > end - begin:
                self._bad(stream)
                at = end
                break
            if tag == 1 or tag == 3 or tag == 5:
                sample = apart(data + begin, size)
                self._flow_sample(incoming, stream, number, tag, sample, size)
                let_go(sample)
            elif tag == 2 or tag == 4:
                self._counters_sample(incoming, stream, index, tag, begin, begin + size)
            else:
                self._counts.unknown_samples += 1
                if stream >= 0:
                    self.agents.unknown_tag(stream, tag, True)
            at = behind(NULL, data, begin, begin + size, end)
            index += 1
        if stream >= 0:
            self.agents.stream_at(stream).trailing_octets += end - at
        return 0

    cdef void _bad(self, int32_t stream) noexcept nogil:
        self._counts.bad_samples += 1
        if stream >= 0:
            self.agents.stream_at(stream).bad_samples += 1

    # --- samples ---------------------------------------------------------------------------------

    cdef int _flow_sample(
        self, Incoming *incoming, int32_t stream, int number, uint32_t tag, const uint8_t *data, int64_t end
    ) except -1 nogil:
        cdef const uint8_t *header
        cdef SampleRecord *record
        cdef Sample *sample
        cdef Head *head
        cdef uint32_t announced
        cdef int n, i, n_header, bad_records = 0, depth = 0
        cdef bint telling = False
        cdef int64_t size
        if end < (44 if tag == 3 else 32):
            self._bad(stream)
            return 0
        sample = self._lookup.place()
        sample.incoming = incoming
        head = &sample.head
        announced = read_head(data, tag, head)
        n = records_in(&FLOW_RECORDS, data, 44 if tag == 3 else 32, end, announced, self._records)
        if n < 0:
            self._bad(stream)
            return 0
        records_apart(self._records, n)
        for i in range(n):
            record = &self._records[i]
            if record.tag == 1 and record.size >= 16:
                size = be32(record.body + 12)
                bad_records += size > record.size - 16
                if depth == 0:
                    head.frame_length = be32(record.body + 4)
                    size = min(size, record.size - 16)
                    header = apart(record.body + 16, size)
                    depth = walk(header, size, be32(record.body), sample.layers)
                    let_go(header)
            elif record.layout >= 0:
                bad_records += is_cut(record)
                if record.tag == 1 and depth == 0:
                    head.frame_length = 0
                telling = telling or tells_of_pairs(record.tag)
        if depth == 0:
            depth = from_records(self._records, n, sample.layers, &head.frame_length)
        n_header = self._pairs_of(sample, depth, n if telling else 0)
        records_let_go(self._records, n)
        self._lookup.fetch(sample)
        if head.discard:
            self._counts.discards += 1
        else:
            self._counts.flow_samples += 1
        if stream >= 0:
            self.agents.flow_sample(
                stream, head.discard, head.source_class, head.source_index, head.sequence, head.rate, head.drops
            )
            self._note_records(stream, n, bad_records)
        self._lookup.add(number, n_header)
        return 0

    cdef inline int _pairs_of(self, Sample *sample, int depth, int n_telling) noexcept nogil:
        """Fill in the pairs of ``depth`` layers and of ``n_telling`` records; how many are the layers'."""
        cdef bint mirror = header_pairs(sample, depth, self._destinations, self._n_destinations)
        cdef int n_header = sample.n_pairs
        if mirror:
            self._counts.mirror_samples += 1
        elif n_telling:
            told_pairs(sample, depth, self._records, n_telling, self._destinations, self._n_destinations)
        if not mirror and sample.n_pairs == 0:
            self._counts.without_addresses += 1
        return n_header

    cdef inline void _note_records(self, int32_t stream, int n, int bad_records) noexcept nogil:
        cdef int i
        self.agents.stream_at(stream).bad_records += bad_records
        for i in range(n):
            if self._records[i].layout < 0:
                self.agents.unknown_tag(stream, self._records[i].tag, False)

    cdef int _counters_sample(
        self, Incoming *incoming, int32_t stream, uint32_t index, uint32_t tag, int64_t at, int64_t end
    ) except -1 nogil:
        cdef int64_t head = 12 if tag == 2 else 16
        cdef int n, i, bad_records = 0
        if end - at < head:
            self._bad(stream)
            return 0
        n = records_in(
            &COUNTER_RECORDS, incoming.data, at + head, end, be32(incoming.data + at + head - 4), self._records
        )
        if n < 0:
            self._bad(stream)
            return 0
        self._counts.counters_samples += 1
        if stream >= 0:
            records_apart(self._records, n)
            for i in range(n):
                if self._records[i].layout >= 0:
                    bad_records += is_cut(&self._records[i])
            records_let_go(self._records, n)
            self.agents.stream_at(stream).samples += 1
            self._note_records(stream, n, bad_records)
        for i in range(n):
            if self._records[i].tag == TABLE_SPACE_C:
                if self._may_tell(incoming.at):
                    return self._tell_counters(incoming, index, tag, at, end)
                self._counts.counters_skipped += 1
                break
        return 0

    cdef inline bint _may_tell(self, double at) noexcept nogil:
        if not 0 <= at - self._told_since < 1:
            self._told_since = at
            self._n_told = 0
        if self._n_told >= MAX_COUNTERS_TOLD_C:
            return False
        self._n_told += 1
        return True

    cdef int _tell_counters(
        self, const Incoming *incoming, uint32_t index, uint32_t tag, int64_t at, int64_t end
    ) except -1 with gil:
        sample = one_sample(incoming.data[:end], index, tag, at, end - at)
        self._result.counters_samples.append((text_of(incoming.agent_family, incoming.agent), sample))
        return 0


def frozen(blacklist):
    """The tables of these lists, made at the first call: a loader calls before it puts the lists in force."""
    if blacklist.compiled is None:
        blacklist.compiled = Frozen(blacklist)
    return blacklist.compiled
