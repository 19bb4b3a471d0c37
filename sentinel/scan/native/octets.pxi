# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Octets in network order, and hashes of them. Callers know that the octets are there.

cdef inline int be16(const uint8_t *at) noexcept nogil:
    return (<int>at[0] << 8) | at[1]


cdef inline uint32_t be32(const uint8_t *at) noexcept nogil:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]


cdef inline uint64_t be64(const uint8_t *at) noexcept nogil:
    return (<uint64_t>be32(at) << 32) | be32(at + 4)


cdef inline uint64_t word(const void *at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return value


cdef inline uint64_t mix(uint64_t value) noexcept nogil:
    # The finaliser of splitmix64: every bit of the input moves every bit of the output.
    value ^= value >> 30
    value *= <uint64_t>0xBF58476D1CE4E5B9
    value ^= value >> 27
    value *= <uint64_t>0x94D049BB133111EB
    return value ^ (value >> 31)


cdef extern from * nogil:
    """
    #include <stdint.h>
    static inline uint64_t sentinel_folded(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    # Both halves of a product in one: the step of wyhash.
    uint64_t folded "sentinel_folded"(uint64_t a, uint64_t b)


cdef inline uint64_t seed_of(const void *place) noexcept nogil:
    """Where the system put a table is not for an agent to know: its numbers must not choose their own slots."""
    return mix(<uint64_t>place)
