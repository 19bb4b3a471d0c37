# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# "Certainly not listed" with one look: nearly every address of a sample ends here.
#
# For IPv4 a bitmap has a bit for each /24. For IPv6 a filter has three bits, all in one word, for each /48 (a second one
# for each /32 of shorter prefixes): of a million prefixes it lets one foreign address in a hundred pass, and a look is one
# line of memory, fetched beforehand.

cdef enum:
    # Expanding a prefix shorter than this into /32s would cost more than it saves: all of IPv6 passes unasked.
    SHORTEST_EXPANDED_V6 = 16
    BITMAP4_BYTES = 2097152

cdef struct Filter:
    # NULL: nothing passes.
    uint64_t *words
    uint64_t mask


cdef inline uint64_t key32(uint64_t high) noexcept nogil:
    return mix((high >> 32) + 1)


cdef inline uint64_t key48(uint64_t high) noexcept nogil:
    return mix((high >> 16) ^ <uint64_t>0x9E3779B97F4A7C15)


cdef inline uint64_t bits_of(uint64_t key) noexcept nogil:
    """The key's three bits; which word has them is said by its lower bits, at most 18."""
    return (
        <uint64_t>1 << (key >> 58) | <uint64_t>1 << ((key >> 52) & 63) | <uint64_t>1 << ((key >> 46) & 63)
    )


cdef inline bint passes(const Filter *filter, uint64_t key) noexcept nogil:
    cdef uint64_t bits = bits_of(key)
    return filter.words[key & filter.mask] & bits == bits


cdef inline void let_pass(Filter *filter, uint64_t key) noexcept nogil:
    filter.words[key & filter.mask] |= bits_of(key)


cdef int filter_for(Filter *filter, uint64_t keys) noexcept nogil:
    """Sixteen bits for each key, from 512 octets up to 2 MiB; -1 without memory."""
    cdef uint64_t words = 64
    while words < keys // 4 and words < 1 << 18:
        words <<= 1
    filter.mask = words - 1
    filter.words = <uint64_t *>calloc(words, sizeof(uint64_t))
    return -1 if filter.words == NULL else 0


cdef inline size_t filter_bytes(const Filter *filter) noexcept nogil:
    return 0 if filter.words == NULL else (filter.mask + 1) * sizeof(uint64_t)


cdef uint8_t *bitmap_of(const uint32_t *starts, const uint8_t *lengths, uint32_t count) noexcept nogil:
    """The /24s that some prefix touches; NULL without memory."""
    cdef uint32_t i, first, behind
    cdef uint8_t *bitmap = <uint8_t *>calloc(BITMAP4_BYTES, 1)
    if bitmap == NULL:
        return NULL
    for i in range(count):
        first = starts[i] >> 8
        behind = first + 1 if lengths[i] >= 24 else first + (1 << (24 - lengths[i]))
        while first < behind:
            if first & 7 == 0 and behind - first >= 8:
                bitmap[first >> 3] = 0xFF
                first += 8
            else:
                bitmap[first >> 3] |= 1 << (first & 7)
                first += 1
    return bitmap


cdef int fill_filters(
    Filter *longer, Filter *shorter, const uint64_t *high, const uint8_t *lengths, uint32_t count
) noexcept nogil:
    """``longer`` by the /48 of each prefix that is no shorter, ``shorter`` by the /32s of the others; -1: no memory."""
    cdef uint64_t longs = 0, shorts = 0, first, behind
    cdef uint32_t i
    for i in range(count):
        if lengths[i] >= 48:
            longs += 1
        elif lengths[i] >= 32:
            shorts += 1
        elif lengths[i] >= SHORTEST_EXPANDED_V6:
            shorts += <uint64_t>1 << (32 - lengths[i])
        else:
            # Nothing is certainly not listed.
            longer.mask = 0
            longer.words = <uint64_t *>malloc(sizeof(uint64_t))
            if longer.words == NULL:
                return -1
            longer.words[0] = ~(<uint64_t>0)
            return 0
    if (longs and filter_for(longer, longs)) or (shorts and filter_for(shorter, shorts)):
        return -1
    for i in range(count):
        if lengths[i] >= 48:
            let_pass(longer, key48(high[i]))
            continue
        first = high[i] >> 32
        behind = first + 1 if lengths[i] >= 32 else first + (<uint64_t>1 << (32 - lengths[i]))
        while first < behind:
            let_pass(shorter, key32(first << 32))
            first += 1
    return 0
