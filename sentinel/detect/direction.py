# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Which way a packet of a (local, listed) pair goes, seen from our network.

Usually our side is the unlisted one. Where a feed lists an address of ours and the other side is a stranger, the packet
that leaves our network is the outbound one all the same. Where both sides or neither are ours the network has no say,
and the unlisted side stands for us.
"""

import ipaddress
from collections.abc import Iterable
from socket import AF_INET, AF_INET6

import pytricia

from sentinel.model import Direction


class LocalNetworks:
    """The networks called ours: CIDR text of both families. Raises ``ValueError`` for text that is no prefix."""

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._v4 = pytricia.PyTricia(32, AF_INET)
        self._v6 = pytricia.PyTricia(128, AF_INET6)
        for prefix in prefixes:
            # pytricia itself takes "10.0.0.0/x" for /0.
            network = ipaddress.ip_network(prefix, strict=False)
            (self._v4 if network.version == 4 else self._v6)[str(network)] = True

    def __contains__(self, address: str) -> bool:
        return address in (self._v6 if ":" in address else self._v4)


def is_outbound(source_is_unlisted: bool, unlisted_is_local: bool, listed_is_local: bool) -> bool:
    """Whether the packet goes outward."""
    if listed_is_local and not unlisted_is_local:
        return not source_is_unlisted
    return source_is_unlisted


def of(either_is_local: bool, outbound_seen: bool, inbound_seen: bool) -> Direction:
    """The direction of everything seen of a pair so far."""
    if not either_is_local:
        return "transit"
    if outbound_seen and inbound_seen:
        return "both"
    return "outbound" if outbound_seen else "inbound"
