# cython: language_level=3, cdivision=True, initializedcheck=False, wraparound=False
# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The hot path, compiled: the twin of ``scan.plain``, with the same matches, flow counts, counters and agent health.

One call scans one batch without the GIL. It is taken for what Python must see: hits, in bundles, and so many counter
samples a second that say how full a switch's tables are. Nothing else that comes makes the scan slower than it is.

Octets are read only behind a comparison with the end of what they belong to; that end never lies behind its
datagram's. Pairs and flows of some samples are gathered before they are looked up, so that the memory they need is on
its way meanwhile.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_AsStringAndSize, PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.math cimport INFINITY
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy, memset

from sentinel.receive._native cimport Batch, Slot

import dataclasses
import types
from collections import Counter

from sentinel import columns, limits
from sentinel.limits import MAX_AGENT_STREAMS, MAX_FLOWS
from sentinel.flowmodel import FLOWS
from sentinel.model import Indicator, Match
from sentinel.scan.counters import ScanCounters
from sentinel.scan.plain import TABLE_SPACE, ScanResult
from sentinel.sflow.admission import Refusal
from sentinel.sflow.agents import AgentHealth
from sentinel.sflow.datagram import one_sample
from sentinel.sflow.records import layouts, tag_number

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    str PyUnicode_DecodeASCII(const char *text, Py_ssize_t size, const char *errors)

cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        Py_ssize_t offset
    ctypedef struct PyMemberDescrObject:
        PyMemberDef *d_member

cdef extern from "arpa/inet.h" nogil:
    int AF_INET
    int AF_INET6
    int inet_pton(int family, const char *text, void *octets)
    const char *inet_ntop(int family, const void *octets, char *text, unsigned int size)

cdef extern from * nogil:
    """
    #if defined(__GNUC__)
    /* The empty instruction is an effect: GCC drops calls of functions that do nothing but prefetch. */
    #define sentinel_prefetch(address) \
        do { __builtin_prefetch((const void *)(address)); __asm__ volatile(""); } while (0)
    #else
    #define sentinel_prefetch(address) ((void)0)
    #endif
    #ifdef SENTINEL_EXACT_COPIES
    #define sentinel_exact_copies 1
    #else
    #define sentinel_exact_copies 0
    #endif
    """
    void prefetch "sentinel_prefetch"(const void *address)
    # A build that looks for reads out of bounds puts what is read into memory of its own size, see exact.pxi.
    const int EXACT_COPIES "sentinel_exact_copies"

# The bounds of limits.py, where the compiler must know them.
cdef enum:
    MAX_DATAGRAM_C = 65507
    MAX_VLAN_TAGS_C = 8
    MAX_MPLS_LABELS_C = 16
    MAX_EXTENSION_HEADERS_C = 14
    MAX_TUNNEL_DEPTH_C = 8
    MAX_HEADER_STEPS_C = 36
    MAX_LAYERS = 9
    MAX_RATES_C = 16
    MAX_TAGS_C = 32
    MAX_SOURCES_PER_STREAM_C = 2048
    MAX_SOURCES_C = 200000
    AGENT_FORGOTTEN_C = 3600
    UPTIME_SLACK_C = 5000
    UPTIME_WRAP_C = 3600000
    MAX_GAP_C = 1000000
    WINDOW_C = 64
    MAX_REFUSALS_C = 32
    MAX_COUNTERS_TOLD_C = 500
    MAX_FLOW_AGENTS_C = 16384
cdef uint64_t MAX_FIGURE_C = limits.MAX_FIGURE
cdef uint32_t TABLE_SPACE_C = tag_number(TABLE_SPACE)

if (
    MAX_DATAGRAM_C != limits.MAX_DATAGRAM_BYTES
    or MAX_VLAN_TAGS_C != limits.MAX_VLAN_TAGS
    or MAX_MPLS_LABELS_C != limits.MAX_MPLS_LABELS
    or MAX_EXTENSION_HEADERS_C != limits.MAX_EXTENSION_HEADERS
    or MAX_TUNNEL_DEPTH_C != limits.MAX_TUNNEL_DEPTH
    or MAX_HEADER_STEPS_C != limits.MAX_HEADER_STEPS
    or MAX_LAYERS != limits.MAX_TUNNEL_DEPTH + 1
    or MAX_RATES_C != limits.MAX_SAMPLING_RATES_KEPT
    or MAX_TAGS_C != limits.MAX_UNKNOWN_TAGS_KEPT
    or MAX_SOURCES_PER_STREAM_C != limits.MAX_DATA_SOURCES_PER_STREAM
    or MAX_SOURCES_C != limits.MAX_DATA_SOURCES
    or AGENT_FORGOTTEN_C != limits.AGENT_FORGOTTEN_S
    or UPTIME_SLACK_C != limits.UPTIME_SLACK_MS
    or UPTIME_WRAP_C != limits.UPTIME_WRAP_MS
    or MAX_GAP_C != limits.MAX_SFLOW_SEQUENCE_GAP
    or WINDOW_C != limits.SEQUENCE_WINDOW
    or MAX_REFUSALS_C != limits.MAX_REFUSALS_SHOWN
    or MAX_COUNTERS_TOLD_C != limits.MAX_COUNTERS_TOLD_PER_S
    or MAX_FLOW_AGENTS_C != limits.MAX_FLOW_AGENTS
):
    raise ImportError("the compiled scan was built with other limits than sentinel/limits.py has: build it again")

include "native/octets.pxi"
include "native/exact.pxi"
include "native/values.pxi"
include "native/filters.pxi"
include "native/tables.pxi"
include "native/frozen.pxi"
include "native/health.pxi"
include "native/flows.pxi"
include "native/header.pxi"
include "native/tunnels.pxi"
include "native/records.pxi"
include "native/batch.pxi"
include "native/admission.pxi"
include "native/pairs.pxi"
include "native/lookup.pxi"
include "native/scan.pxi"

_load_layouts()
