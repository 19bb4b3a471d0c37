# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# The lists in force as the scan asks for them: made from text once, when they are loaded, and swapped whole.

cdef enum:
    INDICATORS_KEPT = 65536


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
