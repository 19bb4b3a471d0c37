# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Flow counts: the twin of scan/flowtable.py.
#
# Rows stand one behind the other in order of arrival; a table of slots finds them by hash. A slot holds the number of
# its row plus one and eight bits of the hash, so that a foreign row is seldom looked at.
#
# Rows are given away with the memory they stand in, in the time it takes to forget the slots. Whoever receives them
# arranges them as columns.

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


cdef enum:
    # Rows that become columns at a time, 6.5 KB.
    FLOWS_AT_A_TIME = 64
cdef size_t FLOW_OCTETS = FLOWS.row_bytes

# What TakenFlows writes, in its order.
if "".join(column.format for column in FLOWS.columns) != "16s16s16sQQddIIIIIIIBBB":
    raise ImportError("the compiled scan was built for other columns of flows than sentinel/flowmodel.py has")


@cython.final
cdef class TakenFlows:
    """The twin of ``scan.flowtable.TakenFlows``: rows that no scan adds to any more, with the agents they name."""

    cdef FlowRow *_rows
    cdef uint32_t _n_rows
    cdef FlowAgent *_agents
    cdef readonly uint64_t packets
    cdef readonly uint64_t bytes
    cdef readonly uint64_t samples

    def __dealloc__(self):
        free(self._rows)
        free(self._agents)

    def __len__(self):
        return self._n_rows

    def table(self):
        """Every row, as columns of ``FLOWS``."""
        octets = PyBytes_FromStringAndSize(NULL, self._n_rows * FLOW_OCTETS)
        cdef uint8_t *at = <uint8_t *>PyBytes_AS_STRING(octets)
        with nogil:
            self._arrange(at)
        return columns.Table(FLOWS, self._n_rows, octets)

    cdef void _arrange(self, uint8_t *out) noexcept nogil:
        """Column behind column, in blocks of rows that stay in the first cache meanwhile."""
        cdef size_t n = self._n_rows, begin = 0, end, i
        cdef const FlowRow *row
        cdef const FlowAgent *agent
        cdef uint8_t *wide = out
        cdef uint64_t *long_ = <uint64_t *>(out + 48 * n)
        cdef double *time = <double *>(out + 64 * n)
        cdef uint32_t *word = <uint32_t *>(out + 80 * n)
        cdef uint8_t *octet = out + 108 * n
        while begin < n:
            end = min(begin + <size_t>FLOWS_AT_A_TIME, n)
            for i in range(begin, end):
                agent = &self._agents[self._rows[i].key.agent]
                put_mapped(wide + 16 * i, agent.family, agent.address)
                octet[i] = agent.family
            for i in range(begin, end):
                put_mapped(wide + 16 * (n + i), self._rows[i].key.shape & 0xFF, self._rows[i].key.src)
            for i in range(begin, end):
                put_mapped(wide + 16 * (2 * n + i), self._rows[i].key.shape & 0xFF, self._rows[i].key.dst)
            for i in range(begin, end):
                row = &self._rows[i]
                long_[i] = row.packets
                long_[n + i] = row.bytes
                time[i] = row.first
                time[n + i] = row.last
            for i in range(begin, end):
                row = &self._rows[i]
                word[i] = <uint32_t>row.samples
                word[n + i] = row.key.input
                word[2 * n + i] = row.key.output
                word[3 * n + i] = row.key.protocol
            for i in range(begin, end):
                row = &self._rows[i]
                word[4 * n + i] = row.key.src_port
                word[5 * n + i] = row.key.dst_port
                word[6 * n + i] = row.key.vni
                octet[n + i] = row.key.shape & 0xFF
                octet[2 * n + i] = row.key.shape >> 8 & 0xF
            begin = end


cdef inline void put_mapped(uint8_t *out, int family, const uint8_t *address) noexcept nogil:
    """An IPv6 address as it is, an IPv4 address as ::ffff:a.b.c.d."""
    if family == 4:
        memset(out, 0, 10)
        out[10] = out[11] = 0xFF
        memcpy(out + 12, address, 4)
    else:
        memcpy(out, address, 16)


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
    # Of all rows.
    cdef uint64_t _packets
    cdef uint64_t _bytes
    cdef uint64_t _samples
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
        """The rows in order of arrival, given away with their memory; the table is empty then."""
        cdef TakenFlows taken = TakenFlows.__new__(TakenFlows)
        cdef FlowRow *room = <FlowRow *>malloc(self._max * sizeof(FlowRow))
        taken._agents = <FlowAgent *>malloc(self._n_agents * sizeof(FlowAgent))
        if room == NULL or (taken._agents == NULL and self._n_agents):
            free(room)
            raise MemoryError
        taken._rows, taken._n_rows = self._rows, self._n_rows
        memcpy(taken._agents, self._agents, self._n_agents * sizeof(FlowAgent))
        taken.packets, taken.bytes, taken.samples = self._packets, self._bytes, self._samples
        self._rows = room
        with nogil:
            self._clear()
        return taken

    cdef void _clear(self) noexcept nogil:
        self._n_rows = 0
        self._packets = self._bytes = self._samples = 0
        memset(self._slots, 0, (self._mask + 1) * sizeof(uint32_t))
        if self._n_agents * 2 >= MAX_FLOW_AGENTS_C:
            self._n_agents = 0
            memset(self._agent_slots, 0, MAX_FLOW_AGENTS_C * 2 * sizeof(uint32_t))

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
        cdef uint64_t slot = hashed & self._mask, octets
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
        octets = min(<uint64_t>rate * frame_length, MAX_FIGURE_C)
        row.packets = capped(row.packets, rate)
        row.bytes = capped(row.bytes, octets)
        row.samples += 1
        row.last = at
        self._packets = capped(self._packets, rate)
        self._bytes = capped(self._bytes, octets)
        self._samples += 1


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
