# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# The lists in force as flat arrays: never changed after they are made, read without the GIL.
#
# Prefixes stand in order of their first address, shorter ones before longer. Prefixes nest or are apart, so the longest
# that covers an address is the last one that begins at or before it, or one of those around that: each knows its parent.
# Most addresses never get there: a bitmap says "certainly not listed". For IPv4 it has a bit for each /24; for IPv6
# two hashed ones have a bit for each /32 of shorter prefixes and for each /48 of the others.

cdef uint32_t NONE = <uint32_t>(-1)

cdef enum:
    # Expanding a prefix shorter than this into bits would cost more than it saves: its family passes unasked.
    SHORTEST_EXPANDED_V6 = 16
    INDICATORS_KEPT = 65536

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
    # IPv4: 2^24 bits. IPv6: by /48, and by /32 for prefixes shorter than /48; NULL: no bit is set.
    uint8_t *bits
    uint8_t *short_bits
    uint64_t bits_mask
    uint64_t short_mask


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


cdef inline uint64_t key32(uint64_t high) noexcept nogil:
    return mix((high >> 32) + 1)


cdef inline uint64_t key48(uint64_t high) noexcept nogil:
    return mix((high >> 16) ^ <uint64_t>0x9E3779B97F4A7C15)


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
    return table.bits != NULL and table.bits[address >> 11] >> ((address >> 8) & 7) & 1


cdef inline bint bit(const uint8_t *bits, uint64_t mask, uint64_t key) noexcept nogil:
    key &= mask
    return bits[key >> 3] >> (key & 7) & 1


cdef inline bint maybe6(const Table *table, uint64_t high) noexcept nogil:
    return (table.bits != NULL and bit(table.bits, table.bits_mask, key48(high))) or (
        table.short_bits != NULL and bit(table.short_bits, table.short_mask, key32(high))
    )


cdef inline void prefetch4(const Table *table, uint32_t address) noexcept nogil:
    if table.bits != NULL:
        prefetch(table.bits + (address >> 11))


cdef inline void prefetch6(const Table *table, uint64_t high) noexcept nogil:
    if table.bits != NULL:
        prefetch(table.bits + ((key48(high) & table.bits_mask) >> 3))


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
    free(table.bits)
    free(table.short_bits)
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


cdef int fill_bits4(Table *table) noexcept nogil:
    cdef uint32_t i, first, behind
    table.bits = <uint8_t *>calloc(1 << 21, 1)
    if table.bits == NULL:
        return -1
    for i in range(table.count):
        first = table.starts4[i] >> 8
        behind = first + 1 if table.lengths[i] >= 24 else first + (1 << (24 - table.lengths[i]))
        while first < behind:
            if first & 7 == 0 and behind - first >= 8:
                table.bits[first >> 3] = 0xFF
                first += 8
            else:
                table.bits[first >> 3] |= 1 << (first & 7)
                first += 1
    return 0


cdef uint64_t mask_for(uint64_t keys) noexcept nogil:
    """Bits enough that one in sixteen is set, from 512 octets up to 2 MiB."""
    cdef uint64_t size = 1 << 12
    while size < keys * 16 and size < (1 << 24):
        size <<= 1
    return size - 1


cdef int fill_bits6(Table *table) noexcept nogil:
    cdef uint64_t longs = 0, shorts = 0, key, first, behind
    cdef uint32_t i
    for i in range(table.count):
        if table.lengths[i] >= 48:
            longs += 1
        elif table.lengths[i] >= 32:
            shorts += 1
        elif table.lengths[i] >= SHORTEST_EXPANDED_V6:
            shorts += <uint64_t>1 << (32 - table.lengths[i])
        else:
            shorts = <uint64_t>1 << 40
            break
    if shorts >> 40:
        # Nothing is certainly not listed.
        table.bits = <uint8_t *>calloc(1, 1)
        if table.bits == NULL:
            return -1
        table.bits[0] = 0xFF
        table.bits_mask = 0
        return 0
    if longs:
        table.bits_mask = mask_for(longs)
        table.bits = <uint8_t *>calloc((table.bits_mask + 1) >> 3, 1)
        if table.bits == NULL:
            return -1
    if shorts:
        table.short_mask = mask_for(shorts)
        table.short_bits = <uint8_t *>calloc((table.short_mask + 1) >> 3, 1)
        if table.short_bits == NULL:
            return -1
    for i in range(table.count):
        if table.lengths[i] >= 48:
            key = key48(table.high[i]) & table.bits_mask
            table.bits[key >> 3] |= 1 << (key & 7)
            continue
        first = table.high[i] >> 32
        behind = first + 1 if table.lengths[i] >= 32 else first + (<uint64_t>1 << (32 - table.lengths[i]))
        while first < behind:
            key = key32(first << 32) & table.short_mask
            table.short_bits[key >> 3] |= 1 << (key & 7)
            first += 1
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
    cdef size_t room = count if count else 1
    memset(table, 0, sizeof(Table))
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
    if count:
        return fill_bits4(table) if v4 else fill_bits6(table)
    return 0


cdef int parse_prefix(const char *text, Py_ssize_t size, Raw *raw) noexcept nogil:
    """Canonical CIDR text to ``raw``; 4 or 6, or 0 for anything else."""
    cdef char address[48]
    cdef uint8_t octets[16]
    cdef Py_ssize_t slash = size - 1
    cdef int length = 0, place = 1, family
    while slash >= 0 and text[slash] != 47:
        if text[slash] < 48 or text[slash] > 57 or place > 100:
            return 0
        length += (text[slash] - 48) * place
        place *= 10
        slash -= 1
    if slash <= 0 or slash > 46:
        return 0
    memcpy(address, text, slash)
    address[slash] = 0
    memset(octets, 0, 16)
    if inet_pton(AF_INET, address, octets) == 1:
        family = 4
    elif inet_pton(AF_INET6, address, octets) == 1:
        family = 6
    else:
        return 0
    if length > (32 if family == 4 else 128):
        return 0
    raw.high = be64(octets)
    raw.low = be64(octets + 8)
    raw.length = length
    return family


@cython.final
cdef class Frozen:
    """The tables of one ``Blacklist``; made once, when the lists are loaded, and swapped with them."""

    cdef Table v4
    cdef Table v6
    cdef Table allowed4
    cdef Table allowed6
    cdef list _sources
    cdef dict _kept

    def __init__(self, blacklist):
        numbers = {}
        self._sources = []
        self._kept = {}
        self._load(blacklist.entries(), blacklist.prefixes_v4, blacklist.prefixes_v6, &self.v4, &self.v6, numbers)
        self._sources = list(numbers)
        allowed = [(prefix, ()) for prefix in blacklist.allowed_prefixes()]
        self._load(allowed, len(allowed), len(allowed), &self.allowed4, &self.allowed6, {})

    def __dealloc__(self):
        free_table(&self.v4)
        free_table(&self.v6)
        free_table(&self.allowed4)
        free_table(&self.allowed6)

    cdef int _load(self, entries, uint32_t most4, uint32_t most6, Table *v4, Table *v6, dict numbers) except -1:
        cdef Raw *raw4 = <Raw *>malloc((<size_t>most4 + 1) * sizeof(Raw))
        cdef Raw *raw6 = <Raw *>malloc((<size_t>most6 + 1) * sizeof(Raw))
        cdef uint32_t count4 = 0, count6 = 0, done = 0
        cdef Py_ssize_t size
        cdef const char *text
        cdef Raw one
        cdef int family, failed
        try:
            if raw4 == NULL or raw6 == NULL:
                raise MemoryError
            for prefix, sources in entries:
                text = PyUnicode_AsUTF8AndSize(prefix, &size)
                family = parse_prefix(text, size, &one)
                one.sources = numbers.setdefault(sources, len(numbers))
                if family == 4 and count4 < most4:
                    raw4[count4] = one
                    count4 += 1
                elif family == 6 and count6 < most6:
                    raw6[count6] = one
                    count6 += 1
                else:
                    raise ValueError(f"{prefix!r} is no prefix that was announced")
                done += 1
                if done & 0x3FF == 0:
                    # Whoever receives must not wait for a million of these.
                    with nogil:
                        pass
            with nogil:
                failed = make_table(v4, raw4, count4, True) or make_table(v6, raw6, count6, False)
            if failed:
                raise MemoryError
        finally:
            free(raw4)
            free(raw6)
        return 0

    @property
    def size_bytes(self):
        """Octets of all arrays."""
        return (
            table_bytes(&self.v4, 13) + table_bytes(&self.v6, 25)
            + table_bytes(&self.allowed4, 13) + table_bytes(&self.allowed6, 25)
        )

    def lookup_packed(self, bytes packed):
        """As ``Blacklist.lookup_packed``, from these tables."""
        cdef const uint8_t *octets = packed
        cdef uint32_t found
        cdef uint64_t high
        if len(packed) == 4:
            found = self.listed4(be32(octets)) if maybe4(&self.v4, be32(octets)) else NONE
            return () if found == NONE else self._indicators(4, found)
        if len(packed) == 16:
            high = be64(octets)
            found = self.listed6(high, be64(octets + 8)) if maybe6(&self.v6, high) else NONE
            return () if found == NONE else self._indicators(6, found)
        raise ValueError("an address has 4 or 16 octets")

    def covering(self, bytes packed):
        """Every indicator that covers 4 or 16 octets, longest prefix first, whether or not it is overruled."""
        cdef const uint8_t *octets = packed
        cdef uint32_t found
        if len(packed) == 4:
            found = find4(&self.v4, be32(octets))
            return () if found == NONE else self._indicators(4, found)
        if len(packed) == 16:
            found = find6(&self.v6, be64(octets), be64(octets + 8))
            return () if found == NONE else self._indicators(6, found)
        raise ValueError("an address has 4 or 16 octets")

    def entries(self):
        """Every prefix as canonical CIDR text, with the (feed, group) pairs that list it, in order of addresses."""
        cdef uint32_t i
        for i in range(self.v4.count):
            yield self._prefix(&self.v4, 4, i), self._sources[self.v4.sources[i]]
        for i in range(self.v6.count):
            yield self._prefix(&self.v6, 6, i), self._sources[self.v6.sources[i]]

    cdef uint32_t listed4(self, uint32_t address) noexcept nogil:
        """The longest listed prefix that covers an address and is not overruled, or NONE."""
        cdef uint32_t found = find4(&self.v4, address)
        if found != NONE and find4(&self.allowed4, address) != NONE:
            return NONE
        return found

    cdef uint32_t listed6(self, uint64_t high, uint64_t low) noexcept nogil:
        cdef uint32_t found = find6(&self.v6, high, low)
        if found != NONE and find6(&self.allowed6, high, low) != NONE:
            return NONE
        return found

    cdef tuple _indicators(self, int family, uint32_t found):
        """Those of a prefix and of all around it; the same tuple each time, as most hits are of few prefixes."""
        cdef uint64_t key = (<uint64_t>family << 32) | found
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        indicators = []
        cdef Table *table = &self.v4 if family == 4 else &self.v6
        while found != NONE:
            prefix = self._prefix(table, family, found)
            for feed, group in self._sources[table.sources[found]]:
                indicators.append(Indicator(prefix, feed, group))
            found = table.parents[found]
        made = tuple(indicators)
        if len(self._kept) >= INDICATORS_KEPT:
            self._kept.clear()
        self._kept[key] = made
        return made

    cdef str _prefix(self, Table *table, int family, uint32_t at):
        cdef uint8_t octets[16]
        cdef int i
        if family == 4:
            put32(octets, table.starts4[at])
        else:
            put32(octets, <uint32_t>(table.high[at] >> 32))
            put32(octets + 4, <uint32_t>table.high[at])
            put32(octets + 8, <uint32_t>(table.low[at] >> 32))
            put32(octets + 12, <uint32_t>table.low[at])
        return f"{text_of(family, octets)}/{table.lengths[at]}"


cdef inline void put32(uint8_t *at, uint32_t value) noexcept nogil:
    at[0] = value >> 24
    at[1] = (value >> 16) & 0xFF
    at[2] = (value >> 8) & 0xFF
    at[3] = value & 0xFF


cdef size_t table_bytes(const Table *table, size_t each) noexcept nogil:
    cdef size_t size = table.count * each
    if table.index != NULL:
        size += 65537 * 4
    if table.bits != NULL:
        size += (1 << 21) if table.starts4 != NULL else (table.bits_mask + 1 + 7) >> 3
    if table.short_bits != NULL:
        size += (table.short_mask + 1 + 7) >> 3
    return size


cdef str text_of(int family, const uint8_t *octets):
    cdef char text[48]
    cdef int i, size = 0
    if family == 4:
        # What inet_ntop does with sprintf.
        for i in range(4):
            if octets[i] >= 100:
                text[size] = 48 + octets[i] // 100
                size += 1
            if octets[i] >= 10:
                text[size] = 48 + octets[i] // 10 % 10
                size += 1
            text[size] = 48 + octets[i] % 10
            text[size + 1] = 46
            size += 2
        return PyUnicode_DecodeASCII(text, size - 1, NULL)
    if inet_ntop(AF_INET if family == 4 else AF_INET6, octets, text, 48) == NULL:
        raise ValueError("no address")
    return text.decode("ascii")
