# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What the scan counted since start."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from sentinel.errors import DecodeCode, DecodeError


@dataclass(slots=True)
class ScanCounters:
    """Plain counts. ``bad_datagrams`` and ``refused`` are by reason, from fixed sets: none comes from the wire.

    ``datagrams`` counts all that arrived; ``pairs`` the address pairs looked up, ``hits`` those with a listed side.
    ``mirror_samples`` had mirror traffic in them, into which nobody looks. ``counters_skipped`` told how full tables
    are, in a second of which enough had been handed on.
    """

    datagrams: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    bad_datagrams: Counter[str] = field(default_factory=Counter)
    samples: int = 0
    flow_samples: int = 0
    discards: int = 0
    counters_samples: int = 0
    counters_skipped: int = 0
    unknown_samples: int = 0
    bad_samples: int = 0
    mirror_samples: int = 0
    without_addresses: int = 0
    pairs: int = 0
    hits: int = 0
    matches: int = 0


BadReason = Literal["too_long", "version", "agent_address", "truncated"]
# The only address of a datagram's header is the agent's.
_BAD: dict[DecodeCode, BadReason] = {
    "too_long": "too_long",
    "version": "version",
    "agent_address": "agent_address",
    "address": "agent_address",
}


def reason_of(error: DecodeError) -> BadReason:
    """Return the label of a datagram that ``sflow.datagram.decode`` refused."""
    return _BAD.get(error.code, "truncated")
