# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# A sampled header's layers: the twin of sflow/header.py, link.py and network.py, which name the sources.
#
# A parser takes the header, where to read (step.at), the end of what is its (step.end) and the layer; it writes what
# it reads into the layer and the header that follows into the step, and returns 1, or 0 where it can go no further.
# It reads an octet only after comparing with step.end, which never lies behind the header's own end.

cdef enum:
    K_ETHERNET = 1
    K_PPP = 7
    K_IPV4 = 11
    K_IPV6 = 12
    K_MPLS = 13
    K_POS = 14
    K_GRE = 20
    K_NSH = 21

cdef struct Step:
    int kind
    bint inner
    int64_t at
    int64_t end

# -1 stands for absent wherever the twin has None.
cdef struct Layer:
    uint8_t src[16]
    uint8_t dst[16]
    # Of one packet both are equal, or 0 where it is not IP; what NAT puts in may differ from what it takes out.
    int src_family
    int dst_family
    bint filled
    bint mirror
    int64_t protocol
    int64_t src_port
    int64_t dst_port
    int64_t tcp_flags
    int64_t icmp_type
    int64_t vni


cdef inline void layer_clear(Layer *layer) noexcept nogil:
    layer.src_family = 0
    layer.dst_family = 0
    layer.filled = False
    layer.mirror = False
    layer.protocol = -1
    layer.src_port = -1
    layer.dst_port = -1
    layer.tcp_flags = -1
    layer.icmp_type = -1
    layer.vni = -1


cdef inline int go(Step *step, int kind, int64_t at, int64_t end, bint inner) noexcept nogil:
    step.kind = kind
    step.at = at
    step.end = end
    step.inner = inner
    return 1


cdef inline int by_nibble(const uint8_t *data, int64_t at, int64_t end, bint inner, Step *step) noexcept nogil:
    if at >= end:
        return 0
    if data[at] >> 4 == 4:
        return go(step, K_IPV4, at, end, inner)
    if data[at] >> 4 == 6:
        return go(step, K_IPV6, at, end, inner)
    return 0


# --- link ----------------------------------------------------------------------------------------

cdef int link_payload(int kind, const uint8_t *data, int64_t at, int64_t end, Step *step) noexcept nogil:
    if kind == 0x0800:
        return go(step, K_IPV4, at, end, False)
    if kind == 0x86DD:
        return go(step, K_IPV6, at, end, False)
    if kind == 0x8847 or kind == 0x8848:
        return go(step, K_MPLS, at, end, False)
    if kind == 0x894F:
        return go(step, K_NSH, at, end, False)
    if kind == 0x8864 and end - at >= 6 and data[at + 1] == 0:
        return go(step, K_PPP, at + 6, end, False)
    if kind == 0x88E7 and end - at >= 4:
        return go(step, K_ETHERNET, at + 4, end, True)
    return 0


cdef int llc(const uint8_t *data, int64_t at, int64_t end, Layer *layer, Step *step) noexcept nogil:
    if end - at < 8 or data[at] != 0xAA or data[at + 1] != 0xAA or data[at + 2] != 3:
        return 0
    if data[at + 3] != 0 or data[at + 4] != 0 or (data[at + 5] != 0 and data[at + 5] != 0xF8):
        return 0
    layer.filled = True
    return link_payload(be16(data + at + 6), data, at + 8, end, step)


cdef int ether_type(const uint8_t *data, int64_t at, int64_t end, Layer *layer, Step *step) noexcept nogil:
    cdef int kind, tags
    for tags in range(MAX_VLAN_TAGS_C + 1):
        if end - at < 2:
            return 0
        kind = be16(data + at)
        at += 2
        if kind == 0x8100 or kind == 0x88A8 or kind == 0x9100 or kind == 0x9200 or kind == 0x9300:
            if end - at < 2:
                return 0
            layer.filled = True
            at += 2
        elif kind == 0x8926:
            at += 4
        elif kind == 0x893F or kind == 0x8909:
            at += 6
        elif kind < 0x600:
            return llc(data, at, min(end, at + kind), layer, step)
        else:
            layer.filled = True
            return link_payload(kind, data, at, end, step)
    return 0


cdef inline int ethernet(const uint8_t *data, int64_t at, int64_t end, Layer *layer, Step *step) noexcept nogil:
    if end - at < 6:
        return 0
    layer.filled = True
    if end - at < 12:
        return 0
    return ether_type(data, at + 12, end, layer, step)


cdef int ppp(const uint8_t *data, int64_t at, int64_t end, Step *step) noexcept nogil:
    cdef int kind, size
    if end - at >= 2 and data[at] == 0xFF and data[at + 1] == 3:
        at += 2
    if at >= end:
        return 0
    size = 1 if data[at] & 1 else 2
    if end - at < size:
        return 0
    kind = data[at] if size == 1 else be16(data + at)
    at += size
    if kind == 0x0021:
        return go(step, K_IPV4, at, end, False)
    if kind == 0x0057:
        return go(step, K_IPV6, at, end, False)
    if kind == 0x0281 or kind == 0x0283:
        return go(step, K_MPLS, at, end, False)
    return 0


cdef int pos(const uint8_t *data, int64_t at, int64_t end, Layer *layer, Step *step) noexcept nogil:
    if end - at >= 4 and (data[at] == 0x0F or data[at] == 0x8F) and data[at + 1] == 0:
        return ether_type(data, at + 2, end, layer, step)
    return ppp(data, at, end, step)


cdef int mpls(const uint8_t *data, int64_t at, int64_t end, Layer *layer, Step *step) noexcept nogil:
    cdef int labels = 0
    cdef bint bottom = False
    cdef uint32_t last = 0
    while not bottom and labels < MAX_MPLS_LABELS_C and end - at >= 4:
        last = be32(data + at) >> 12
        bottom = data[at + 2] & 1
        labels += 1
        at += 4
    layer.filled = True
    if not bottom or at >= end:
        return 0
    if by_nibble(data, at, end, False, step):
        return 1
    if last == 0 or last == 2:
        return 0
    if data[at] >> 4 == 0 and end - at >= 4 + 14:
        return go(step, K_ETHERNET, at + 4, end, True)
    if data[at] >> 4 > 1 and end - at >= 14:
        return go(step, K_ETHERNET, at, end, True)
    return 0


cdef int nsh(const uint8_t *data, int64_t at, int64_t end, Step *step) noexcept nogil:
    cdef int64_t words
    cdef int following
    if end - at < 8:
        return 0
    words = data[at + 1] & 0x3F
    following = data[at + 3]
    at += max(words, <int64_t>2) * 4
    if at >= end:
        return 0
    if following == 1:
        return go(step, K_IPV4, at, end, False)
    if following == 2:
        return go(step, K_IPV6, at, end, False)
    if following == 3:
        return go(step, K_ETHERNET, at, end, True)
    if following == 5:
        return go(step, K_MPLS, at, end, False)
    return 0


# --- network -------------------------------------------------------------------------------------

cdef inline bint has_ports(int64_t protocol) noexcept nogil:
    return protocol == 6 or protocol == 17 or protocol == 33 or protocol == 132 or protocol == 136


cdef int transport(int protocol, const uint8_t *data, int64_t at, int64_t end, Layer *layer, Step *step) noexcept nogil:
    if has_ports(protocol):
        if end - at < 4:
            return 0
        layer.src_port = be16(data + at)
        layer.dst_port = be16(data + at + 2)
        if protocol == 6 and end - at >= 14:
            layer.tcp_flags = data[at + 13]
        if protocol == 17:
            return behind_udp(data, at + 8, end, layer, step)
        return 0
    if at >= end:
        return 0
    if protocol == 1 or protocol == 58:
        layer.icmp_type = data[at]
        return 0
    if protocol == 4 or protocol == 41 or protocol == 94:
        return by_nibble(data, at, end, True, step)
    if protocol == 47:
        return go(step, K_GRE, at, end, False)
    if protocol == 137:
        return go(step, K_MPLS, at, end, True)
    if protocol == 97 and end - at >= 2 and data[at] >> 4 == 3:
        return go(step, K_ETHERNET, at + 2, end, True)
    return 0


cdef int behind_extensions(
    int protocol, const uint8_t *data, int64_t at, int64_t end, Layer *layer, Step *step
) noexcept nogil:
    cdef int64_t size
    cdef int headers
    for headers in range(MAX_EXTENSION_HEADERS_C):
        layer.protocol = protocol
        if not (
            protocol == 0 or protocol == 43 or protocol == 60 or protocol == 135 or protocol == 139 or protocol == 140
            or protocol == 44 or protocol == 51
        ):
            return transport(protocol, data, at, end, layer, step)
        if end - at < 8:
            return 0
        if protocol == 44:
            size = 8
            if be16(data + at + 2) & 0xFFF8:
                layer.protocol = data[at]
                return 0
        elif protocol == 51:
            size = (<int64_t>data[at + 1] + 2) * 4
        else:
            size = (<int64_t>data[at + 1] + 1) * 8
        protocol = data[at]
        at += size
    return 0


cdef inline int ipv4(const uint8_t *data, int64_t at, int64_t end, Layer *layer, Step *step) noexcept nogil:
    cdef int64_t header_size, total
    cdef int protocol
    if end - at < 20 or data[at] >> 4 != 4:
        return 0
    header_size = <int64_t>(data[at] & 0xF) * 4
    total = be16(data + at + 2)
    protocol = data[at + 9]
    layer.filled = True
    layer.protocol = protocol
    layer.src_family = 4
    layer.dst_family = 4
    memset(layer.src, 0, 16)
    memset(layer.dst, 0, 16)
    memcpy(layer.src, data + at + 12, 4)
    memcpy(layer.dst, data + at + 16, 4)
    if header_size < 20 or be16(data + at + 6) & 0x1FFF:
        return 0
    if total >= header_size:
        end = min(end, at + total)
    at += header_size
    if protocol == 51:
        return behind_extensions(protocol, data, at, end, layer, step)
    return transport(protocol, data, at, end, layer, step)


cdef inline int ipv6(const uint8_t *data, int64_t at, int64_t end, Layer *layer, Step *step) noexcept nogil:
    cdef int64_t payload
    if end - at < 40 or data[at] >> 4 != 6:
        return 0
    payload = be16(data + at + 4)
    layer.filled = True
    layer.src_family = 6
    layer.dst_family = 6
    memcpy(layer.src, data + at + 8, 16)
    memcpy(layer.dst, data + at + 24, 16)
    if payload:
        end = min(end, at + 40 + payload)
    return behind_extensions(data[at + 6], data, at + 40, end, layer, step)


# --- the walk ------------------------------------------------------------------------------------

cdef int walk(const uint8_t *data, int64_t end, uint32_t protocol, Layer *layers) noexcept nogil:
    """Fill ``layers`` (of MAX_LAYERS) and return how many there are, up to the last in which anything was read."""
    cdef Step step
    cdef int depth = 0, steps, more = 0
    cdef Layer *layer = layers
    layer_clear(layer)
    if protocol == K_IPV4 or protocol == K_IPV6:
        more = by_nibble(data, 0, end, False, &step)
    elif protocol == K_ETHERNET or protocol == K_PPP or protocol == K_MPLS or protocol == K_POS:
        more = go(&step, <int>protocol, 0, end, False)
    for steps in range(MAX_HEADER_STEPS_C):
        if not more or step.at > step.end:
            break
        if step.inner:
            if depth + 1 > MAX_TUNNEL_DEPTH_C:
                break
            depth += 1
            layer = &layers[depth]
            layer_clear(layer)
        if step.kind == K_ETHERNET:
            more = ethernet(data, step.at, step.end, layer, &step)
        elif step.kind == K_IPV4:
            more = ipv4(data, step.at, step.end, layer, &step)
        elif step.kind == K_IPV6:
            more = ipv6(data, step.at, step.end, layer, &step)
        elif step.kind == K_MPLS:
            more = mpls(data, step.at, step.end, layer, &step)
        elif step.kind == K_GRE:
            more = gre(data, step.at, step.end, layer, &step)
        elif step.kind == K_PPP:
            more = ppp(data, step.at, step.end, &step)
        elif step.kind == K_POS:
            more = pos(data, step.at, step.end, layer, &step)
        else:
            more = nsh(data, step.at, step.end, &step)
    while depth >= 0 and not layers[depth].filled:
        depth -= 1
    return depth + 1
