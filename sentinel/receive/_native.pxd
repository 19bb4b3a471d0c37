# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# What the compiled scan reads of a batch without taking it apart.

from libc.stdint cimport int64_t, uint8_t, uint32_t


cdef struct Slot:
    const uint8_t *data
    uint32_t size
    # 4 or 6, with the address in the first octets and zeros behind it.
    uint8_t family
    uint8_t sender[16]
    # When the kernel had it, UTC, where the socket was asked to tell (SO_TIMESTAMPNS); else 0.
    int64_t at_ns


cdef class Batch:
    cdef Slot *slots
    cdef readonly Py_ssize_t count
    cdef readonly double at
    cdef object keeper
