# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# What the scan works on: datagrams as they came, heads of samples, pairs to be looked up.

cdef enum:
    # Records of a sample: eight octets each at least.
    MAX_RECORDS = MAX_DATAGRAM_C // 8
    # Pairs that records tell of: two by translated addresses, one by each of the four formats of tunnels.
    MAX_TOLD = 6
    MAX_OF_SAMPLE = MAX_LAYERS + MAX_TOLD

cdef struct Address:
    uint8_t octets[16]
    int family

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

# ``at``: its addresses among the sample's layers; ``layer``: the one it is said to stand in.
cdef struct PairRow:
    int at
    int layer
    int64_t vni

# A flow sample whose pairs wait to be looked up. It has room for MAX_OF_SAMPLE layers, which are walked in place, and as
# many pairs; the layers of told pairs stand behind the header's.
cdef struct Sample:
    Incoming *incoming
    PairRow *pairs
    Layer *layers
    Head head
    int n_pairs
    # The innermost pair of the header is who talks: counted as a flow.
    bint counted
    uint64_t flow_hash
    FlowKey flow


cdef str sender_of(const Incoming *incoming):
    if incoming.sender_text != NULL:
        return <str><object>incoming.sender_text
    return text_of(incoming.sender_family, incoming.sender)
