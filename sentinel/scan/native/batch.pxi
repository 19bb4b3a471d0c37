# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# What the scan works on: datagrams as they came, heads of samples, pairs to be looked up, hits to be told.

cdef enum:
    # Samples gathered before their pairs are looked up, while the memory for that is fetched.
    QUEUE = 32
    # Addresses of these that may be listed: both of every pair.
    CANDIDATES = 576
    # Hits gathered before Python is told: taking the GIL may mean to wait for it.
    HITS = 512
    # Records of a sample; one with more goes to the plain twin. Agents send two to six.
    MAX_RECORDS = 24
    ADMITTED_SLOTS = 32768

cdef struct Incoming:
    const uint8_t *data
    int64_t size
    double at
    # Behind the header: where the agent stands, in sixteen octets of its own.
    uint8_t agent[16]
    uint8_t sender[16]
    uint8_t agent_family
    # 0: a text that is no address.
    uint8_t sender_family
    # Borrowed from the batch; NULL where it came in octets.
    PyObject *sender_text

cdef struct Head:
    bint discard
    bint discarded
    uint32_t sequence
    uint32_t source_class
    uint32_t source_index
    uint32_t rate
    uint32_t drops
    uint32_t input
    uint32_t output
    uint32_t frame_length

cdef struct FlowRecord:
    uint32_t tag
    int layout
    int64_t at
    int64_t end

cdef struct PairRow:
    int layer
    int64_t vni

# A flow sample whose pairs wait to be looked up; its layers are walked in place.
cdef struct Sample:
    Incoming *incoming
    Head head
    int n_pairs
    # The pair of n_pairs less one is who talks: counted as a flow.
    bint counted
    uint64_t flow_hash
    FlowKey flow
    PairRow pairs[MAX_LAYERS]
    Layer layers[MAX_LAYERS]

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

cdef struct Admitted:
    uint8_t agent[16]
    uint8_t sender[16]
    uint8_t agent_family
    uint8_t sender_family

cdef struct Counts:
    uint64_t datagrams
    uint64_t samples
    uint64_t flow_samples
    uint64_t discards
    uint64_t counters_samples
    uint64_t unknown_samples
    uint64_t bad_samples
    uint64_t mirror_samples
    uint64_t without_addresses
    uint64_t pairs
    uint64_t hits
    uint64_t matches

cdef struct Address:
    uint8_t octets[16]
    int family


cdef inline bint known_sample(const uint8_t *data, int64_t at, int64_t end) noexcept nogil:
    """Whether the head of a known sample, which fits, begins here."""
    cdef uint32_t tag
    if end - at < 8:
        return False
    tag = be32(data + at)
    return 1 <= tag <= 5 and <int64_t>be32(data + at + 4) <= end - at - 8


cdef inline bint known_record(const uint8_t *data, int64_t at, int64_t end) noexcept nogil:
    if end - at < 8:
        return False
    return layout_of(be32(data + at)) >= 0 and <int64_t>be32(data + at + 4) <= end - at - 8


cdef inline int64_t behind(
    const uint8_t *data, int64_t begin, int64_t plain, int64_t end, bint samples
) noexcept nogil:
    """Where the next sample or record begins: as ``datagram._behind``."""
    cdef int64_t padded
    if (begin - plain) & 3 == 0:
        return plain
    padded = min(plain + ((begin - plain) & 3), end)
    if padded == end:
        return padded
    if samples:
        if known_sample(data, padded, end):
            return padded
        return plain if known_sample(data, plain, end) else padded
    if known_record(data, padded, end):
        return padded
    return plain if known_record(data, plain, end) else padded
