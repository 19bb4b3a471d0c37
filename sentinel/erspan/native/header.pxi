# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# From the outer header to the inner one: the twin of decapsulate.py and inner.py for what a live socket gives. Whatever
# isn't a whole, well-formed mirrored packet is left to them, which know its reason.

cdef struct Mirror:
    const uint8_t *frame
    Py_ssize_t size
    bint truncated
    # 0: not told, 1: ingress, 2: egress; also its value in a packet block.
    int direction
    # -1: none.
    int32_t session
    int64_t sequence

cdef struct Inner:
    # 0: no whole IP header.
    int family
    const uint8_t *ends
    # What is the same for the packet at every hop.
    uint8_t identity[IDENTITY_BYTES]
    Py_ssize_t identity_size


cdef inline uint32_t be16(const uint8_t *at) noexcept nogil:
    return (<uint32_t>at[0] << 8) | at[1]


cdef inline uint32_t be32(const uint8_t *at) noexcept nogil:
    return (be16(at) << 16) | be16(at + 2)


cdef bint decapsulated(const uint8_t *at, Py_ssize_t size, bint raw_ipv4, Mirror *mirror) noexcept nogil:
    """False: decapsulate.py is to say what it is."""
    cdef Py_ssize_t header, total
    cdef uint32_t flags, protocol, second, bits
    if raw_ipv4:
        if size < 20 or at[0] >> 4 != 4 or at[9] != GRE:
            return False
        header, total = (at[0] & 0x0F) * 4, be16(at + 2)
        # Cut, or a fragment.
        if header < 20 or total < header or size < total or be16(at + 6) & 0x3FFF:
            return False
        at, size = at + header, total - header
    if size < 4:
        return False
    flags, protocol = be16(at), be16(at + 2)
    if flags & (GRE_VERSION | GRE_ROUTING):
        return False
    header = 4 + (4 if flags & GRE_CHECKSUM else 0) + (4 if flags & GRE_KEY else 0)
    mirror.sequence = mirror.session = -1
    mirror.truncated = mirror.direction = False
    if flags & GRE_SEQUENCE:
        if size < header + 4:
            return False
        mirror.sequence = be32(at + header)
        header += 4
    if protocol == ERSPAN_III or (protocol == ERSPAN_I_II and mirror.sequence >= 0):
        if size < header + 12:
            return False
        second = be16(at + header + 2)
        mirror.session = second & 0x03FF
        mirror.truncated = (second & 0x0400) != 0
        if at[header] >> 4 == 1:
            header += 8
        elif at[header] >> 4 == 2:
            bits = be16(at + header + 10)
            if (bits >> 10) & 0x1F:
                return False
            mirror.direction = 2 if bits & 0x0008 else 1
            header += 20 if bits & 1 else 12
        else:
            return False
    elif protocol == MELLANOX:
        header += 22
    elif protocol != ERSPAN_I_II and protocol != BRIDGED:
        return False
    if size < header + MIN_FRAME_BYTES:
        return False
    mirror.frame, mirror.size = at + header, size - header
    return True


cdef void look_inside(const uint8_t *frame, Py_ssize_t size, Inner *inner) noexcept nogil:
    """The IP header behind any VLAN tags."""
    cdef Py_ssize_t at = 12, end, left
    cdef uint32_t kind
    cdef uint8_t *identity = inner.identity
    inner.family = 0
    while True:
        if size < at + 2:
            return
        kind = be16(frame + at)
        if kind != 0x8100 and kind != 0x88A8 and kind != 0x9100 and kind != 0x9200:
            break
        at += 4
    at += 2
    left = size - at
    frame += at
    if kind == 0x0800 and left >= 20 and frame[0] >> 4 == 4:
        inner.family, inner.ends = 4, frame + 12
        end = min(be16(frame + 2), <uint32_t>PREFIX_BYTES, left)
        memcpy(identity, frame + 2, 6)
        identity[6] = frame[9]
        inner.identity_size = 7
        if end > 12:
            memcpy(identity + 7, frame + 12, end - 12)
            inner.identity_size += end - 12
    elif kind == 0x86DD and left >= 40 and frame[0] >> 4 == 6:
        inner.family, inner.ends = 6, frame + 8
        end = min(40 + be16(frame + 4), <uint32_t>PREFIX_BYTES, left)
        memcpy(identity, frame + 4, 3)
        memcpy(identity + 3, frame + 8, end - 8)
        inner.identity_size = 3 + end - 8
