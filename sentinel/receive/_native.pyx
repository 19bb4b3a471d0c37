# cython: language_level=3, cdivision=True, initializedcheck=False
# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Many datagrams with one system call (recvmmsg), into memory that is used again: for the listener of sFlow and the
receiver of mirrored packets.

A datagram is received in two pieces: the first 2 KiB lie close together for all of a batch, as nearly all datagrams are
shorter; of a longer one the rest goes to a large slot of its own, in front of which the first piece is then copied.
"""

from cpython.ref cimport PyObject
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.unistd cimport usleep
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <arpa/inet.h>
    #include <netinet/in.h>
    #include <poll.h>
    #include <sys/socket.h>
    #ifndef SCM_TIMESTAMPNS
    #define SCM_TIMESTAMPNS 35
    #endif
    #include <time.h>

    /* What the system may hold for a socket, by its own reckoning; 0 for what is no socket. */
    static int sentinel_room(int fd) {
        int room = 0;
        socklen_t size = sizeof room;
        return getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, &size) ? 0 : room;
    }

    /* The nanosecond at which the kernel had a message, or 0. */
    static long long sentinel_arrival_ns(struct msghdr *message) {
        struct cmsghdr *one;
        for (one = CMSG_FIRSTHDR(message); one != NULL; one = CMSG_NXTHDR(message, one))
            if (one->cmsg_level == SOL_SOCKET && one->cmsg_type == SCM_TIMESTAMPNS
                && one->cmsg_len >= CMSG_LEN(sizeof(struct timespec))) {
                struct timespec at;
                memcpy(&at, CMSG_DATA(one), sizeof at);
                return at.tv_sec * 1000000000LL + at.tv_nsec;
            }
        return 0;
    }

    /* 4 or 6 and the address; an IPv4-mapped one as IPv4; 0 for no IP address. */
    static int sentinel_sender(const struct sockaddr_storage *from, unsigned char *octets) {
        memset(octets, 0, 16);
        if (from->ss_family == AF_INET) {
            memcpy(octets, &((const struct sockaddr_in *)from)->sin_addr, 4);
            return 4;
        }
        if (from->ss_family != AF_INET6)
            return 0;
        const struct in6_addr *address = &((const struct sockaddr_in6 *)from)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(address)) {
            memcpy(octets, address->s6_addr + 12, 4);
            return 4;
        }
        memcpy(octets, address, 16);
        return 6;
    }
    """
    int AF_INET, AF_INET6, MSG_DONTWAIT, MSG_TRUNC, POLLIN
    cdef struct iovec:
        void *iov_base
        size_t iov_len
    cdef struct msghdr:
        void *msg_name
        unsigned int msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    cdef struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    cdef struct pollfd:
        int fd
        short events
        short revents
    cdef struct sockaddr_storage:
        pass
    int recvmmsg(int fd, mmsghdr *messages, unsigned int count, int flags, void *timeout) nogil
    int poll(pollfd *fds, unsigned long count, int timeout_ms) nogil
    const char *inet_ntop(int family, const void *octets, char *text, unsigned int size) nogil
    int sentinel_room(int fd) nogil
    long long sentinel_arrival_ns(msghdr *message) nogil
    int sentinel_sender(const sockaddr_storage *sender, unsigned char *octets) nogil

cdef enum:
    NEAR_BYTES = 2048
    # After so many datagrams of one call the next one lets so many microseconds pass before it asks, as a network card's
    # driver does: about fifty come meanwhile, and at a million a second five hundred wait in the socket's buffer. One that
    # has not room for some two thousand, as where nobody raised net.core.rmem_max, is never left alone.
    ROOM_TO_LINGER = 4 << 20
    BUSY = 8
    LINGER_US = 1000
    VERY_BUSY = 48
    SHORT_LINGER_US = 500
    CONTROL_BYTES = 64


cdef class Batch:
    """Datagrams as they came; good until its receiver receives again. Iterating gives (payload, sender, UTC second)."""

    def __len__(self):
        return self.count

    def __iter__(self):
        cdef Py_ssize_t i
        cdef char text[48]
        for i in range(self.count):
            if not self.slots[i].family:
                continue
            inet_ntop(AF_INET if self.slots[i].family == 4 else AF_INET6, self.slots[i].sender, text, 48)
            yield self.slots[i].data[: self.slots[i].size], text.decode("ascii"), self.at


cdef class BatchReceiver:
    """Up to ``most`` datagrams a call, each of at most ``max_bytes`` octets and one more that shows it was longer.

    ``datagrams``, ``bytes`` and ``truncated`` count since the start.
    """

    cdef unsigned int _most
    cdef size_t _far_bytes
    cdef uint8_t *_near
    cdef uint8_t *_far
    cdef mmsghdr *_messages
    cdef iovec *_pieces
    cdef sockaddr_storage *_senders
    cdef uint8_t *_control
    cdef Slot *_slots
    cdef int _last
    cdef int _used
    cdef readonly unsigned long long datagrams
    cdef readonly unsigned long long bytes
    cdef readonly unsigned long long truncated

    def __cinit__(self, unsigned int most, size_t max_bytes):
        cdef unsigned int i
        if not 0 < most <= 4096 or max_bytes < NEAR_BYTES:
            raise ValueError("1 to 4096 datagrams of at least 2 KiB")
        # A line more than a power of two, so that the slots don't all fall into one set of the cache.
        self._far_bytes = ((max_bytes + 1 + 63) & ~(<size_t>63)) + 64
        self._most = most
        self._near = <uint8_t *>malloc(<size_t>most * NEAR_BYTES)
        # Touched only where a datagram is that long: it costs address space, not memory.
        self._far = <uint8_t *>malloc(most * self._far_bytes)
        self._messages = <mmsghdr *>calloc(most, sizeof(mmsghdr))
        self._pieces = <iovec *>calloc(most * 2, sizeof(iovec))
        self._senders = <sockaddr_storage *>calloc(most, sizeof(sockaddr_storage))
        self._control = <uint8_t *>calloc(most, CONTROL_BYTES)
        self._slots = <Slot *>calloc(most, sizeof(Slot))
        if (
            self._near == NULL or self._far == NULL or self._messages == NULL or self._pieces == NULL
            or self._senders == NULL or self._control == NULL or self._slots == NULL
        ):
            raise MemoryError
        self._used = most
        for i in range(most):
            self._pieces[2 * i].iov_base = self._near + <size_t>i * NEAR_BYTES
            self._pieces[2 * i].iov_len = NEAR_BYTES
            self._pieces[2 * i + 1].iov_base = self._far + i * self._far_bytes + NEAR_BYTES
            self._pieces[2 * i + 1].iov_len = max_bytes + 1 - NEAR_BYTES
            self._messages[i].msg_hdr.msg_iov = &self._pieces[2 * i]
            self._messages[i].msg_hdr.msg_iovlen = 2
            self._messages[i].msg_hdr.msg_name = &self._senders[i]
            self._messages[i].msg_hdr.msg_control = self._control + <size_t>i * CONTROL_BYTES

    def __dealloc__(self):
        free(self._near)
        free(self._far)
        free(self._messages)
        free(self._pieces)
        free(self._senders)
        free(self._control)
        free(self._slots)

    def receive(self, int fd, int wake_fd, int timeout_ms):
        """What is there, else what comes within ``timeout_ms``; nothing also when ``wake_fd`` becomes readable.

        Raises ``OSError`` as the system call does.
        """
        cdef int received
        cdef Batch batch
        with nogil:
            if BUSY <= self._last < <int>self._most and timeout_ms and sentinel_room(fd) >= ROOM_TO_LINGER:
                # More is on its way: to let it gather costs less than to be woken for the first of it.
                usleep(SHORT_LINGER_US if self._last >= VERY_BUSY else LINGER_US)
            received = self._receive(fd)
            if received == -EAGAIN and timeout_ms and self._wait(fd, wake_fd, timeout_ms):
                received = self._receive(fd)
        if received == -EAGAIN or received == -EINTR:
            received = 0
        self._last = received
        if received < 0:
            raise OSError(-received, "recvmmsg failed")
        batch = Batch.__new__(Batch)
        batch.slots = self._slots
        batch.count = received
        batch.at = now() if received else 0.0
        batch.keeper = self
        return batch

    cdef bint _wait(self, int fd, int wake_fd, int timeout_ms) noexcept nogil:
        cdef pollfd both[2]
        both[0].fd = fd
        both[1].fd = wake_fd
        both[0].events = both[1].events = POLLIN
        both[0].revents = both[1].revents = 0
        return poll(both, 2, timeout_ms) > 0 and both[0].revents != 0

    cdef int _receive(self, int fd) noexcept nogil:
        cdef int count, i
        cdef mmsghdr *message
        cdef Slot *slot
        cdef uint8_t *far
        for i in range(self._used):
            # The last call left its lengths here.
            self._messages[i].msg_hdr.msg_namelen = sizeof(sockaddr_storage)
            self._messages[i].msg_hdr.msg_controllen = CONTROL_BYTES
        count = recvmmsg(fd, self._messages, self._most, MSG_DONTWAIT, NULL)
        self._used = 0
        if count < 0:
            return -errno
        self._used = count
        self.datagrams += count
        for i in range(count):
            message = &self._messages[i]
            slot = &self._slots[i]
            slot.size = message.msg_len
            slot.data = self._near + <size_t>i * NEAR_BYTES
            if message.msg_len > NEAR_BYTES:
                far = self._far + i * self._far_bytes
                memcpy(far, slot.data, NEAR_BYTES)
                slot.data = far
            slot.family = sentinel_sender(&self._senders[i], slot.sender)
            slot.at_ns = sentinel_arrival_ns(&message.msg_hdr)
            self.bytes += message.msg_len
            if message.msg_hdr.msg_flags & MSG_TRUNC:
                self.truncated += 1
        return count


cdef double now() noexcept:
    cdef timespec at
    clock_gettime(CLOCK_REALTIME, &at)
    return at.tv_sec + at.tv_nsec * 1e-9


def batch_of(payloads, senders, double at, times_ns=None):
    """A batch from octets in memory, as if they had been received: for measuring and comparing without a network."""
    cdef Batch batch = Batch.__new__(Batch)
    cdef _Held held = _Held.__new__(_Held)
    cdef Py_ssize_t i, total = 0, offset = 0
    cdef bytes payload, sender
    batch.count = len(payloads)
    held.slots = <Slot *>calloc(max(batch.count, 1), sizeof(Slot))
    for payload in payloads:
        total += len(payload)
    held.octets = <uint8_t *>malloc(max(total, 1))
    if held.slots == NULL or held.octets == NULL:
        raise MemoryError
    for i in range(batch.count):
        payload, sender = payloads[i], senders[i]
        if len(sender) != 4 and len(sender) != 16:
            raise ValueError("a sender has 4 or 16 octets")
        memcpy(held.octets + offset, <const uint8_t *>payload, len(payload))
        held.slots[i].data = held.octets + offset
        held.slots[i].size = len(payload)
        held.slots[i].family = 4 if len(sender) == 4 else 6
        memcpy(held.slots[i].sender, <const uint8_t *>sender, len(sender))
        held.slots[i].at_ns = times_ns[i] if times_ns is not None else 0
        offset += len(payload)
    batch.slots = held.slots
    batch.at = at
    batch.keeper = held
    return batch


cdef class _Held:
    cdef Slot *slots
    cdef uint8_t *octets

    def __dealloc__(self):
        free(self.slots)
        free(self.octets)
