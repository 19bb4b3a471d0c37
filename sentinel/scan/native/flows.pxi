# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Flow counts: the twin of scan/flowtable.py.
#
# Rows stand one behind the other in order of arrival; a table of slots finds them by hash. A slot holds the number of
# its row plus one and eight bits of the hash, so that a foreign row is seldom looked at.

cdef struct FlowKey:
    uint8_t src[16]
    uint8_t dst[16]
    uint32_t agent
    uint32_t input
    uint32_t output
    # Family, and a bit for each of the following that is absent.
    uint32_t shape
    uint32_t protocol
    uint32_t src_port
    uint32_t dst_port
    uint32_t vni

cdef struct FlowRow:
    FlowKey key
    uint64_t packets
    uint64_t bytes
    uint64_t samples
    double first
    double last

cdef struct FlowAgent:
    uint8_t address[16]
    uint8_t family


cdef inline uint64_t capped(uint64_t a, uint64_t b) noexcept nogil:
    """The sum, at most MAX_FIGURE; neither is more."""
    return min(a + b, MAX_FIGURE_C)


@cython.final
cdef class Flows:
    """The twin of ``FlowTable``: at most ``max_flows`` rows, further ones are counted as evicted."""

    cdef FlowRow *_rows
    cdef uint32_t _n_rows
    cdef uint32_t _max
    cdef uint32_t *_slots
    cdef uint64_t _mask
    cdef FlowAgent *_agents
    cdef uint32_t _n_agents
    cdef uint32_t *_agent_slots
    cdef uint64_t _seed
    cdef readonly uint64_t evicted

    def __cinit__(self, int max_flows=MAX_FLOWS):
        cdef uint64_t slots = 64
        if not 0 < max_flows < 1 << 24:
            raise ValueError("max_flows is 1 to 2^24 - 1")
        while slots < <uint64_t>max_flows * 2:
            slots *= 2
        self._max = max_flows
        self._mask = slots - 1
        self._rows = <FlowRow *>malloc(max_flows * sizeof(FlowRow))
        self._slots = <uint32_t *>calloc(slots, sizeof(uint32_t))
        self._agents = <FlowAgent *>malloc(MAX_FLOW_AGENTS_C * sizeof(FlowAgent))
        self._agent_slots = <uint32_t *>calloc(MAX_FLOW_AGENTS_C * 2, sizeof(uint32_t))
        if self._rows == NULL or self._slots == NULL or self._agents == NULL or self._agent_slots == NULL:
            raise MemoryError
        self._seed = seed_of(self._rows)

    def __dealloc__(self):
        free(self._rows)
        free(self._slots)
        free(self._agents)
        free(self._agent_slots)

    def __len__(self):
        return self._n_rows

    def take(self):
        """Every row as a ``FlowCount`` in order of arrival; the table is empty then."""
        cdef uint32_t i
        rows = [self._value(&self._rows[i]) for i in range(self._n_rows)]
        self._clear()
        return rows

    def take_top(self, int most):
        """The ``most`` rows with most bytes, in no order, and the sums of the rest: packets, bytes, samples, rows.

        The table is empty then.
        """
        cdef uint32_t i, kept = 0, limit = max(most, 0), first, child
        cdef uint64_t packets = 0, octets = 0, samples = 0
        cdef uint32_t *heap = <uint32_t *>malloc((limit + 1) * sizeof(uint32_t))
        if heap == NULL:
            raise MemoryError
        try:
            with nogil:
                # A heap whose top has the fewest bytes of those kept so far.
                for i in range(self._n_rows):
                    if kept < limit:
                        heap[kept] = i
                        kept += 1
                        if kept == limit:
                            for first in range(limit // 2, 0, -1):
                                self._sift(heap, limit, first - 1)
                    elif limit and self._rows[i].bytes > self._rows[heap[0]].bytes:
                        self._add_up(&self._rows[heap[0]], &packets, &octets, &samples)
                        heap[0] = i
                        self._sift(heap, limit, 0)
                    else:
                        self._add_up(&self._rows[i], &packets, &octets, &samples)
            rows = [self._value(&self._rows[heap[i]]) for i in range(kept)]
            rest = (packets, octets, samples, self._n_rows - kept)
        finally:
            free(heap)
        self._clear()
        return rows, rest

    cdef void _add_up(self, const FlowRow *row, uint64_t *packets, uint64_t *octets, uint64_t *samples) noexcept nogil:
        packets[0] = capped(packets[0], row.packets)
        octets[0] = capped(octets[0], row.bytes)
        samples[0] += row.samples

    cdef void _sift(self, uint32_t *heap, uint32_t size, uint32_t at) noexcept nogil:
        cdef uint32_t child, held = heap[at]
        while at * 2 + 1 < size:
            child = at * 2 + 1
            if child + 1 < size and self._rows[heap[child + 1]].bytes < self._rows[heap[child]].bytes:
                child += 1
            if self._rows[held].bytes <= self._rows[heap[child]].bytes:
                break
            heap[at] = heap[child]
            at = child
        heap[at] = held

    cdef void _clear(self) noexcept nogil:
        self._n_rows = 0
        memset(self._slots, 0, (self._mask + 1) * sizeof(uint32_t))
        if self._n_agents * 2 >= MAX_FLOW_AGENTS_C:
            self._n_agents = 0
            memset(self._agent_slots, 0, MAX_FLOW_AGENTS_C * 2 * sizeof(uint32_t))

    cdef object _value(self, const FlowRow *row):
        cdef int family = row.key.shape & 0xFF
        cdef const FlowAgent *agent = &self._agents[row.key.agent]
        return FLOW_COUNTS.made((
            text_of(agent.family, agent.address),
            row.key.input,
            row.key.output,
            text_of(family, row.key.src),
            text_of(family, row.key.dst),
            None if row.key.shape & 0x100 else row.key.protocol,
            None if row.key.shape & 0x200 else row.key.src_port,
            None if row.key.shape & 0x400 else row.key.dst_port,
            None if row.key.shape & 0x800 else row.key.vni,
            row.packets,
            row.bytes,
            row.samples,
            row.first,
            row.last,
        ))

    cdef inline uint64_t hash_of(self, const FlowKey *key) noexcept nogil:
        cdef const uint8_t *at = <const uint8_t *>key
        cdef uint64_t one, other
        one = folded(word(at) ^ self._seed, word(at + 8) ^ <uint64_t>0x9E3779B97F4A7C15)
        one ^= folded(word(at + 16) ^ ~self._seed, word(at + 24) ^ <uint64_t>0xBF58476D1CE4E5B9)
        other = folded(word(at + 32) ^ <uint64_t>0x94D049BB133111EB, word(at + 40) ^ self._seed)
        other ^= folded(word(at + 48) ^ <uint64_t>0xD6E8FEB86659FD93, word(at + 56) ^ ~self._seed)
        return folded(one ^ <uint64_t>0xA0761D6478BD642F, other ^ self._seed)

    cdef int agent_number(self, const uint8_t *address, int family) noexcept nogil:
        """The agent's number in this table, or -1 where no more agents have room."""
        cdef uint64_t at = mix(word(address) ^ mix(word(address + 8) + family)) & (MAX_FLOW_AGENTS_C * 2 - 1)
        cdef FlowAgent *agent
        while self._agent_slots[at]:
            agent = &self._agents[self._agent_slots[at] - 1]
            if agent.family == family and memcmp(agent.address, address, 16) == 0:
                return self._agent_slots[at] - 1
            at = (at + 1) & (MAX_FLOW_AGENTS_C * 2 - 1)
        if self._n_agents >= MAX_FLOW_AGENTS_C:
            return -1
        memcpy(self._agents[self._n_agents].address, address, 16)
        self._agents[self._n_agents].family = family
        self._n_agents += 1
        self._agent_slots[at] = self._n_agents
        return self._n_agents - 1

    cdef inline void evict(self) noexcept nogil:
        self.evicted += 1

    cdef inline void prefetch_slot(self, uint64_t hashed) noexcept nogil:
        prefetch(&self._slots[hashed & self._mask])

    cdef inline void prefetch_row(self, uint64_t hashed) noexcept nogil:
        cdef uint32_t slot = self._slots[hashed & self._mask]
        if slot:
            # A row is 104 octets: what it counts stands behind its key, in the next line of memory.
            prefetch(&self._rows[(slot & 0xFFFFFF) - 1])
            prefetch(&self._rows[(slot & 0xFFFFFF) - 1].last)

    cdef void count_hashed(
        self, const FlowKey *key, uint64_t hashed, uint32_t rate, uint32_t frame_length, double at
    ) noexcept nogil:
        cdef uint64_t slot = hashed & self._mask
        cdef uint32_t tag = <uint32_t>(hashed >> 56), found
        cdef FlowRow *row
        while True:
            found = self._slots[slot]
            if not found:
                if self._n_rows >= self._max:
                    self.evicted += 1
                    return
                row = &self._rows[self._n_rows]
                self._n_rows += 1
                self._slots[slot] = (tag << 24) | self._n_rows
                row.key = key[0]
                row.packets = row.bytes = row.samples = 0
                row.first = at
                break
            if found >> 24 == tag:
                row = &self._rows[(found & 0xFFFFFF) - 1]
                if memcmp(&row.key, key, sizeof(FlowKey)) == 0:
                    break
            slot = (slot + 1) & self._mask
        row.packets = capped(row.packets, rate)
        row.bytes = capped(row.bytes, min(<uint64_t>rate * frame_length, MAX_FIGURE_C))
        row.samples += 1
        row.last = at


cdef inline void shape_key(
    FlowKey *key, int64_t protocol, int64_t src_port, int64_t dst_port, int64_t vni
) noexcept nogil:
    """Absent ones are zeros with their bit set, so that equal flows are equal octets; ``shape`` has the family."""
    key.protocol = <uint32_t>protocol
    key.src_port = <uint32_t>src_port
    key.dst_port = <uint32_t>dst_port
    key.vni = <uint32_t>vni
    if protocol < 0:
        key.shape |= 0x100
        key.protocol = 0
    if src_port < 0:
        key.shape |= 0x200
        key.src_port = 0
    if dst_port < 0:
        key.shape |= 0x400
        key.dst_port = 0
    if vni < 0:
        key.shape |= 0x800
        key.vni = 0


cdef int octets_of(str text, uint8_t *octets) except -1:
    """4 or 6, with the address in the first octets and zeros behind it; ValueError for what is none."""
    cdef const char *plain = PyUnicode_AsUTF8AndSize(text, NULL)
    memset(octets, 0, 16)
    if inet_pton(AF_INET, plain, octets) == 1:
        return 4
    if inet_pton(AF_INET6, plain, octets) == 1:
        return 6
    raise ValueError(f"{text!r} is no address")
