# cython: language_level=3, cdivision=True, initializedcheck=False, wraparound=False
# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled keeper: the twin of ``keeper.Keeper`` for whole batches of the compiled receiver.

Of each batch ``switch_of`` is asked once for a sender, ``expected`` and the files once for a pair of addresses, and each
file is given all its blocks at once. What isn't a whole mirrored packet goes to the plain keeper in its turn; all that
was gathered before it is delivered first, so that both go on from the same state.

Octets are read only behind a comparison with the end of their packet.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from sentinel.receive._native cimport Batch, Slot

import os

from sentinel import limits
from sentinel.erspan import pcapng
from sentinel.erspan.duplicates import Numbered, _Equal
from sentinel.erspan.files import Kept, remarks
from sentinel.erspan.keeper import said
from sentinel.limits import DUPLICATE_WINDOW_S, ERSPAN_BATCH_PACKETS, MAX_DUPLICATE_PACKETS, MAX_EQUAL_PACKETS

cdef extern from "Python.h":
    int PyBUF_READ
    object PyMemoryView_FromMemory(char *octets, Py_ssize_t size, int how)

cdef extern from "arpa/inet.h" nogil:
    int AF_INET
    int AF_INET6
    const char *inet_ntop(int family, const void *octets, char *text, unsigned int size)

cdef extern from "endian.h" nogil:
    uint32_t htole32(uint32_t value)

cdef enum:
    GRE = 47
    ERSPAN_I_II = 0x88BE
    ERSPAN_III = 0x22EB
    MELLANOX = 0x8949
    BRIDGED = 0x6558
    GRE_CHECKSUM = 0x8000
    GRE_ROUTING = 0x4000
    GRE_KEY = 0x2000
    GRE_SEQUENCE = 0x1000
    GRE_VERSION = 0x0007
    # Checked against limits.py where the module is loaded.
    MOST = 256
    PREFIX_BYTES = 128
    MIN_FRAME_BYTES = 14
    # Of the headers up to the prefix's end some octets are left out, never more than come in.
    IDENTITY_BYTES = 128
    # Two a packet at most.
    ROUTE_SLOTS = 512
    # Where a route leads, instead of to a place.
    UNEXPECTED = -1
    REFUSED = -2
    # The longest buffer of blocks that is kept for the next batch.
    KEPT_BYTES = 1 << 20

if (MOST, PREFIX_BYTES, MIN_FRAME_BYTES) != (
    ERSPAN_BATCH_PACKETS, limits.DUPLICATE_PREFIX_BYTES, limits.MIN_MIRRORED_FRAME_BYTES
):
    raise ImportError("sentinel.erspan._native was built with other limits")

include "native/header.pxi"
include "native/duplicates.pxi"
include "native/blocks.pxi"

cdef struct Sender:
    uint8_t family
    uint8_t address[16]
    # Among the batch's switches; -1: of none.
    int switch

cdef struct Stream:
    int switch
    int32_t session
    uint32_t last
    # Whether the plain table doesn't know ``last`` yet.
    bint ahead

cdef struct RouteKey:
    int32_t sender
    int32_t family
    uint8_t ends[32]

cdef struct Route:
    RouteKey key
    int place
    int out
    int64_t capture

# A switch's frames of one capture.
cdef struct Tally:
    int out
    int switch
    uint32_t interface
    uint64_t frames
    uint64_t octets
    uint64_t duplicates
    uint64_t truncated
    uint64_t lost


cdef class NativeKeeper:
    """Keeps for ``plain``, whose counters, files and tables it shares; ``plain`` numbers with ``Duplicates`` of here."""

    cdef object _plain
    cdef object _files
    cdef object _sequences
    cdef Duplicates _numbers
    cdef uint64_t _route_secret[2]
    # All of one batch; they begin anew when it is delivered.
    cdef Sender _senders[MOST]
    cdef Stream _streams[MOST]
    cdef Route _routes[MOST]
    cdef int _route_slots[ROUTE_SLOTS]
    cdef Tally _tallies[MOST]
    cdef Out _outs[MOST]
    cdef int32_t _met_at[MOST * 3]
    cdef int _n_senders, _n_streams, _n_routes, _n_tallies, _n_outs
    cdef list _switches
    cdef list _captures
    cdef list _places
    cdef dict _remarks
    cdef uint64_t _packets, _unknown, _unexpected, _truncated, _duplicates, _left_out, _lost, _refused

    def __cinit__(self, plain):
        cdef bytes secret = os.urandom(16)
        memcpy(self._route_secret, <const uint8_t *>secret, 16)
        self._plain, self._files, self._sequences = plain, plain.files, plain.sequences
        self._numbers = plain.duplicates
        self._remarks = {}
        self._forget()

    def __dealloc__(self):
        cdef int out
        for out in range(MOST):
            free(self._outs[out].data)

    def take(self, Batch batch, *, bint raw_ipv4):
        """As ``Keeper.take``, for at most ERSPAN_BATCH_PACKETS packets."""
        cdef Py_ssize_t i
        cdef Slot *slot
        cdef int64_t at_ns
        cdef bint done
        if batch.count > MOST:
            raise ValueError(f"{batch.count} packets, expected at most {MOST}")
        for i in range(batch.count):
            slot = &batch.slots[i]
            at_ns = slot.at_ns or <int64_t>(batch.at * 1e9)
            self._packets += 1
            try:
                done = self._one(slot, at_ns, raw_ipv4)
            except OSError as error:
                done = True
                self._plain.failed(error, 1)
            except Exception as error:
                done = True
                self._plain.bug(error, 1)
            if not done:
                # It is counted there.
                self._packets -= 1
                self._deliver()
                self._plain.packet(slot.data[: slot.size], sender_text(slot), at_ns, raw_ipv4=raw_ipv4)
        self._deliver()

    cdef int _one(self, Slot *slot, int64_t at_ns, bint raw_ipv4) except -1:
        """1 where the packet was dealt with; 0 where the plain keeper is to."""
        cdef Mirror mirror
        cdef Inner inner
        cdef Route *route
        cdef Tally *tally
        cdef int sender = self._sender(slot), switch = self._senders[sender].switch
        cdef uint64_t lost = 0, packet_id = 0
        cdef bint again
        if switch < 0:
            self._unknown += 1
            return 1
        if not decapsulated(slot.data, slot.size, raw_ipv4, &mirror):
            return 0
        if mirror.sequence >= 0:
            lost = self._gap(switch, mirror.session, <uint32_t>mirror.sequence)
            self._lost += lost
        look_inside(mirror.frame, mirror.size, &inner)
        if not inner.family:
            self._unexpected += 1
            return 1
        route = self._route(sender, slot, &inner, at_ns)
        if route.place == UNEXPECTED:
            self._unexpected += 1
            return 1
        self._truncated += mirror.truncated
        first = self._numbers.numbered(
            self._numbers.key(route.capture, inner.identity, inner.identity_size),
            self._met(switch, mirror.direction), at_ns / 1e9, &packet_id,
        )
        again = first is not None
        if again:
            self._duplicates += 1
            if self._plain.leave_out_duplicates:
                self._left_out += 1
                self._files.count_left_out(self._captures[route.out])
                return 1
        if route.place == REFUSED:
            self._files.refuse(self._captures[route.out], 1)
            self._refused += 1
            return 1
        tally = &self._tallies[route.place]
        comments = self._comments(mirror.truncated, first) if again or mirror.truncated else None
        put_block(&self._outs[route.out], tally.interface, at_ns, &mirror, lost, packet_id, comments)
        tally.frames += 1
        tally.octets += mirror.size
        tally.duplicates += again
        tally.truncated += mirror.truncated
        tally.lost += lost
        return 1

    # --- what a batch asks only once ---------------------------------------------------------------

    cdef int _sender(self, Slot *slot) except -1:
        cdef int i
        cdef Sender *one
        for i in range(self._n_senders):
            one = &self._senders[i]
            if one.family == slot.family and memcmp(one.address, slot.sender, 16) == 0:
                return i
        name = self._plain.switch_of(sender_text(slot))
        one = &self._senders[self._n_senders]
        one.family = slot.family
        memcpy(one.address, slot.sender, 16)
        one.switch = -1
        if name is not None:
            if name not in self._switches:
                self._switches.append(name)
            one.switch = self._switches.index(name)
        self._n_senders += 1
        return self._n_senders - 1

    cdef Route *_route(self, int sender, Slot *slot, Inner *inner, int64_t at_ns) except NULL:
        cdef RouteKey key
        cdef Route *route
        cdef size_t at
        memset(&key, 0, sizeof(key))
        key.sender, key.family = sender, inner.family
        memcpy(key.ends, inner.ends, 8 if inner.family == 4 else 32)
        at = sentinel_keyed_hash(self._route_secret, <const uint8_t *>&key, sizeof(key)) % ROUTE_SLOTS
        while self._route_slots[at] >= 0:
            route = &self._routes[self._route_slots[at]]
            if memcmp(&route.key, &key, sizeof(key)) == 0:
                return route
            at = (at + 1) % ROUTE_SLOTS
        route = &self._routes[self._n_routes]
        route.key = key
        self._lead(route, self._switches[self._senders[sender].switch], slot, inner, at_ns)
        # Only now, as any of these may raise.
        self._route_slots[at] = self._n_routes
        self._n_routes += 1
        return route

    cdef int _lead(self, Route *route, str switch, Slot *slot, Inner *inner, int64_t at_ns) except -1:
        """Find out where the frames of a pair go."""
        cdef Tally *tally
        cdef int step = 4 if inner.family == 4 else 16, i
        cdef const uint8_t *ends = inner.ends
        capture_id = self._plain.expected(switch, address_text(ends, step), address_text(ends + step, step))
        if capture_id is None:
            route.place = UNEXPECTED
            return 0
        place = self._files.place(capture_id, switch, sender_text(slot), at_ns)
        route.capture = hash(capture_id)
        if capture_id not in self._captures:
            self._captures.append(capture_id)
            self._n_outs += 1
        route.out = self._captures.index(capture_id)
        if place is None:
            route.place = REFUSED
            return 0
        for i in range(self._n_tallies):
            if self._places[i].interface is place.interface:
                route.place = i
                return 0
        tally = &self._tallies[self._n_tallies]
        memset(tally, 0, sizeof(Tally))
        tally.out, tally.interface = route.out, place.interface.number
        tally.switch = self._switches.index(switch)
        self._places.append(place)
        route.place = self._n_tallies
        self._n_tallies += 1
        return 0

    cdef int32_t _met(self, int switch, int direction) except -1:
        """What the duplicates know a switch and its direction as."""
        cdef int at = switch * 3 + direction
        if self._met_at[at] < 0:
            told = None if not direction else "ingress" if direction == 1 else "egress"
            self._met_at[at] = self._numbers.place((self._switches[switch], told))
        return self._met_at[at]

    cdef int64_t _gap(self, int switch, int32_t session, uint32_t sequence) except -1:
        cdef int i
        cdef Stream *stream = NULL
        for i in range(self._n_streams):
            if self._streams[i].switch == switch and self._streams[i].session == session:
                stream = &self._streams[i]
                if sequence == <uint32_t>(stream.last + 1):
                    stream.last, stream.ahead = sequence, True
                    return 0
                self._follow(stream)
                break
        name, number = self._switches[switch], None if session < 0 else session
        lost = self._sequences.gap(name, number, sequence)
        if stream == NULL:
            stream = &self._streams[self._n_streams]
            self._n_streams += 1
        stream.switch, stream.session, stream.ahead = switch, session, False
        stream.last = self._sequences.last(name, number)
        return lost

    cdef int _follow(self, Stream *stream) except -1:
        if stream.ahead:
            session = None if stream.session < 0 else stream.session
            self._sequences.follow(self._switches[stream.switch], session, stream.last)
            stream.ahead = False
        return 0

    cdef bytes _comments(self, bint cut, first):
        """The options that say what is remarkable; there are as many as places, twice."""
        found = self._remarks.get((cut, first))
        if found is None:
            text = remarks(cut, said(first) if first is not None else None)
            found = self._remarks[cut, first] = pcapng.comment_options(text)
        return found

    # --- the file ----------------------------------------------------------------------------------

    cdef int _deliver(self) except -1:
        """Write what was gathered, count it, and begin anew."""
        cdef int out, i
        counters = self._plain.counters
        counters.packets += self._packets
        counters.unknown_source += self._unknown
        counters.unexpected_pair += self._unexpected
        counters.truncated += self._truncated
        counters.duplicates += self._duplicates
        counters.left_out += self._left_out
        counters.lost += self._lost
        counters.not_stored += self._refused
        for i in range(self._n_streams):
            self._follow(&self._streams[i])
        for out in range(self._n_outs):
            if self._outs[out].size:
                self._write(out)
        self._forget()
        return 0

    cdef int _write(self, int out) except -1:
        cdef int i
        cdef Tally *tally
        plain, capture_id = self._plain, self._captures[out]
        amounts, told, frames = [], [], 0
        for i in range(self._n_tallies):
            tally = &self._tallies[i]
            if tally.out == out and tally.frames:
                amount = Kept(tally.frames, tally.octets, tally.duplicates, tally.truncated, tally.lost)
                amounts.append((self._places[i], amount))
                told.append((self._switches[tally.switch], tally.frames))
                frames += tally.frames
        blocks = PyMemoryView_FromMemory(<char *>self._outs[out].data, self._outs[out].size, PyBUF_READ)
        try:
            if self._files.append(capture_id, blocks, amounts):
                for switch, number in told:
                    plain.kept(capture_id, switch, number)
            else:
                plain.counters.not_stored += frames
        except OSError as error:
            plain.failed(error, frames)
        except Exception as error:
            plain.bug(error, frames)
        return 0

    cdef int _forget(self) except -1:
        cdef int out
        for out in range(self._n_outs):
            self._outs[out].size = 0
            if self._outs[out].room > KEPT_BYTES:
                free(self._outs[out].data)
                self._outs[out].data, self._outs[out].room = NULL, 0
        memset(self._route_slots, 0xFF, sizeof(self._route_slots))
        memset(self._met_at, 0xFF, sizeof(self._met_at))
        self._n_senders = self._n_streams = self._n_routes = self._n_tallies = self._n_outs = 0
        self._switches, self._captures, self._places = [], [], []
        self._packets = self._unknown = self._unexpected = self._truncated = 0
        self._duplicates = self._left_out = self._lost = self._refused = 0
        return 0


cdef str address_text(const uint8_t *octets, int size):
    cdef char text[48]
    inet_ntop(AF_INET if size == 4 else AF_INET6, octets, text, 48)
    return text.decode("ascii")


cdef str sender_text(Slot *slot):
    return address_text(slot.sender, 4 if slot.family == 4 else 16)
