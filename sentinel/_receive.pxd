# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# What the compiled scan reads of a batch without taking it apart.

from libc.stdint cimport uint8_t, uint32_t


cdef struct Slot:
    const uint8_t *data
    uint32_t size
    # 4 or 6, with the address in the first octets and zeros behind it.
    uint8_t family
    uint8_t sender[16]


cdef class Batch:
    cdef Slot *slots
    cdef readonly Py_ssize_t count
    cdef readonly double at
    cdef object keeper
