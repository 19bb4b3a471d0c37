# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# In a build that looks for reads out of bounds each datagram, flow sample, record and sampled header is moved into memory
# of its own size before it is read, so that one octet behind its end is found although more of the datagram follows.
# Whoever moves it lets it go, once nothing points there. Any other build does neither.


cdef inline const uint8_t *apart(const uint8_t *octets, int64_t size) noexcept nogil:
    cdef void *place
    if not EXACT_COPIES:
        return octets
    place = malloc(size)
    memcpy(place, octets, size)
    return <const uint8_t *>place


cdef inline void let_go(const uint8_t *octets) noexcept nogil:
    if EXACT_COPIES:
        free(<void *>octets)
