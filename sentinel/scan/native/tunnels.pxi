# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Headers of tunnels: the twin of sflow/tunnel.py, which names the sources. The parsers keep the rules of header.pxi.

cdef int of_ether_type(int kind, int64_t at, int64_t end, Step *step) noexcept nogil:
    if kind == 0x6558:
        return go(step, K_ETHERNET, at, end, True)
    if kind == 0x0800:
        return go(step, K_IPV4, at, end, True)
    if kind == 0x86DD:
        return go(step, K_IPV6, at, end, True)
    if kind == 0x8847 or kind == 0x8848:
        return go(step, K_MPLS, at, end, True)
    if kind == 0x880B:
        return go(step, K_PPP, at, end, True)
    if kind == 0x894F:
        return go(step, K_NSH, at, end, True)
    return 0


cdef inline int64_t be24(const uint8_t *at) noexcept nogil:
    return (<int64_t>at[0] << 16) | (<int64_t>at[1] << 8) | at[2]


cdef int vxlan(const uint8_t *data, int64_t at, int64_t end, Layer *layer, Step *step) noexcept nogil:
    if end - at < 8 or not data[at] & 0x08:
        return 0
    layer.vni = be24(data + at + 4)
    return go(step, K_ETHERNET, at + 8, end, True)


cdef int vxlan_gpe(const uint8_t *data, int64_t at, int64_t end, Layer *layer, Step *step) noexcept nogil:
    cdef int following
    if end - at < 8 or not data[at] & 0x08:
        return 0
    layer.vni = be24(data + at + 4)
    following = data[at + 3]
    at += 8
    if following == 0 or following == 3:
        return go(step, K_ETHERNET, at, end, True)
    if following == 1:
        return go(step, K_IPV4, at, end, True)
    if following == 2:
        return go(step, K_IPV6, at, end, True)
    if following == 4:
        return go(step, K_NSH, at, end, True)
    if following == 5:
        return go(step, K_MPLS, at, end, True)
    return 0


cdef int geneve(const uint8_t *data, int64_t at, int64_t end, Layer *layer, Step *step) noexcept nogil:
    if end - at < 8 or data[at] >> 6:
        return 0
    layer.vni = be24(data + at + 4)
    return of_ether_type(be16(data + at + 2), at + 8 + <int64_t>(data[at] & 0x3F) * 4, end, step)


cdef int gtp_user(const uint8_t *data, int64_t at, int64_t end, Step *step) noexcept nogil:
    cdef int flags
    if end - at < 8 or data[at] >> 4 != 3 or data[at + 1] != 0xFF:
        return 0
    flags = data[at] & 7
    at += 8
    if flags:
        at += 4
        while flags & 4 and at <= end and data[at - 1]:
            if at >= end or not data[at]:
                return 0
            at += <int64_t>data[at] * 4
    return by_nibble(data, at, end, True, step)


cdef int gre(const uint8_t *data, int64_t at, int64_t end, Layer *layer, Step *step) noexcept nogil:
    cdef int flags, protocol
    if end - at < 4:
        return 0
    flags = be16(data + at)
    protocol = be16(data + at + 2)
    if protocol == 0x88BE or protocol == 0x22EB or protocol == 0x8949:
        layer.mirror = True
        layer.filled = True
        return 0
    if (flags & 7) > 1 or flags & 0x4000:
        return 0
    at += 4
    if flags & 0x8000:
        at += 4
    if flags & 0x2000:
        at += 4
    if flags & 0x1000:
        at += 4
    if (flags & 7) == 1 and flags & 0x0080:
        at += 4
    return of_ether_type(protocol, at, end, step)


cdef int behind_udp(const uint8_t *data, int64_t at, int64_t end, Layer *layer, Step *step) noexcept nogil:
    cdef int64_t to = layer.dst_port, source = layer.src_port
    if at >= end:
        return 0
    if to == 4789 or to == 8472:
        return vxlan(data, at, end, layer, step)
    if to == 4790:
        return vxlan_gpe(data, at, end, layer, step)
    if to == 6081:
        return geneve(data, at, end, layer, step)
    if to == 4754:
        return gre(data, at, end, layer, step)
    if to == 6635:
        return go(step, K_MPLS, at, end, True)
    if to == 2152:
        return gtp_user(data, at, end, step)
    if source == 4789 or source == 8472:
        if end - at >= 8 and be32(data + at) == 0x08000000 and data[at + 7] == 0:
            return vxlan(data, at, end, layer, step)
        return 0
    if source == 4790:
        return vxlan_gpe(data, at, end, layer, step)
    if source == 6081:
        return geneve(data, at, end, layer, step)
    if source == 2152:
        return gtp_user(data, at, end, step)
    return 0
