# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Datagrams, samples, pairs: the twin of scan/plain.py, scan/pairs.py and sflow/datagram.py.

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
    cdef PairRow _pairs[QUEUE]
    cdef int _n_pairs
    cdef FlowWaiting _flows_waiting[QUEUE]
    cdef int _n_flows
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
        held = list(batch)
        self._tables = frozen(blacklist)
        self._blacklist = blacklist
        self._result = result = ScanResult()
        copies = [] if EXACT_COPIES else None
        self._reserve(len(held))
        count = self._take_in(held, copies)
        try:
            with nogil:
                self._scan(count)
        finally:
            self._n_pairs = self._n_flows = self._n_hits = 0
            self._result = self._blacklist = None
            if EXACT_COPIES:
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

    cdef Py_ssize_t _take_in(self, list held, copies) except -1:
        cdef Py_ssize_t i, size
        cdef char *octets
        cdef Incoming *one
        cdef const char *text
        cdef void *copied
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
            if EXACT_COPIES:
                copied = malloc(max(size, 1))
                memcpy(copied, octets, size)
                one.data = <const uint8_t *>copied
        return len(held)

    cdef void _free_copies(self, Py_ssize_t count) noexcept:
        cdef Py_ssize_t i
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
        if self._n_hits:
            self._tell()
        return 0

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
        cdef Layer layers[MAX_LAYERS]
        cdef Head head
        cdef FlowRecord *record
        cdef uint32_t announced
        cdef int n = 0, i, cut, bad_records = 0, depth = 0
        cdef int64_t begin = at, size
        if end - at < (44 if tag == 3 else 32):
            self._bad(stream)
            return 0
        announced = read_head(data + at, tag, &head)
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
        return self._pairs_of(incoming, number, &head, layers, depth)

    cdef int _pairs_of(self, Incoming *incoming, int number, Head *head, Layer *layers, int depth) except -1 nogil:
        cdef Layer *layer
        cdef Layer *kept[MAX_LAYERS]
        cdef PairRow *pair = NULL
        cdef int i, k, n = 0
        cdef int64_t vni = -1
        cdef bint mirror = False
        if self._n_pairs + MAX_LAYERS > QUEUE:
            self._look_up()
        for i in range(depth):
            layer = &layers[i]
            if layer.family:
                if self._is_destination(layer):
                    mirror = True
                    break
                for k in range(n):
                    if (
                        kept[k].family == layer.family
                        and memcmp(kept[k].src, layer.src, 16) == 0
                        and memcmp(kept[k].dst, layer.dst, 16) == 0
                    ):
                        break
                else:
                    kept[n] = layer
                    n += 1
                    pair = &self._pairs[self._n_pairs]
                    self._n_pairs += 1
                    self._put_pair(pair, incoming, head, layer, i, vni)
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
        if n and self.flows is not None and not head.discard:
            if number < 0:
                self.flows.evict()
            else:
                self._put_flow(pair, number)
        return 0

    cdef inline void _put_pair(
        self, PairRow *pair, Incoming *incoming, Head *head, Layer *layer, int number, int64_t vni
    ) noexcept nogil:
        pair.incoming = incoming
        pair.head = head[0]
        memcpy(pair.src, layer.src, 16)
        memcpy(pair.dst, layer.dst, 16)
        pair.family = layer.family
        pair.layer = number
        pair.protocol = layer.protocol
        pair.src_port = layer.src_port
        pair.dst_port = layer.dst_port
        pair.tcp_flags = layer.tcp_flags
        pair.icmp_type = layer.icmp_type
        pair.vni = vni
        if layer.family == 4:
            prefetch4(&self._tables.v4, be32(pair.src))
            prefetch4(&self._tables.v4, be32(pair.dst))
        else:
            prefetch6(&self._tables.v6, be64(pair.src))
            prefetch6(&self._tables.v6, be64(pair.dst))

    cdef inline void _put_flow(self, const PairRow *pair, int number) noexcept nogil:
        cdef FlowWaiting *waiting = &self._flows_waiting[self._n_flows]
        self._n_flows += 1
        memcpy(waiting.key.src, pair.src, 16)
        memcpy(waiting.key.dst, pair.dst, 16)
        waiting.key.agent = number
        waiting.key.input = pair.head.input
        waiting.key.output = pair.head.output
        waiting.key.shape = pair.family
        shape_key(&waiting.key, pair.protocol, pair.src_port, pair.dst_port, pair.vni)
        waiting.hashed = flow_hash(&waiting.key)
        waiting.rate = pair.head.rate
        waiting.frame_length = pair.head.frame_length
        waiting.at = pair.incoming.at
        self.flows.prefetch_slot(waiting.hashed)

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
        cdef int i
        cdef PairRow *pair
        cdef Hit *hit
        cdef uint32_t source, destination
        cdef FlowWaiting *waiting
        for i in range(self._n_flows):
            self.flows.prefetch_row(self._flows_waiting[i].hashed)
        for i in range(self._n_pairs):
            pair = &self._pairs[i]
            if pair.family == 4:
                source = self._tables._find4(be32(pair.src))
                destination = self._tables._find4(be32(pair.dst))
            else:
                source = self._tables._find6(be64(pair.src), be64(pair.src + 8))
                destination = self._tables._find6(be64(pair.dst), be64(pair.dst + 8))
            if source == NONE and destination == NONE:
                continue
            self._counts.hits += 1
            self._counts.matches += (source != NONE) + (destination != NONE)
            if self._n_hits == HITS:
                self._tell()
            hit = &self._hits[self._n_hits]
            self._n_hits += 1
            hit.pair = pair[0]
            hit.source = source
            hit.destination = destination
        self._n_pairs = 0
        for i in range(self._n_flows):
            waiting = &self._flows_waiting[i]
            self.flows.count_hashed(
                &waiting.key, waiting.hashed, waiting.rate, waiting.frame_length, waiting.at
            )
        self._n_flows = 0
        return 0

    # --- what Python is told ---------------------------------------------------------------------

    cdef int _tell(self) except -1 with gil:
        """The hits gathered so far become matches."""
        cdef int i
        cdef Hit *hit
        matches = self._result.matches
        for i in range(self._n_hits):
            hit = &self._hits[i]
            if hit.source != NONE:
                matches.append(
                    self._match(&hit.pair, "source", self._tables._indicators(hit.pair.family, hit.source))
                )
            if hit.destination != NONE:
                matches.append(
                    self._match(&hit.pair, "destination", self._tables._indicators(hit.pair.family, hit.destination))
                )
        self._n_hits = 0
        return 0

    cdef object _match(self, const PairRow *pair, str listed, tuple indicators):
        cdef const Head *head = &pair.head
        return Match(
            text_of(pair.incoming.agent_family, pair.incoming.agent),
            sender_of(pair.incoming),
            head.source_class,
            head.source_index,
            head.input,
            head.output,
            head.rate,
            head.frame_length,
            text_of(pair.family, pair.src),
            text_of(pair.family, pair.dst),
            optional(pair.protocol),
            optional(pair.src_port),
            optional(pair.dst_port),
            optional(pair.tcp_flags),
            optional(pair.icmp_type),
            pair.layer,
            optional(pair.vni),
            listed,
            indicators,
            pair.incoming.at,
            True if head.discarded else False,
        )

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
        self._result.matches += self._plain.matches_of(
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
