# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What the parsers of a sampled header hand to one another: which header comes next, where, in which layer.

A parser takes ``(data, at, end, layer)``, writes what it reads into ``layer`` under the names of ``model.Packet`` and
gives the ``Step`` that follows, or ``None`` where it can go no further. It never raises: a header is cut wherever
the agent pleased, and what was reached stays.
"""

from typing import Any, Final, NamedTuple

Layer = dict[str, Any]

# sFlow's own header_protocol numbers, used inside as well; below zero what only appears inside.
ETHERNET: Final = 1
PPP: Final = 7
IPV4: Final = 11
IPV6: Final = 12
MPLS: Final = 13
POS: Final = 14
GRE: Final = -1
NSH: Final = -2


class Step(NamedTuple):
    """The next header: its kind, its place, the end of what is its; ``inner`` where a tunnel begins a new layer."""

    kind: int
    at: int
    end: int
    inner: bool = False


def u16(data: bytes, at: int) -> int:
    """Two octets, of which the caller knows that they are there."""
    return data[at] << 8 | data[at + 1]


def by_nibble(data: bytes, at: int, end: int, *, inner: bool = False) -> Step | None:
    """IPv4 or IPv6 by the version in the first four bits."""
    if at >= end:
        return None
    version = data[at] >> 4
    if version == 4:
        return Step(IPV4, at, end, inner)
    return Step(IPV6, at, end, inner) if version == 6 else None
