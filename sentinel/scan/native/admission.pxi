# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Which datagrams are not taken: the twin of sflow/admission.py, with the reasons of scan/counters.py.
#
# Whoever may be heard is copied from the twin's Admission once. Addresses are numbers of 128 bits here, IPv4 in the low
# 32 of them; an IPv4-mapped one is IPv4.

cdef enum:
    UNKNOWN_AGENT = 0
    FOREIGN_SENDER = 1
    TOO_LONG = 2
    VERSION = 3
    AGENT_ADDRESS = 4
    TRUNCATED = 5
    N_REASONS = 6
    HEARD = -1

_REASONS = ("unknown_agent", "foreign_sender", "too_long", "version", "agent_address", "truncated")

cdef struct Number:
    int family
    uint64_t high
    uint64_t low

# Both ends belong to it.
cdef struct Range:
    Number first
    Number last

# An address of a switch, and another one that may send for it.
cdef struct Sibling:
    Number agent
    Number sender

cdef struct Refused:
    int reason
    uint8_t agent_family
    uint8_t sender_family
    uint8_t agent[16]
    uint8_t sender[16]
    uint64_t count
    # Of the last time: higher is later.
    uint64_t stamp


cdef inline Number number_of(int family, const uint8_t *octets) noexcept nogil:
    cdef Number found
    found.family = family
    found.high = 0
    if family == 4:
        found.low = be32(octets)
        return found
    found.high = be64(octets)
    found.low = be64(octets + 8)
    if found.high == 0 and found.low >> 32 == 0xFFFF:
        found.family = 4
        found.low = be32(octets + 12)
    return found


cdef inline int compared(const Number *one, const Number *other) noexcept nogil:
    if one.family != other.family:
        return -1 if one.family < other.family else 1
    if one.high != other.high:
        return -1 if one.high < other.high else 1
    if one.low != other.low:
        return -1 if one.low < other.low else 1
    return 0


cdef Number _number(packed):
    cdef Number found
    value = int.from_bytes(packed)
    found.family = 4 if len(packed) == 4 else 6
    found.high, found.low = value >> 64, value & 0xFFFFFFFFFFFFFFFF
    return found


@cython.final
cdef class Ranges:
    """A set of addresses: disjoint ranges in order."""

    cdef Range *_rows
    cdef Py_ssize_t _n

    def __cinit__(self, ranges):
        cdef Py_ssize_t i
        self._n = len(ranges)
        self._rows = <Range *>malloc((self._n + 1) * sizeof(Range))
        if self._rows == NULL:
            raise MemoryError
        for i, (first, last) in enumerate(ranges):
            self._rows[i].first, self._rows[i].last = _number(first), _number(last)

    def __dealloc__(self):
        free(self._rows)

    cdef bint has(self, const Number *address) noexcept nogil:
        cdef Py_ssize_t low = 0, high = self._n, middle
        while low < high:
            middle = (low + high) // 2
            if compared(&self._rows[middle].first, address) > 0:
                high = middle
            else:
                low = middle + 1
        return low > 0 and compared(address, &self._rows[low - 1].last) <= 0


@cython.final
cdef class Gate:
    """Who is heard (``admission`` None: everybody), and what was refused: counts by reason, the latest ones by name."""

    cdef bint _everybody
    cdef Ranges _agents
    cdef Ranges _relays
    cdef Sibling *_siblings
    cdef Py_ssize_t _n_siblings
    cdef uint64_t _counts[N_REASONS]
    cdef Refused _latest[MAX_REFUSALS_C]
    cdef int _n_latest
    cdef uint64_t _stamp

    def __cinit__(self, admission):
        cdef Py_ssize_t i
        self._everybody = admission is None
        self._agents = Ranges([] if admission is None else admission.agents.ranges())
        self._relays = Ranges([] if admission is None else admission.relays.ranges())
        siblings = [] if admission is None else admission.siblings()
        self._siblings = <Sibling *>malloc((len(siblings) + 1) * sizeof(Sibling))
        if self._siblings == NULL:
            raise MemoryError
        for i, (agent, sender) in enumerate(siblings):
            self._siblings[i].agent, self._siblings[i].sender = _number(agent), _number(sender)
        self._n_siblings = len(siblings)

    def __dealloc__(self):
        free(self._siblings)

    cdef inline bint hears(self, const Incoming *incoming) noexcept nogil:
        """Whether the agent may be heard from this sender; counted where not."""
        cdef Number agent, sender
        if self._everybody:
            return True
        agent = number_of(incoming.agent_family, incoming.agent)
        if not self._agents.has(&agent):
            self.refuse(UNKNOWN_AGENT, incoming)
            return False
        sender = number_of(incoming.sender_family, incoming.sender)
        if compared(&agent, &sender) == 0 or self._are_siblings(&agent, &sender) or self._relays.has(&sender):
            return True
        self.refuse(FOREIGN_SENDER, incoming)
        return False

    cdef bint _are_siblings(self, const Number *agent, const Number *sender) noexcept nogil:
        cdef Py_ssize_t low = 0, high = self._n_siblings, middle
        cdef int order
        while low < high:
            middle = (low + high) // 2
            order = compared(&self._siblings[middle].agent, agent)
            if order == 0:
                order = compared(&self._siblings[middle].sender, sender)
            if order == 0:
                return True
            if order > 0:
                high = middle
            else:
                low = middle + 1
        return False

    cdef void refuse(self, int reason, const Incoming *incoming) noexcept nogil:
        """Count it, and keep it among the latest: the longest ago makes room."""
        cdef Refused *one
        cdef Refused *oldest = &self._latest[0]
        cdef int i
        # What is no datagram has no agent.
        cdef int agent_family = incoming.agent_family if reason <= FOREIGN_SENDER else 0
        self._counts[reason] += 1
        self._stamp += 1
        for i in range(self._n_latest):
            one = &self._latest[i]
            if (
                one.reason == reason
                and one.sender_family == incoming.sender_family
                and one.agent_family == agent_family
                and memcmp(one.sender, incoming.sender, 16) == 0
                and (not agent_family or memcmp(one.agent, incoming.agent, 16) == 0)
            ):
                one.count += 1
                one.stamp = self._stamp
                return
            if one.stamp < oldest.stamp:
                oldest = one
        if self._n_latest < MAX_REFUSALS_C:
            oldest = &self._latest[self._n_latest]
            self._n_latest += 1
        oldest.reason = reason
        oldest.agent_family = agent_family
        oldest.sender_family = incoming.sender_family
        memcpy(oldest.agent, incoming.agent, 16)
        memcpy(oldest.sender, incoming.sender, 16)
        oldest.count = 1
        oldest.stamp = self._stamp

    def counted(self, int first, int last):
        """The counts of these reasons, where there are any."""
        return Counter({_REASONS[i]: self._counts[i] for i in range(first, last + 1) if self._counts[i]})

    def latest(self):
        """As ``Refusals.latest``."""
        cdef int i
        cdef const Refused *one
        found = []
        for i in range(self._n_latest):
            one = &self._latest[i]
            agent = text_of(one.agent_family, one.agent) if one.agent_family else ""
            sender = text_of(one.sender_family, one.sender) if one.sender_family else ""
            found.append((one.stamp, Refusal(_REASONS[one.reason], agent, sender, one.count)))
        return [refusal for _, refusal in sorted(found, key=lambda row: -row[0])]


cdef inline int agent_of(Incoming *incoming) noexcept nogil:
    """Fill in the agent that the header names: HEARD, or why there is none. As ``plain._agent_of``."""
    cdef const uint8_t *data = incoming.data
    cdef int64_t end = incoming.size
    cdef uint32_t kind
    if end >= 12 and be32(data) == 5:
        kind = be32(data + 4)
        if kind == 1:
            memcpy(incoming.agent, data + 8, 4)
            incoming.agent_family = 4
            return HEARD
        if kind == 2 and end >= 24:
            memcpy(incoming.agent, data + 8, 16)
            incoming.agent_family = 6
            return HEARD
        return TOO_LONG if kind == 0 and end > MAX_DATAGRAM_C else AGENT_ADDRESS
    if end > MAX_DATAGRAM_C:
        return TOO_LONG
    if end < 4:
        return TRUNCATED
    if be32(data) != 5:
        return VERSION
    return TRUNCATED if end < 8 else AGENT_ADDRESS
