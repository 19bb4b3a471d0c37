# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# The lists in force as flat arrays: never changed after they are made, read without the GIL.
#
# Prefixes stand in order of their first address, shorter ones before longer. Prefixes nest or are apart, so the longest
# that covers an address is the last one that begins at or before it, or one of those around that: each knows its parent.
# Most addresses never get there, see filters.pxi.

cdef uint32_t NONE = <uint32_t>(-1)

cdef struct Raw:
    uint64_t high
    uint64_t low
    uint32_t sources
    uint8_t length

cdef struct Table:
    uint32_t count
    # IPv4: starts4. IPv6: high and low.
    uint32_t *starts4
    uint64_t *high
    uint64_t *low
    uint8_t *lengths
    uint32_t *parents
    uint32_t *sources
    # Where the prefixes begin whose first address has at least these upper 16 bits.
    uint32_t *index
    # IPv4; NULL: nothing passes.
    uint8_t *bitmap
    # IPv6: prefixes of 48 bits and more, and the others.
    Filter longer
    Filter shorter


cdef int compare_raw(const void *a, const void *b) noexcept nogil:
    cdef const Raw *x = <const Raw *>a
    cdef const Raw *y = <const Raw *>b
    if x.high != y.high:
        return -1 if x.high < y.high else 1
    if x.low != y.low:
        return -1 if x.low < y.low else 1
    return <int>x.length - <int>y.length


cdef inline bint covers6(uint64_t high, uint64_t low, int length, uint64_t to_high, uint64_t to_low) noexcept nogil:
    if length == 0:
        return True
    if length <= 64:
        return (high ^ to_high) >> (64 - length) == 0
    return high == to_high and (low ^ to_low) >> (128 - length) == 0


cdef inline bint covers4(uint32_t start, int length, uint32_t address) noexcept nogil:
    return length == 0 or (start ^ address) >> (32 - length) == 0


cdef inline uint32_t find4(const Table *table, uint32_t address) noexcept nogil:
    """The longest prefix that covers the address, or NONE."""
    cdef uint32_t first, behind, middle, found
    if table.count == 0:
        return NONE
    first = table.index[address >> 16]
    behind = table.index[(address >> 16) + 1]
    while first < behind:
        middle = first + (behind - first) // 2
        if table.starts4[middle] <= address:
            first = middle + 1
        else:
            behind = middle
    found = first - 1 if first else NONE
    while found != NONE and not covers4(table.starts4[found], table.lengths[found], address):
        found = table.parents[found]
    return found


cdef inline uint32_t find6(const Table *table, uint64_t high, uint64_t low) noexcept nogil:
    cdef uint32_t first, behind, middle, found
    if table.count == 0:
        return NONE
    first = table.index[high >> 48]
    behind = table.index[(high >> 48) + 1]
    while first < behind:
        middle = first + (behind - first) // 2
        if table.high[middle] < high or (table.high[middle] == high and table.low[middle] <= low):
            first = middle + 1
        else:
            behind = middle
    found = first - 1 if first else NONE
    while found != NONE and not covers6(table.high[found], table.low[found], table.lengths[found], high, low):
        found = table.parents[found]
    return found


cdef inline bint maybe4(const Table *table, uint32_t address) noexcept nogil:
    return table.bitmap != NULL and table.bitmap[address >> 11] >> ((address >> 8) & 7) & 1


cdef inline bint maybe6(const Table *table, uint64_t high) noexcept nogil:
    return (table.longer.words != NULL and passes(&table.longer, key48(high))) or (
        table.shorter.words != NULL and passes(&table.shorter, key32(high))
    )


cdef inline void prefetch4(const Table *table, uint32_t address) noexcept nogil:
    if table.bitmap != NULL:
        prefetch(table.bitmap + (address >> 11))


cdef inline void prefetch6(const Table *table, uint64_t high) noexcept nogil:
    if table.longer.words != NULL:
        prefetch(&table.longer.words[key48(high) & table.longer.mask])
    if table.shorter.words != NULL:
        prefetch(&table.shorter.words[key32(high) & table.shorter.mask])


cdef inline void prefetch_starts4(const Table *table, uint32_t address) noexcept nogil:
    cdef uint32_t first, behind
    if table.count:
        first = table.index[address >> 16]
        behind = table.index[(address >> 16) + 1]
        prefetch(&table.starts4[first])
        prefetch(&table.starts4[first + (behind - first) // 2])


cdef inline void prefetch_index6(const Table *table, uint64_t high) noexcept nogil:
    if table.count:
        prefetch(&table.index[high >> 48])


cdef inline void prefetch_starts6(const Table *table, uint64_t high) noexcept nogil:
    cdef uint32_t first, behind
    if table.count:
        first = table.index[high >> 48]
        behind = table.index[(high >> 48) + 1]
        prefetch(&table.high[first + (behind - first) // 2])


cdef void free_table(Table *table) noexcept nogil:
    free(table.starts4)
    free(table.high)
    free(table.low)
    free(table.lengths)
    free(table.parents)
    free(table.sources)
    free(table.index)
    free(table.bitmap)
    free(table.longer.words)
    free(table.shorter.words)
    memset(table, 0, sizeof(Table))


cdef int link_parents(Table *table, const Raw *raw) noexcept nogil:
    """Each prefix's parent is the last one before it that covers it: those still open are a chain of parents."""
    cdef uint32_t i, around = NONE
    for i in range(table.count):
        while around != NONE and not covers6(
            raw[around].high, raw[around].low, raw[around].length, raw[i].high, raw[i].low
        ):
            around = table.parents[around]
        table.parents[i] = around
        around = i
    return 0


cdef int fill_index(Table *table, const Raw *raw) noexcept nogil:
    cdef uint32_t i = 0, upper
    for upper in range(65536):
        while i < table.count and raw[i].high >> 48 < upper:
            i += 1
        table.index[upper] = i
    table.index[65536] = table.count
    return 0


cdef bint in_order(const Raw *raw, uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(1, count):
        if compare_raw(&raw[i - 1], &raw[i]) > 0:
            return False
    return True


cdef int make_table(Table *table, Raw *raw, uint32_t count, bint v4) noexcept nogil:
    """0, or -1 without memory; the caller frees ``raw`` and, at -1, the table. IPv4 stands in the upper 32 bits."""
    cdef uint32_t i
    cdef size_t room = count
    memset(table, 0, sizeof(Table))
    if count == 0:
        return 0
    if not in_order(raw, count):
        qsort(raw, count, sizeof(Raw), compare_raw)
    table.count = count
    table.lengths = <uint8_t *>malloc(room)
    table.parents = <uint32_t *>malloc(room * 4)
    table.sources = <uint32_t *>malloc(room * 4)
    table.index = <uint32_t *>malloc(65537 * 4)
    if v4:
        table.starts4 = <uint32_t *>malloc(room * 4)
    else:
        table.high = <uint64_t *>malloc(room * 8)
        table.low = <uint64_t *>malloc(room * 8)
    if table.lengths == NULL or table.parents == NULL or table.sources == NULL or table.index == NULL:
        return -1
    if (v4 and table.starts4 == NULL) or (not v4 and (table.high == NULL or table.low == NULL)):
        return -1
    for i in range(count):
        table.lengths[i] = raw[i].length
        table.sources[i] = raw[i].sources
        if v4:
            table.starts4[i] = <uint32_t>(raw[i].high >> 32)
        else:
            table.high[i] = raw[i].high
            table.low[i] = raw[i].low
    link_parents(table, raw)
    fill_index(table, raw)
    if v4:
        table.bitmap = bitmap_of(table.starts4, table.lengths, count)
        return -1 if table.bitmap == NULL else 0
    return fill_filters(&table.longer, &table.shorter, table.high, table.lengths, count)


cdef size_t table_bytes(const Table *table, size_t each) noexcept nogil:
    cdef size_t size = table.count * each
    if table.index != NULL:
        size += 65537 * 4
    if table.bitmap != NULL:
        size += BITMAP4_BYTES
    return size + filter_bytes(&table.longer) + filter_bytes(&table.shorter)
