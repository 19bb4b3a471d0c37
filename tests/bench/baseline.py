# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""baseline.c, compiled when it is needed: the yardsticks that everything is measured against."""

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path

from sentinel.limits import KIB

SLOTS = 64 * KIB
_FLOW_BYTES = 40


class Lists(ctypes.Structure):
    """struct lists: a bitmap of /24s, sorted addresses, and where each /16 begins among them."""

    _fields_ = [
        ("bitmap", ctypes.c_void_p),
        ("starts", ctypes.c_void_p),
        ("count", ctypes.c_uint32),
        ("index", ctypes.c_void_p),
    ]


@cache
def library() -> ctypes.CDLL:
    """Compiled with the compiler that ``CC`` names."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "baseline.so"
        source = Path(__file__).with_name("baseline.c")
        subprocess.run([os.environ.get("CC", "cc"), "-O3", "-shared", "-fPIC", "-o", made, source], check=True)
        loaded = ctypes.CDLL(str(made))
    loaded.minimal_scan.restype = ctypes.c_uint64
    loaded.bare_receive.restype = None
    loaded.send_rate.restype = ctypes.c_uint64
    loaded.send_rate.argtypes = [
        *(ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_uint32),
        *(ctypes.c_double, ctypes.c_double, ctypes.c_uint32),
    ]
    loaded.send_numbered.restype = ctypes.c_uint64
    loaded.send_numbered.argtypes = [*loaded.send_rate.argtypes, ctypes.c_void_p, ctypes.c_uint32]
    return loaded


class MinimalScan:
    """The least that a scan of IPv4 samples would have to do, over these datagrams and addresses."""

    def __init__(self, payloads: Sequence[bytes], listed: Sequence[bytes]) -> None:
        values = sorted({int.from_bytes(one) for one in listed})
        bitmap, counts = bytearray(1 << 21), [0] * 65_536
        for value in values:
            bitmap[value >> 11] |= 1 << (value >> 8 & 7)
            counts[value >> 16] += 1
        self._data = b"".join(payloads)
        self._sizes = (ctypes.c_uint32 * len(payloads))(*(len(one) for one in payloads))
        self._bitmap = (ctypes.c_char * len(bitmap)).from_buffer(bitmap)
        self._starts = (ctypes.c_uint32 * max(1, len(values)))(*values)
        self._index = (ctypes.c_uint32 * 65_537)(0, *accumulate(counts))
        self._flows = ctypes.create_string_buffer(_FLOW_BYTES * 2 * SLOTS)
        self._lists = Lists(
            ctypes.addressof(self._bitmap), ctypes.addressof(self._starts), len(values), ctypes.addressof(self._index)
        )

    def run(self) -> int:
        """One pass; the number of hits."""
        return int(
            library().minimal_scan(self._data, self._sizes, len(self._sizes), ctypes.byref(self._lists), self._flows)
        )
