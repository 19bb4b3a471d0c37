# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# The packet blocks of a pcapng file, one behind the other in memory: the twin of pcapng.packet.

# The blocks of one capture.
cdef struct Out:
    uint8_t *data
    size_t size
    size_t room


cdef uint8_t *make_room(Out *out, size_t size) except NULL:
    """Where the next octets go."""
    cdef size_t room = out.room
    cdef uint8_t *grown
    if out.size + size > room:
        while out.size + size > room:
            room = max(room * 2, <size_t>4096)
        grown = <uint8_t *>realloc(out.data, room)
        if grown == NULL:
            raise MemoryError
        out.data, out.room = grown, room
    return out.data + out.size


cdef inline uint8_t *put32(uint8_t *at, uint32_t value) noexcept:
    value = htole32(value)
    memcpy(at, &value, 4)
    return at + 4


cdef inline uint8_t *put64(uint8_t *at, uint64_t value) noexcept:
    return put32(put32(at, <uint32_t>value), <uint32_t>(value >> 32))


cdef int put_block(
    Out *out, uint32_t interface, int64_t at_ns, Mirror *mirror, uint64_t lost, uint64_t packet_id,
    bytes comments,
) except -1:
    """An enhanced packet block, as ``pcapng.packet`` makes it."""
    cdef Py_ssize_t said_bytes = len(comments) if comments is not None else 0
    cdef size_t padding = <size_t>(-mirror.size) & 3, size
    cdef uint8_t *at
    size = 32 + mirror.size + padding + said_bytes + 16 + (8 if mirror.direction else 0) + (12 if lost else 0)
    at = make_room(out, size)
    at = put32(at, 6)
    at = put32(at, size)
    at = put32(at, interface)
    at = put32(at, <uint32_t>(<uint64_t>at_ns >> 32))
    at = put32(at, <uint32_t>at_ns)
    at = put32(at, mirror.size)
    at = put32(at, mirror.size)
    memcpy(at, mirror.frame, mirror.size)
    at += mirror.size
    memset(at, 0, padding)
    at += padding
    if said_bytes:
        memcpy(at, <const uint8_t *>comments, said_bytes)
        at += said_bytes
    if mirror.direction:
        # epb_flags, epb_dropcount, epb_packetid, the end of options.
        at = put32(at, 2 | 4 << 16)
        at = put32(at, mirror.direction)
    if lost:
        at = put32(at, 4 | 8 << 16)
        at = put64(at, lost)
    at = put32(at, 5 | 8 << 16)
    at = put64(at, packet_id)
    at = put32(at, 0)
    put32(at, size)
    out.size += size
    return 0
