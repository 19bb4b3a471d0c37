# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Text with units to plain numbers: durations in seconds, sizes in octets, rates in bit/s. All raise ``ValueError``."""

import re

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_OCTETS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_BITS_PER_S = {"bps": 1, "kbps": 10**3, "Mbps": 10**6, "Gbps": 10**9}


def _parse(value: object, units: dict[str, float] | dict[str, int], expectation: str) -> float:
    found = _NUMBER.match(value) if isinstance(value, str) else None
    if found is None or found[2] not in units:
        raise ValueError(expectation)
    return float(found[1]) * units[found[2]]


def duration_s(value: object) -> float:
    """``"10m"`` to 600.0. A bare number has no unit and is refused."""
    return _parse(value, _SECONDS, 'a duration with its unit (ms, s, m, h, d), such as "30s" or "10m"')


def size_bytes(value: object) -> int:
    """``"32MiB"`` to 33554432."""
    return int(_parse(value, _OCTETS, 'a size with its unit (B, kB, MB, GB, KiB, MiB, GiB), such as "32MiB"'))


def rate_bps(value: object) -> int:
    """``"1Gbps"`` to 1000000000."""
    return int(_parse(value, _BITS_PER_S, 'a rate with its unit (bps, kbps, Mbps, Gbps), such as "1Gbps"'))
