# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Datagrams, samples, pairs: the twin of scan/plain.py, scan/pairs.py and sflow/datagram.py.

@cython.final
cdef class NativeScan:
    """``PlainScan``, compiled: same arguments but ``health`` and ``flows``, which are of this module; same results."""

    cdef object _plain
    cdef object _admission
    cdef readonly Health agents
    cdef readonly Flows flows
    cdef readonly uint64_t handed_over
    cdef Counts _counts
    cdef Address _destinations[16]
    cdef int _n_destinations
    cdef Admitted *_admitted
    cdef uint32_t *_admitted_slots
    cdef uint32_t _n_admitted
    # Of the batch under way.
    cdef Incoming *_incoming
    cdef Py_ssize_t _room
    cdef Frozen _tables
    cdef object _blacklist
    cdef object _result
    cdef list _matches
    cdef Sample _queue[QUEUE]
    cdef int _n_queue
    cdef Candidate _candidates[CANDIDATES]
    cdef int _n_candidates
    cdef Hit _hits[HITS]
    cdef int _n_hits

    def __cinit__(self):
        self._admitted = <Admitted *>malloc(MAX_ADMITTED_C * sizeof(Admitted))
        self._admitted_slots = <uint32_t *>calloc(ADMITTED_SLOTS, sizeof(uint32_t))
        if self._admitted == NULL or self._admitted_slots == NULL:
            raise MemoryError

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
        self._admission = admission
        self.agents = agents
        self.flows = flows
        self._plain = PlainScan(admission, None, destinations, flows)

    def __dealloc__(self):
        free(self._incoming)
        free(self._admitted)
        free(self._admitted_slots)

    @property
    def implementation(self):
        return "native"

    @property
    def counters(self):
        """A copy; the counts by reason are the scan's own."""
        mine, plain = self._counts, self._plain.counters
        return ScanCounters(
            datagrams=mine.datagrams,
            refused=plain.refused,
            bad_datagrams=plain.bad_datagrams,
            samples=mine.samples,
            flow_samples=mine.flow_samples,
            discards=mine.discards,
            counters_samples=mine.counters_samples,
            unknown_samples=mine.unknown_samples,
            bad_samples=mine.bad_samples,
            mirror_samples=mine.mirror_samples + plain.mirror_samples,
            without_addresses=mine.without_addresses + plain.without_addresses,
            pairs=mine.pairs + plain.pairs,
            hits=mine.hits + plain.hits,
            matches=mine.matches + plain.matches,
        )

    def scan(self, batch, blacklist):
        """As ``PlainScan.scan``: every datagram of the batch against one state of the lists."""
        cdef Py_ssize_t count
        held = None if isinstance(batch, Batch) else list(batch)
        self._tables = frozen(blacklist)
        self._blacklist = blacklist
        self._result = result = ScanResult()
        self._matches = result.matches
        self._reserve(len(batch) if held is None else len(held))
        count = self._take_over(batch) if held is None else self._take_in(held)
        try:
            with nogil:
                self._scan(count)
        finally:
            self._n_queue = self._n_hits = 0
            self._result = self._blacklist = self._matches = None
            self._free_copies(count)
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
            one.data = <const uint8_t *>octets
            one.size = size
            one.at = at
            one.sender_text = <PyObject *>sender
            text = PyUnicode_AsUTF8AndSize(sender, NULL)
            if inet_pton(AF_INET, text, one.sender) == 1:
                one.sender_family = 4
            elif inet_pton(AF_INET6, text, one.sender) == 1:
                one.sender_family = 6
            self._copy_exactly(one)
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
            one.data = slot.data
            one.size = slot.size
            one.at = batch.at
            memcpy(one.sender, slot.sender, 16)
            one.sender_family = slot.family
            self._copy_exactly(one)
        return batch.count

    cdef void _copy_exactly(self, Incoming *one) noexcept:
        cdef void *copied
        if EXACT_COPIES:
            copied = malloc(one.size)
            memcpy(copied, one.data, one.size)
            one.data = <const uint8_t *>copied

    cdef void _free_copies(self, Py_ssize_t count) noexcept:
        cdef Py_ssize_t i
        if not EXACT_COPIES:
            return
        for i in range(count):
            free(<void *>self._incoming[i].data)
            self._incoming[i].data = NULL

    # --- datagrams -------------------------------------------------------------------------------

    cdef int _scan(self, Py_ssize_t count) except -1 nogil:
        cdef Py_ssize_t i
        for i in range(count):
            if i + 1 < count:
                prefetch(self._incoming[i + 1].data)
            self._counts.datagrams += 1
            self._datagram(&self._incoming[i])
        self._look_up()
        return self._tell() if self._n_hits else 0

    cdef int _datagram(self, Incoming *incoming) except -1 nogil:
        cdef const uint8_t *data = incoming.data
        cdef int64_t end = incoming.size, at
        cdef uint32_t kind, sub_agent, sequence, uptime_ms, announced
        cdef int32_t stream = -1
        cdef int number = -1
        if end > MAX_DATAGRAM_C or end < 28 or be32(data) != 5:
            self._no_datagram(incoming)
            return 0
        kind = be32(data + 4)
        if kind == 1:
            memcpy(incoming.agent, data + 8, 4)
            incoming.agent_family = 4
            at = 12
        elif kind == 2 and end >= 40:
            memcpy(incoming.agent, data + 8, 16)
            incoming.agent_family = 6
            at = 24
        else:
            self._no_datagram(incoming)
            return 0
        if not self._is_admitted(incoming):
            return 0
        sub_agent = be32(data + at)
        sequence = be32(data + at + 4)
        uptime_ms = be32(data + at + 8)
        announced = be32(data + at + 12)
        if self.agents is not None:
            stream = self.agents.observe(
                incoming.agent,
                incoming.agent_family,
                sub_agent,
                sequence,
                uptime_ms,
                incoming.at,
                incoming.sender,
                incoming.sender_family,
            )
        if self.flows is not None:
            number = self.flows.agent_number(incoming.agent, incoming.agent_family)
        return self._samples(incoming, stream, number, at + 16, announced)

    cdef int _samples(
        self, Incoming *incoming, int32_t stream, int number, int64_t at, uint32_t announced
    ) except -1 nogil:
        cdef const uint8_t *data = incoming.data
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
                self._flow_sample(incoming, stream, number, index, tag, begin, begin + size)
            elif tag == 2 or tag == 4:
                self._hand_over(incoming, stream, index, tag, begin, size)
            else:
                self._counts.unknown_samples += 1
                if stream >= 0:
                    self.agents.unknown_tag(stream, tag, True)
            at = behind(data, begin, begin + size, end, True)
            index += 1
        if stream >= 0:
            self.agents.stream_at(stream).trailing_octets += end - at
        return 0

    cdef void _bad(self, int32_t stream) noexcept nogil:
        self._counts.bad_samples += 1
        if stream >= 0:
            self.agents.stream_at(stream).bad_samples += 1

    # --- flow samples ----------------------------------------------------------------------------

    cdef int _flow_sample(
        self, Incoming *incoming, int32_t stream, int number, uint32_t index, uint32_t tag, int64_t at, int64_t end
    ) except -1 nogil:
        cdef const uint8_t *data = incoming.data
        cdef FlowRecord records[MAX_RECORDS]
        cdef Sample *sample
        cdef Layer *layers
        cdef Head *head
        cdef FlowRecord *record
        cdef uint32_t announced
        cdef int n = 0, i, cut, bad_records = 0, depth = 0
        cdef int64_t begin = at, size
        if end - at < (44 if tag == 3 else 32):
            self._bad(stream)
            return 0
        if self._n_queue == QUEUE:
            self._look_up()
        sample = &self._queue[self._n_queue]
        sample.incoming = incoming
        layers = sample.layers
        head = &sample.head
        announced = read_head(data + at, tag, head)
        at += 44 if tag == 3 else 32
        while <uint32_t>n < announced:
            if end - at < 8:
                self._bad(stream)
                return 0
            size = be32(data + at + 4)
            if size > end - at - 8:
                self._bad(stream)
                return 0
            if n == MAX_RECORDS:
                return self._hand_over(incoming, stream, index, tag, begin, end - begin)
            record = &records[n]
            record.tag = be32(data + at)
            record.layout = layout_of(record.tag)
            record.at = at + 8
            record.end = record.at + size
            at = behind(data, record.at, record.end, end, False)
            n += 1
        for i in range(n):
            record = &records[i]
            if record.layout < 0:
                continue
            if record.tag == 1007 or record.tag == 1020 or 1023 <= record.tag <= 1026:
                return self._hand_over(incoming, stream, index, tag, begin, end - begin)
            cut = body_error(record.layout, data, record.at, record.end)
            if cut == 2:
                return self._hand_over(incoming, stream, index, tag, begin, end - begin)
            bad_records += cut
            if record.tag == 1 and depth == 0:
                head.frame_length = 0
                if record.end - record.at >= 16:
                    head.frame_length = be32(data + record.at + 4)
                    size = min(<int64_t>be32(data + record.at + 12), record.end - record.at - 16)
                    depth = walk(data + record.at + 16, size, be32(data + record.at), layers)
        if depth == 0:
            depth = from_records(data, records, n, layers, &head.frame_length)
            if depth < 0:
                return self._hand_over(incoming, stream, index, tag, begin, end - begin)
        if head.discard:
            self._counts.discards += 1
        else:
            self._counts.flow_samples += 1
        if stream >= 0:
            self.agents.flow_sample(
                stream, head.discard, head.source_class, head.source_index, head.sequence, head.rate, head.drops
            )
            self.agents.stream_at(stream).bad_records += bad_records
            for i in range(n):
                if records[i].layout < 0:
                    self.agents.unknown_tag(stream, records[i].tag, False)
        return self._pairs_of(sample, number, depth)

    cdef int _pairs_of(self, Sample *sample, int number, int depth) except -1 nogil:
        cdef Layer *layer = NULL
        cdef Layer *other
        cdef int i, k, n = 0
        cdef int64_t vni = -1
        cdef bint mirror = False
        for i in range(depth):
            layer = &sample.layers[i]
            if layer.family:
                if self._n_destinations and self._is_destination(layer):
                    mirror = True
                    break
                for k in range(n):
                    other = &sample.layers[sample.pairs[k].layer]
                    if (
                        other.family == layer.family
                        and memcmp(other.src, layer.src, 16) == 0
                        and memcmp(other.dst, layer.dst, 16) == 0
                    ):
                        break
                else:
                    sample.pairs[n].layer = i
                    sample.pairs[n].vni = vni
                    n += 1
                    self._prefetch(layer)
            if layer.mirror:
                mirror = True
                break
            if layer.vni >= 0:
                vni = layer.vni
        if mirror:
            self._counts.mirror_samples += 1
        elif n == 0:
            self._counts.without_addresses += 1
        self._counts.pairs += n
        sample.n_pairs = n
        sample.counted = False
        if n == 0:
            return 0
        if self.flows is not None and not sample.head.discard:
            if number < 0:
                self.flows.evict()
            else:
                self._flow_of(sample, &sample.layers[sample.pairs[n - 1].layer], number)
        self._n_queue += 1
        return 0

    cdef inline void _prefetch(self, const Layer *layer) noexcept nogil:
        if layer.family == 4:
            prefetch4(&self._tables.v4, be32(layer.src))
            prefetch4(&self._tables.v4, be32(layer.dst))
        else:
            prefetch6(&self._tables.v6, be64(layer.src))
            prefetch6(&self._tables.v6, be64(layer.dst))

    cdef inline void _flow_of(self, Sample *sample, const Layer *layer, int number) noexcept nogil:
        cdef FlowKey *key = &sample.flow
        memcpy(key.src, layer.src, 16)
        memcpy(key.dst, layer.dst, 16)
        key.agent = number
        key.input = sample.head.input
        key.output = sample.head.output
        key.shape = layer.family
        shape_key(key, layer.protocol, layer.src_port, layer.dst_port, sample.pairs[sample.n_pairs - 1].vni)
        sample.counted = True
        sample.flow_hash = self.flows.hash_of(key)
        self.flows.prefetch_slot(sample.flow_hash)

    cdef inline bint _is_destination(self, const Layer *layer) noexcept nogil:
        cdef int i
        for i in range(self._n_destinations):
            if (
                self._destinations[i].family == layer.family
                and memcmp(self._destinations[i].octets, layer.dst, 16) == 0
            ):
                return True
        return False

    # --- looking up ------------------------------------------------------------------------------

    cdef int _look_up(self) except -1 nogil:
        """Ask for the pairs of all samples that wait, and count their flows; each pass fetches what the next needs."""
        cdef int i
        cdef Sample *sample
        self._n_candidates = 0
        for i in range(self._n_queue):
            if self._queue[i].counted:
                self.flows.prefetch_row(self._queue[i].flow_hash)
            self._gather(i)
        if self._n_candidates:
            for i in range(self._n_candidates):
                self._prefetch_starts(&self._candidates[i])
            self._ask_tables()
        for i in range(self._n_queue):
            sample = &self._queue[i]
            if sample.counted:
                self.flows.count_hashed(
                    &sample.flow, sample.flow_hash, sample.head.rate, sample.head.frame_length, sample.incoming.at
                )
        self._n_queue = 0
        return 0

    cdef inline void _gather(self, int at) noexcept nogil:
        """The sample's addresses that may be listed become candidates, in the order of its pairs."""
        cdef Sample *sample = &self._queue[at]
        cdef Layer *layer
        cdef int k
        for k in range(sample.n_pairs):
            layer = &sample.layers[sample.pairs[k].layer]
            if layer.family == 4:
                if maybe4(&self._tables.v4, be32(layer.src)):
                    self._candidate(at, k, False, 4, be32(layer.src), 0)
                if maybe4(&self._tables.v4, be32(layer.dst)):
                    self._candidate(at, k, True, 4, be32(layer.dst), 0)
            else:
                if maybe6(&self._tables.v6, be64(layer.src)):
                    self._candidate(at, k, False, 6, be64(layer.src), be64(layer.src + 8))
                if maybe6(&self._tables.v6, be64(layer.dst)):
                    self._candidate(at, k, True, 6, be64(layer.dst), be64(layer.dst + 8))

    cdef inline void _candidate(
        self, int sample, int pair, bint destination, int family, uint64_t high, uint64_t low
    ) noexcept nogil:
        cdef Candidate *one = &self._candidates[self._n_candidates]
        self._n_candidates += 1
        one.sample = sample
        one.pair = pair
        one.destination = destination
        one.family = family
        one.high = high
        one.low = low
        if family == 4:
            prefetch(&self._tables.v4.index[high >> 16])
        else:
            prefetch_index6(&self._tables.v6, high)

    cdef inline void _prefetch_starts(self, const Candidate *one) noexcept nogil:
        if one.family == 4:
            prefetch_starts4(&self._tables.v4, <uint32_t>one.high)
        else:
            prefetch_starts6(&self._tables.v6, one.high)

    cdef int _ask_tables(self) except -1 nogil:
        """Candidates of one pair stand behind one another, the source first."""
        cdef int i = 0
        cdef Candidate *one
        cdef uint32_t source, destination, found
        cdef int sample, pair
        while i < self._n_candidates:
            source = destination = NONE
            sample = self._candidates[i].sample
            pair = self._candidates[i].pair
            while i < self._n_candidates:
                one = &self._candidates[i]
                if one.sample != sample or one.pair != pair:
                    break
                if one.family == 4:
                    found = self._tables.listed4(<uint32_t>one.high)
                else:
                    found = self._tables.listed6(one.high, one.low)
                if one.destination:
                    destination = found
                else:
                    source = found
                i += 1
            if source != NONE or destination != NONE:
                self._counts.hits += 1
                self._counts.matches += (source != NONE) + (destination != NONE)
                self._hit(&self._queue[sample], pair, source, destination)
        return 0

    cdef int _hit(self, const Sample *sample, int pair, uint32_t source, uint32_t destination) except -1 nogil:
        cdef Hit *hit
        if self._n_hits == HITS:
            self._tell()
        hit = &self._hits[self._n_hits]
        self._n_hits += 1
        hit.incoming = sample.incoming
        hit.head = sample.head
        hit.pair = sample.pairs[pair]
        hit.layer = sample.layers[hit.pair.layer]
        hit.source = source
        hit.destination = destination
        return 0

    # --- what Python is told ---------------------------------------------------------------------

    cdef int _tell(self) except -1 with gil:
        """The hits gathered so far become matches."""
        cdef int i
        cdef Hit *hit
        for i in range(self._n_hits):
            hit = &self._hits[i]
            if hit.source != NONE:
                self._matches.append(
                    self._match(hit, "source", self._tables._indicators(hit.layer.family, hit.source))
                )
            if hit.destination != NONE:
                self._matches.append(
                    self._match(hit, "destination", self._tables._indicators(hit.layer.family, hit.destination))
                )
        self._n_hits = 0
        return 0

    cdef object _match(self, const Hit *hit, str listed, tuple indicators):
        cdef const Head *head = &hit.head
        cdef const Incoming *incoming = hit.incoming
        cdef const Layer *layer = &hit.layer
        return made_match((
            text_of(incoming.agent_family, incoming.agent),
            sender_of(incoming),
            head.source_class,
            head.source_index,
            head.input,
            head.output,
            head.rate,
            head.frame_length,
            text_of(layer.family, layer.src),
            text_of(layer.family, layer.dst),
            optional(layer.protocol),
            optional(layer.src_port),
            optional(layer.dst_port),
            optional(layer.tcp_flags),
            optional(layer.icmp_type),
            hit.pair.layer,
            optional(hit.pair.vni),
            listed,
            indicators,
            incoming.at,
            True if head.discarded else False,
        ))

    cdef int _no_datagram(self, Incoming *incoming) except -1 with gil:
        """The plain twin says why it is none, or whether it would have been refused before."""
        self._plain._heard(incoming.data[: incoming.size], sender_of(incoming), incoming.at)
        return 0

    cdef int _hand_over(
        self, Incoming *incoming, int32_t stream, uint32_t index, uint32_t tag, int64_t at, int64_t size
    ) except -1 nogil:
        """A sample that the plain twin decodes, in its turn."""
        self._look_up()
        return self._by_twin(incoming, stream, index, tag, at, size)

    cdef int _by_twin(
        self, Incoming *incoming, int32_t stream, uint32_t index, uint32_t tag, int64_t at, int64_t size
    ) except -1 with gil:
        self._tell()
        agent = text_of(incoming.agent_family, incoming.agent)
        # Of the whole datagram, as errors name their offset in it.
        sample = one_sample(incoming.data[: incoming.size], index, tag, at, size)
        if isinstance(sample, BadSample):
            self._bad(stream)
            return 0
        if isinstance(sample, CountersSample):
            self._counts.counters_samples += 1
            self._result.counters_samples.append((agent, sample))
            if stream >= 0:
                self.agents.stream_at(stream).samples += 1
                self._records_of(sample, stream)
            return 0
        self.handed_over += 1
        if sample.kind == "discard":
            self._counts.discards += 1
        else:
            self._counts.flow_samples += 1
        if stream >= 0:
            self._records_of(sample, stream)
            self.agents.flow_sample(
                stream,
                sample.kind == "discard",
                sample.source_class,
                sample.source_index,
                sample.sequence,
                sample.sampling_rate,
                sample.drops,
            )
        self._matches += self._plain.matches_of(
            sample, agent, sender_of(incoming), incoming.at, self._blacklist
        )
        return 0

    cdef int _records_of(self, sample, int32_t stream) except -1:
        for record in sample.records:
            if record.name == "unknown":
                self.agents.unknown_tag(stream, tag_number(record.tag), False)
            elif "error" in record.fields:
                self.agents.stream_at(stream).bad_records += 1
        return 0

    # --- who is heard ----------------------------------------------------------------------------

    cdef bint _is_admitted(self, Incoming *incoming) except -1 nogil:
        cdef uint64_t at
        cdef Admitted *known
        if self._admission is None:
            return True
        if not incoming.sender_family:
            return self._ask(incoming)
        at = mix(
            word(incoming.agent) ^ mix(word(incoming.agent + 8) ^ mix(word(incoming.sender) + incoming.agent_family))
        ) & (ADMITTED_SLOTS - 1)
        while self._admitted_slots[at]:
            known = &self._admitted[self._admitted_slots[at] - 1]
            if (
                known.agent_family == incoming.agent_family
                and known.sender_family == incoming.sender_family
                and memcmp(known.agent, incoming.agent, 16) == 0
                and memcmp(known.sender, incoming.sender, 16) == 0
            ):
                return True
            at = (at + 1) & (ADMITTED_SLOTS - 1)
        if not self._ask(incoming):
            return False
        if self._n_admitted < MAX_ADMITTED_C:
            known = &self._admitted[self._n_admitted]
            memcpy(known.agent, incoming.agent, 16)
            memcpy(known.sender, incoming.sender, 16)
            known.agent_family = incoming.agent_family
            known.sender_family = incoming.sender_family
            self._n_admitted += 1
            self._admitted_slots[at] = self._n_admitted
        return True

    cdef bint _ask(self, Incoming *incoming) except -1 with gil:
        return self._plain._admitted(text_of(incoming.agent_family, incoming.agent), sender_of(incoming))


cdef inline uint32_t read_head(const uint8_t *at, uint32_t tag, Head *head) noexcept nogil:
    """The fixed part of a flow sample or discarded packet, whose octets are there; the number of records."""
    cdef uint32_t input_format = 0, output_format = 0, announced
    head.sequence = be32(at)
    head.discard = tag == 5
    head.rate = 1
    head.frame_length = 0
    if tag == 1:
        head.source_class = be32(at + 4) >> 24
        head.source_index = be32(at + 4) & 0xFFFFFF
        head.rate = be32(at + 8)
        head.drops = be32(at + 16)
        head.input = be32(at + 20) & 0x3FFFFFFF
        input_format = be32(at + 20) >> 30
        head.output = be32(at + 24) & 0x3FFFFFFF
        output_format = be32(at + 24) >> 30
        announced = be32(at + 28)
    elif tag == 3:
        head.source_class = be32(at + 4)
        head.source_index = be32(at + 8)
        head.rate = be32(at + 12)
        head.drops = be32(at + 20)
        input_format = be32(at + 24)
        head.input = be32(at + 28)
        output_format = be32(at + 32)
        head.output = be32(at + 36)
        announced = be32(at + 40)
    else:
        head.source_class = be32(at + 4)
        head.source_index = be32(at + 8)
        head.drops = be32(at + 12)
        head.input = be32(at + 16)
        head.output = be32(at + 20)
        announced = be32(at + 28)
    head.discarded = head.discard or output_format == 1
    # What is no ifIndex must not pass for one.
    if input_format:
        head.input = 0
    if output_format:
        head.output = 0
    return announced


cdef int from_records(
    const uint8_t *data, const FlowRecord *records, int n, Layer *layers, uint32_t *frame_length
) noexcept nogil:
    """The one layer that sampled_ethernet, sampled_ipv4 and sampled_ipv6 tell of; -1 where one is cut: not ours."""
    cdef Layer *layer = layers
    cdef const FlowRecord *record
    cdef const uint8_t *at
    cdef uint32_t link_length = 0, ip_length = 0
    cdef bint link = False
    cdef int i
    layer_clear(layer)
    for i in range(n):
        record = &records[i]
        at = data + record.at
        if record.tag == 2:
            if record.end - record.at < 24:
                return -1
            if not link:
                link = True
                link_length = be32(at)
        elif record.tag == 3 or record.tag == 4:
            if record.end - record.at < (32 if record.tag == 3 else 56):
                return -1
            if layer.family:
                continue
            ip_length = be32(at)
            layer.protocol = be32(at + 4)
            if record.tag == 3:
                layer.family = 4
                memset(layer.src, 0, 16)
                memset(layer.dst, 0, 16)
                memcpy(layer.src, at + 8, 4)
                memcpy(layer.dst, at + 12, 4)
                at += 16
            else:
                layer.family = 6
                memcpy(layer.src, at + 8, 16)
                memcpy(layer.dst, at + 24, 16)
                at += 40
            if has_ports(layer.protocol):
                layer.src_port = be32(at)
                layer.dst_port = be32(at + 4)
            if layer.protocol == 6:
                layer.tcp_flags = be32(at + 8)
    if not link and not layer.family:
        return 0
    if not frame_length[0]:
        frame_length[0] = link_length if link_length else ip_length
    return 1


cdef str sender_of(const Incoming *incoming):
    if incoming.sender_text != NULL:
        return <str><object>incoming.sender_text
    return text_of(incoming.sender_family, incoming.sender)


cdef inline object optional(int64_t value):
    return None if value < 0 else value


def frozen(blacklist):
    """The tables of these lists, made at the first call: a loader calls before it puts the lists in force."""
    if blacklist.compiled is None:
        blacklist.compiled = Frozen(blacklist)
    return blacklist.compiled
