# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What one sampled packet proves about who wanted the conversation.

An *inbound* packet is ``contacted``, whatever it is: its sender chose every bit of it, so a listed scanner could make
itself look like a server that answers us. Only what leaves our side proves anything about our side:

========================== ============================================ ==========
protocol                   outbound packet                              evidence
========================== ============================================ ==========
TCP                        RST, or SYN with ACK                         answered
TCP                        SYN without ACK or RST                       initiated
TCP otherwise, UDP,        listed port of a better class than ours      initiated
SCTP, DCCP, UDP-Lite       otherwise (ours better, same, or no ports)   answered
ICMP, ICMPv6               a request (echo, timestamp, mask …)          initiated
ICMP, ICMPv6               a reply, an error, anything else             answered
any other                                                               answered
========================== ============================================ ==========

The side with the better **class of port** is taken for the server:

====== ============== ============================================================================
class  port           why
====== ============== ============================================================================
2      1–1023         well-known (RFC 6335 section 6): clients do not draw these
1      1024–32767     registered, and below what Linux (32768), the BSDs and Windows (49152) draw
0      0, 32768–65535 drawn by clients, or no port at all
====== ============== ============================================================================

Equal classes stay ``answered``: 53 to 53, 123 to 123 or 443 to 80 is as well our own server answering a request whose
source somebody forged (reflection). A later fragment has no ports and no flags, so it is ``answered`` too; its first
fragment may say more. An outbound packet is never less than ``answered``: something of ours did talk.
"""

from sentinel.model import Evidence, Match

RANK: dict[Evidence, int] = {"contacted": 0, "answered": 1, "initiated": 2}
STRONGEST: Evidence = "initiated"

_TCP = 6
_WITH_PORTS = frozenset((_TCP, 17, 33, 132, 136))  # TCP, UDP, DCCP, SCTP, UDP-Lite
_ICMP, _ICMPV6 = 1, 58

# RFC 9293 section 3.1; the congestion bits (ECE, CWR) of a SYN say nothing here.
_SYN, _RST, _ACK = 0x02, 0x04, 0x10

# Echo, router solicitation, timestamp, information, address mask (RFC 792, 950, 1256); extended echo (RFC 8335).
_ICMP_REQUESTS = frozenset((8, 10, 13, 15, 17, 42))
# Echo, multicast listener query, router and neighbour solicitation, node information (RFC 4443, 4861, 4620); RFC 8335.
_ICMPV6_REQUESTS = frozenset((128, 130, 133, 135, 139, 160))

_WELL_KNOWN_END = 1024
_FIRST_DRAWN = 32768


def of(match: Match, outbound: bool) -> Evidence:
    """What ``match`` proves; ``outbound`` tells that the unlisted (or our) side sent it."""
    if not outbound:
        return "contacted"
    if match.protocol == _ICMP:
        return "initiated" if match.icmp_type in _ICMP_REQUESTS else "answered"
    if match.protocol == _ICMPV6:
        return "initiated" if match.icmp_type in _ICMPV6_REQUESTS else "answered"
    if match.protocol == _TCP and match.tcp_flags is not None:
        if match.tcp_flags & _RST:
            return "answered"
        if match.tcp_flags & _SYN:
            return "answered" if match.tcp_flags & _ACK else "initiated"
    if match.protocol in _WITH_PORTS and port_class(match.dst_port) > port_class(match.src_port):
        return "initiated"
    return "answered"


def port_class(port: int | None) -> int:
    """How surely a port belongs to a service: 2 well-known, 1 registered, 0 drawn by a client or absent."""
    if not port or port >= _FIRST_DRAWN:
        return 0
    return 2 if port < _WELL_KNOWN_END else 1


def stronger(first: Evidence, second: Evidence) -> Evidence:
    """The stronger of two; evidence only ever grows."""
    return second if RANK[second] > RANK[first] else first
