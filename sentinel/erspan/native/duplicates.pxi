# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# The twin of duplicates.py. Packets met once, nearly all, lie in two open-addressed tables; those met again are Python
# objects beside them.

cdef extern from * nogil:
    """
    #include <stdint.h>
    #include <string.h>
    #define SENTINEL_ROTATED(value, bits) ((value) << (bits) | (value) >> (64 - (bits)))
    #define SENTINEL_ROUND(a, b, c, d) \\
        a += b; b = SENTINEL_ROTATED(b, 13) ^ a; a = SENTINEL_ROTATED(a, 32); \\
        c += d; d = SENTINEL_ROTATED(d, 16) ^ c; \\
        a += d; d = SENTINEL_ROTATED(d, 21) ^ a; \\
        c += b; b = SENTINEL_ROTATED(b, 17) ^ c; c = SENTINEL_ROTATED(c, 32)

    /* SipHash-1-3: keyed, so that nobody outside can make two packets fall together. */
    static uint64_t sentinel_keyed_hash(const uint64_t *key, const uint8_t *octets, size_t size) {
        uint64_t a = key[0] ^ 0x736f6d6570736575, b = key[1] ^ 0x646f72616e646f6d;
        uint64_t c = key[0] ^ 0x6c7967656e657261, d = key[1] ^ 0x7465646279746573, word;
        uint64_t last = (uint64_t)size << 56;
        for (; size >= 8; size -= 8, octets += 8) {
            memcpy(&word, octets, 8);
            d ^= word;
            SENTINEL_ROUND(a, b, c, d);
            a ^= word;
        }
        word = 0;
        memcpy(&word, octets, size);
        last |= word;
        d ^= last;
        SENTINEL_ROUND(a, b, c, d);
        a ^= last;
        c ^= 0xff;
        SENTINEL_ROUND(a, b, c, d);
        SENTINEL_ROUND(a, b, c, d);
        SENTINEL_ROUND(a, b, c, d);
        return a ^ b ^ c ^ d;
    }
    """
    uint64_t sentinel_keyed_hash(const uint64_t *key, const uint8_t *octets, size_t size)

cdef struct Once:
    # 0: an empty slot.
    uint64_t key
    double at
    uint64_t packet_id
    int32_t place

cdef enum:
    # Instead of a place: met again, and a Python object.
    AGAIN = -1


cdef class Duplicates:
    """As ``sentinel.erspan.duplicates.Duplicates``, with the same numbers for the same packets."""

    cdef Once *_young
    cdef Once *_old
    cdef size_t _slots
    cdef Py_ssize_t _young_count
    cdef Py_ssize_t _old_count
    cdef Py_ssize_t _max_young
    cdef Py_ssize_t _max_equal
    cdef double _window_s
    cdef double _young_since
    cdef uint64_t _next_id
    cdef uint64_t _secret[2]
    cdef dict _young_again
    cdef dict _old_again
    cdef dict _place_numbers
    cdef list _places

    def __cinit__(
        self,
        uint64_t first_id=1,
        double window_s=DUPLICATE_WINDOW_S,
        Py_ssize_t max_packets=MAX_DUPLICATE_PACKETS,
        Py_ssize_t max_equal=MAX_EQUAL_PACKETS,
    ):
        cdef bytes secret = os.urandom(16)
        memcpy(self._secret, <const uint8_t *>secret, 16)
        self._next_id, self._window_s = first_id, window_s
        self._max_young, self._max_equal = max_packets // 2, max_equal
        self._slots = 16
        while self._slots < 2 * <size_t>max(self._max_young, 1):
            self._slots *= 2
        self._young = <Once *>calloc(self._slots, sizeof(Once))
        self._old = <Once *>calloc(self._slots, sizeof(Once))
        if self._young == NULL or self._old == NULL:
            raise MemoryError
        self._young_since = -INFINITY
        self._young_again, self._old_again = {}, {}
        self._place_numbers, self._places = {}, []

    def __dealloc__(self):
        free(self._young)
        free(self._old)

    def __len__(self):
        return self._young_count + self._old_count

    def number(self, str capture_id, tuple place, bytes identity, double now):
        """As the plain one."""
        cdef uint64_t packet_id = 0
        key = self.key(hash(capture_id), <const uint8_t *>identity, len(identity))
        first = self.numbered(key, self.place(place), now, &packet_id)
        return Numbered(packet_id, first)

    cdef int32_t place(self, tuple place) except -1:
        """The number of a place; there are as many as switches, thrice."""
        number = self._place_numbers.get(place)
        if number is None:
            number = self._place_numbers[place] = len(self._places)
            self._places.append(place)
        return number

    cdef uint64_t key(self, int64_t capture, const uint8_t *identity, Py_ssize_t size) noexcept:
        cdef uint64_t secret[2]
        cdef uint64_t key
        secret[0], secret[1] = self._secret[0], self._secret[1] ^ <uint64_t>capture
        key = sentinel_keyed_hash(secret, identity, size)
        return key or 1

    cdef object numbered(self, uint64_t key, int32_t place, double now, uint64_t *packet_id):
        """The packet's number, and the place whose copy came before this one, or None."""
        cdef Once *mine
        cdef Once *known
        if now - self._young_since > self._window_s or self._young_count >= self._max_young:
            self._rotate(now)
        mine = self._slot(self._young, key)
        known = mine if mine.key else self._slot(self._old, key)
        if known.key and now - known.at <= self._window_s:
            return self._met_again(known, mine, place, packet_id)
        if not mine.key:
            self._young_count += 1
        packet_id[0] = self._next_id
        self._next_id += 1
        mine.key, mine.at, mine.packet_id, mine.place = key, now, packet_id[0], place
        return None

    cdef void _rotate(self, double now) noexcept:
        self._young, self._old = self._old, self._young
        self._young_again, self._old_again = {}, self._young_again
        self._old_count, self._young_count = self._young_count, 0
        memset(self._young, 0, self._slots * sizeof(Once))
        self._young_since = now

    cdef Once *_slot(self, Once *table, uint64_t key) noexcept:
        """Where the key is or would go; at least half of the slots are empty."""
        cdef size_t slot = key & (self._slots - 1)
        while table[slot].key and table[slot].key != key:
            slot = (slot + 1) & (self._slots - 1)
        return &table[slot]

    cdef object _met_again(self, Once *known, Once *mine, int32_t place, uint64_t *packet_id):
        cdef double at = known.at
        key = known.key
        if known.place == AGAIN:
            # The young table's first, as with the packets themselves.
            equal = self._young_again[key] if known == mine else self._old_again[key]
        else:
            equal = _Equal(at, known.packet_id, self._places[known.place])
        if not mine.key:
            self._young_count += 1
        mine.key, mine.at, mine.packet_id, mine.place = key, at, 0, AGAIN
        self._young_again[key] = equal
        there = self._places[place]
        count = equal.places.get(there, 0)
        if count < len(equal.met):
            equal.places[there] = count + 1
            number, first = equal.met[count]
            packet_id[0] = number
            return first
        packet_id[0] = self._next_id
        self._next_id += 1
        if count < self._max_equal:
            equal.places[there] = count + 1
            equal.met.append(Numbered(packet_id[0], there))
        return None
