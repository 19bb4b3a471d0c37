# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Pairs of many samples looked up together, in passes of which each fetches the memory that the next needs; flows
# counted; hits told to Python in bundles.

cdef enum:
    # Samples gathered before their pairs are looked up.
    QUEUE = 32
    # Addresses of these that may be listed: both of every pair.
    CANDIDATES = QUEUE * MAX_OF_SAMPLE * 2
    # Hits gathered before Python is told: taking the GIL may mean to wait for it.
    HITS = 512

# An address that may be listed: the exact tables are asked.
cdef struct Candidate:
    int sample
    int pair
    bint destination
    int family
    uint64_t high
    uint64_t low

cdef struct Hit:
    Incoming *incoming
    Head head
    PairRow pair
    Layer layer
    uint32_t source
    uint32_t destination


@cython.final
cdef class Lookup:
    """Takes samples with their pairs, gives matches; between ``begin`` and ``end`` it asks one state of the lists."""

    cdef Flows _flows
    cdef Frozen _tables
    cdef list _matches
    cdef uint64_t pairs
    cdef uint64_t hits
    cdef uint64_t matches
    cdef Sample _queue[QUEUE]
    cdef int _n_queue
    # What the samples have used of their room, close together: most have one layer of fifteen.
    cdef Layer _layers[QUEUE * MAX_OF_SAMPLE]
    cdef PairRow _pairs[QUEUE * MAX_OF_SAMPLE]
    cdef int _n_layers
    cdef int _n_pairs
    cdef Candidate _candidates[CANDIDATES]
    cdef int _n_candidates
    cdef Hit _hits[HITS]
    cdef int _n_hits

    def __cinit__(self, flows=None):
        self._flows = flows

    cdef int begin(self, Frozen tables, list matches) except -1:
        self._tables = tables
        self._matches = matches
        self._n_queue = self._n_layers = self._n_pairs = self._n_hits = 0
        return 0

    cdef int end(self) except -1 nogil:
        """Look up what still waits, and tell."""
        self._look_up()
        return self._tell() if self._n_hits else 0

    cdef inline Sample *place(self) except NULL nogil:
        """Where the next sample may be walked; it counts only when it is added."""
        cdef Sample *sample
        if self._n_queue == QUEUE:
            self._look_up()
        sample = &self._queue[self._n_queue]
        sample.layers = &self._layers[self._n_layers]
        sample.pairs = &self._pairs[self._n_pairs]
        return sample

    cdef inline void add(self, int agent, int n_header) noexcept nogil:
        """The sample in the last place given; the last of its first ``n_header`` pairs is its flow, of flow agent
        number ``agent``."""
        cdef Sample *sample = &self._queue[self._n_queue]
        self.pairs += sample.n_pairs
        if sample.n_pairs == 0:
            return
        sample.counted = False
        if self._flows is not None and n_header and not sample.head.discard:
            if agent < 0:
                self._flows.evict()
            else:
                self._flow_of(sample, &sample.pairs[n_header - 1], agent)
        self._n_queue += 1
        self._n_pairs += sample.n_pairs
        # Layers behind that of the last pair have no addresses.
        self._n_layers += sample.pairs[sample.n_pairs - 1].at + 1

    cdef inline void fetch(self, const Sample *sample) noexcept nogil:
        """Have what the first tests of the sample's pairs read on its way; best some time before it is added."""
        cdef int k
        for k in range(sample.n_pairs):
            self._prefetch(&sample.layers[sample.pairs[k].at])

    cdef inline void _prefetch(self, const Layer *layer) noexcept nogil:
        if layer.src_family == 4:
            prefetch4(&self._tables.v4, be32(layer.src))
        else:
            prefetch6(&self._tables.v6, be64(layer.src))
        if layer.dst_family == 4:
            prefetch4(&self._tables.v4, be32(layer.dst))
        else:
            prefetch6(&self._tables.v6, be64(layer.dst))

    cdef inline void _flow_of(self, Sample *sample, const PairRow *pair, int agent) noexcept nogil:
        cdef FlowKey *key = &sample.flow
        cdef const Layer *layer = &sample.layers[pair.at]
        memcpy(key.src, layer.src, 16)
        memcpy(key.dst, layer.dst, 16)
        key.agent = agent
        key.input = sample.head.input
        key.output = sample.head.output
        key.shape = layer.src_family
        shape_key(key, layer.protocol, layer.src_port, layer.dst_port, pair.vni)
        sample.counted = True
        sample.flow_hash = self._flows.hash_of(key)
        self._flows.prefetch_slot(sample.flow_hash)

    # --- looking up ------------------------------------------------------------------------------

    cdef int _look_up(self) except -1 nogil:
        """Ask for the pairs of all samples that wait, and count their flows; each pass fetches what the next needs."""
        cdef int i
        cdef Sample *sample
        self._n_candidates = 0
        for i in range(self._n_queue):
            if self._queue[i].counted:
                self._flows.prefetch_row(self._queue[i].flow_hash)
            self._gather(i)
        if self._n_candidates:
            for i in range(self._n_candidates):
                self._prefetch_starts(&self._candidates[i])
            self._ask_tables()
        for i in range(self._n_queue):
            sample = &self._queue[i]
            if sample.counted:
                self._flows.count_hashed(
                    &sample.flow, sample.flow_hash, sample.head.rate, sample.head.frame_length, sample.incoming.at
                )
        self._n_queue = self._n_layers = self._n_pairs = 0
        return 0

    cdef inline void _gather(self, int at) noexcept nogil:
        """The sample's addresses that may be listed become candidates, in the order of its pairs."""
        cdef Sample *sample = &self._queue[at]
        cdef const Layer *layer
        cdef int k
        for k in range(sample.n_pairs):
            layer = &sample.layers[sample.pairs[k].at]
            self._gather_address(at, k, False, layer.src_family, layer.src)
            self._gather_address(at, k, True, layer.dst_family, layer.dst)

    cdef inline void _gather_address(
        self, int sample, int pair, bint destination, int family, const uint8_t *octets
    ) noexcept nogil:
        if family == 4:
            if maybe4(&self._tables.v4, be32(octets)):
                self._candidate(sample, pair, destination, 4, be32(octets), 0)
        elif maybe6(&self._tables.v6, be64(octets)):
            self._candidate(sample, pair, destination, 6, be64(octets), be64(octets + 8))

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
                self.hits += 1
                self.matches += (source != NONE) + (destination != NONE)
                self._hit(&self._queue[sample], pair, source, destination)
        return 0

    # --- what Python is told ---------------------------------------------------------------------

    cdef int _hit(self, const Sample *sample, int pair, uint32_t source, uint32_t destination) except -1 nogil:
        cdef Hit *hit
        if self._n_hits == HITS:
            self._tell()
        hit = &self._hits[self._n_hits]
        self._n_hits += 1
        hit.incoming = sample.incoming
        hit.head = sample.head
        hit.pair = sample.pairs[pair]
        hit.layer = sample.layers[hit.pair.at]
        hit.source = source
        hit.destination = destination
        return 0

    cdef int _tell(self) except -1 with gil:
        """The hits gathered so far become matches."""
        cdef int i
        cdef Hit *hit
        for i in range(self._n_hits):
            hit = &self._hits[i]
            if hit.source != NONE:
                self._matches.append(
                    self._match(hit, "source", self._tables._indicators(hit.layer.src_family, hit.source))
                )
            if hit.destination != NONE:
                self._matches.append(
                    self._match(hit, "destination", self._tables._indicators(hit.layer.dst_family, hit.destination))
                )
        self._n_hits = 0
        return 0

    cdef object _match(self, const Hit *hit, str listed, tuple indicators):
        cdef const Head *head = &hit.head
        cdef const Incoming *incoming = hit.incoming
        cdef const Layer *layer = &hit.layer
        return MATCHES.made((
            text_of(incoming.agent_family, incoming.agent),
            sender_of(incoming),
            head.source_class,
            head.source_index,
            head.input,
            head.output,
            head.rate,
            head.frame_length,
            text_of(layer.src_family, layer.src),
            text_of(layer.dst_family, layer.dst),
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


cdef inline object optional(int64_t value):
    return None if value < 0 else value
