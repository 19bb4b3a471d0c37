# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# A flow sample's head and its pairs: the twin of scan/pairs.py and sflow/sampled.py.

cdef enum:
    TAG_NAT = 1007
    TAG_NAT_PORT = 1020
    TAG_TUNNELS = 1023
    TAG_TUNNELS_V6 = 1025
    TAG_TUNNELS_LAST = 1026


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


cdef inline int64_t number_at(const uint8_t *data, int64_t at, int64_t end) noexcept nogil:
    """The field of four octets that stands there, -1 where the body does not go that far."""
    return be32(data + at) if end - at >= 4 else -1


cdef inline void set_address(uint8_t *octets, int *family, const uint8_t *at, int size) noexcept nogil:
    memset(octets, 0, 16)
    memcpy(octets, at, size)
    family[0] = 4 if size == 4 else 6


# --- pairs that stand in the sample --------------------------------------------------------------

cdef int from_records(
    const SampleRecord *records, int n, Layer *layer, uint32_t *frame_length
) noexcept nogil:
    """The one layer that sampled_ethernet, sampled_ipv4 and sampled_ipv6 tell of: 1, or 0 where none of them is."""
    cdef const SampleRecord *record
    cdef int64_t link_length = 0, ip_length = 0
    cdef bint link = False
    cdef int i, size
    layer_clear(layer)
    for i in range(n):
        record = &records[i]
        if record.tag == 2 and not link:
            link = True
            link_length = number_at(record.body, 0, record.size)
        elif record.tag == 3 or record.tag == 4:
            size = 4 if record.tag == 3 else 16
            if layer.src_family or record.size < 8 + 2 * size:
                continue
            set_address(layer.src, &layer.src_family, record.body + 8, size)
            set_address(layer.dst, &layer.dst_family, record.body + 8 + size, size)
            ip_length = be32(record.body)
            layer.protocol = be32(record.body + 4)
            if has_ports(layer.protocol):
                layer.src_port = number_at(record.body, 8 + 2 * size, record.size)
                layer.dst_port = number_at(record.body, 12 + 2 * size, record.size)
            if layer.protocol == 6:
                layer.tcp_flags = number_at(record.body, 16 + 2 * size, record.size)
    if not link and not layer.src_family:
        return 0
    if not frame_length[0]:
        frame_length[0] = <uint32_t>(link_length if link_length > 0 else ip_length)
    return 1


cdef inline bint is_one_of(const Address *destinations, int n, const Layer *layer) noexcept nogil:
    cdef int i
    for i in range(n):
        if destinations[i].family == layer.dst_family and memcmp(destinations[i].octets, layer.dst, 16) == 0:
            return True
    return False


cdef inline bint add_pair(Sample *sample, int at, int layer, int64_t vni) noexcept nogil:
    """One more pair of the sample, unless it has the same two addresses already."""
    cdef const Layer *one = &sample.layers[at]
    cdef const Layer *other
    cdef PairRow *row
    cdef int k
    for k in range(sample.n_pairs):
        other = &sample.layers[sample.pairs[k].at]
        if (
            other.src_family == one.src_family
            and other.dst_family == one.dst_family
            and memcmp(other.src, one.src, 16) == 0
            and memcmp(other.dst, one.dst, 16) == 0
        ):
            return False
    row = &sample.pairs[sample.n_pairs]
    row.at = at
    row.layer = layer
    row.vni = vni
    sample.n_pairs += 1
    return True


cdef inline bint header_pairs(Sample *sample, int depth, const Address *destinations, int n) noexcept nogil:
    """The pairs of the sample's first ``depth`` layers, and whether mirror traffic began in one of them."""
    cdef const Layer *layer
    cdef int64_t vni = -1
    cdef int i
    sample.n_pairs = 0
    for i in range(depth):
        layer = &sample.layers[i]
        if layer.src_family:
            if is_one_of(destinations, n, layer):
                return True
            add_pair(sample, i, i, vni)
        if layer.mirror:
            return True
        if layer.vni >= 0:
            vni = layer.vni
    return False


# --- pairs that only records tell of -------------------------------------------------------------

cdef inline bint tells_of_pairs(uint32_t tag) noexcept nogil:
    return tag == TAG_NAT or tag == TAG_NAT_PORT or TAG_TUNNELS <= tag <= TAG_TUNNELS_LAST


cdef struct Telling:
    Sample *sample
    # The pairs' layer, and the next place among the sample's layers.
    int layer
    int at
    const Address *destinations
    int n_destinations


cdef inline Layer *next_told(Telling *telling, const Layer *like) noexcept nogil:
    """Where the addresses of the next pair go; it begins as a copy of ``like``, or empty."""
    cdef Layer *layer = &telling.sample.layers[telling.at]
    if like != NULL:
        layer[0] = like[0]
    else:
        layer_clear(layer)
    return layer


cdef inline void told(Telling *telling) noexcept nogil:
    """The pair whose addresses stand in the next place."""
    if is_one_of(telling.destinations, telling.n_destinations, &telling.sample.layers[telling.at]):
        return
    if add_pair(telling.sample, telling.at, telling.layer, -1):
        telling.at += 1


cdef inline int64_t read_address(const uint8_t *data, int64_t at, int64_t end, Address *found) noexcept nogil:
    """A union address: family 0 where it is of unknown type or not there. Where it ends; ``end`` where it is cut."""
    cdef uint32_t kind
    found.family = 0
    if end - at < 4:
        return end
    kind = be32(data + at)
    at += 4
    if kind == 0:
        return at
    if kind > 2 or end - at < (4 if kind == 1 else 16):
        return end
    set_address(found.octets, &found.family, data + at, 4 if kind == 1 else 16)
    return at + (4 if kind == 1 else 16)


cdef inline bint is_other(const Address *address, int family, const uint8_t *octets) noexcept nogil:
    return address.family and not (address.family == family and memcmp(address.octets, octets, 16) == 0)


cdef void translated(Telling *telling, const SampleRecord *nat, const SampleRecord *nat_port) noexcept nogil:
    """Pairs with a translated address (sFlow structures 0:1007 and 0:1020): as ``pairs._translated``."""
    cdef Sample *sample = telling.sample
    cdef Address src, dst
    cdef int64_t src_port = -1, dst_port = -1
    cdef Layer *layer
    cdef const Layer *header = NULL
    src.family = dst.family = 0
    if nat != NULL:
        read_address(nat.body, read_address(nat.body, 0, nat.size, &src), nat.size, &dst)
    if nat_port != NULL:
        src_port = number_at(nat_port.body, 0, nat_port.size)
        dst_port = number_at(nat_port.body, 4, nat_port.size)
    if sample.n_pairs and sample.pairs[0].layer == 0:
        header = &sample.layers[sample.pairs[0].at]
    elif not src.family or not dst.family:
        return
    if header == NULL or is_other(&src, header.src_family, header.src):
        layer = next_told(telling, header)
        layer.src_family = src.family
        memcpy(layer.src, src.octets, 16)
        if header == NULL or src_port >= 0:
            layer.src_port = src_port
        if header == NULL:
            layer.dst_family = dst.family
            memcpy(layer.dst, dst.octets, 16)
            layer.dst_port = dst_port
        told(telling)
    if header != NULL and is_other(&dst, header.dst_family, header.dst):
        layer = next_told(telling, header)
        layer.dst_family = dst.family
        memcpy(layer.dst, dst.octets, 16)
        if dst_port >= 0:
            layer.dst_port = dst_port
        told(telling)


cdef void tunnel(Telling *telling, const SampleRecord *record) noexcept nogil:
    """The outer pair of a tunnel that begins or ends at this switch: as ``pairs._tunnels``."""
    cdef int size = 4 if record.tag < TAG_TUNNELS_V6 else 16
    cdef Layer *layer
    if record.size < 8 + 2 * size:
        return
    layer = next_told(telling, NULL)
    set_address(layer.src, &layer.src_family, record.body + 8, size)
    set_address(layer.dst, &layer.dst_family, record.body + 8 + size, size)
    layer.protocol = be32(record.body + 4)
    # Ports of protocols without any stand as 0.
    layer.src_port = number_at(record.body, 8 + 2 * size, record.size) or -1
    layer.dst_port = number_at(record.body, 12 + 2 * size, record.size) or -1
    told(telling)


cdef void told_pairs(
    Sample *sample, int depth, const SampleRecord *records, int n,
    const Address *destinations, int n_destinations
) noexcept nogil:
    """Add the pairs that records tell of, in the order in which their formats first stand; of one format the last."""
    cdef const SampleRecord *last[MAX_TOLD]
    cdef int order[MAX_TOLD]
    cdef int i, kind, n_kinds = 0
    cdef Telling telling
    memset(last, 0, sizeof(last))
    for i in range(n):
        if not tells_of_pairs(records[i].tag):
            continue
        if records[i].tag == TAG_NAT:
            kind = 0
        elif records[i].tag == TAG_NAT_PORT:
            kind = 1
        else:
            kind = 2 + <int>(records[i].tag - TAG_TUNNELS)
        if last[kind] == NULL:
            order[n_kinds] = kind
            n_kinds += 1
        last[kind] = &records[i]
    telling.sample = sample
    telling.layer = max(depth, 1)
    telling.at = depth
    telling.destinations = destinations
    telling.n_destinations = n_destinations
    translated(&telling, last[0], last[1])
    for i in range(n_kinds):
        if order[i] >= 2:
            tunnel(&telling, last[order[i]])
