# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A sampled packet header to a ``Packet``: link, tags, network, transport, and through tunnels what is inside."""

from collections.abc import Callable

from sentinel.limits import MAX_HEADER_STEPS, MAX_TUNNEL_DEPTH
from sentinel.model import Packet
from sentinel.sflow import link, network, tunnel
from sentinel.sflow.layer import ETHERNET, GRE, IPV4, IPV6, MPLS, NSH, POS, PPP, Layer, Step, by_nibble

_Parser = Callable[[bytes, int, int, Layer], Step | None]

_PARSERS: dict[int, _Parser] = {
    ETHERNET: link.ethernet,
    PPP: link.ppp,
    MPLS: link.mpls,
    POS: link.pos,
    NSH: link.nsh,
    IPV4: network.ipv4,
    IPV6: network.ipv6,
    GRE: tunnel.gre,
}


def decode(header: bytes, protocol: int = ETHERNET) -> Packet | None:
    """The packet that ``header``, the first octets of a frame, shows; ``None`` where nothing in it can be read.

    ``protocol`` is sFlow's header_protocol: 1 Ethernet, 7 PPP, 11 IPv4, 12 IPv6, 13 MPLS, 14 POS; others give ``None``.
    Never raises: where the header is cut, or is not what it claims, what was read up to there stays.
    """
    end = len(header)
    if protocol in {IPV4, IPV6}:
        step = by_nibble(header, 0, end)
    else:
        step = Step(protocol, 0, end) if protocol in _PARSERS and protocol > 0 else None
    layers: list[Layer] = [{}]
    for _ in range(MAX_HEADER_STEPS):
        if step is None or step.at > step.end:
            break
        if step.inner:
            if len(layers) > MAX_TUNNEL_DEPTH:
                break
            layers.append({})
        step = _PARSERS[step.kind](header, step.at, step.end, layers[-1])
    return _packet(layers)


def _packet(layers: list[Layer]) -> Packet | None:
    inner: Packet | None = None
    for layer in reversed(layers):
        if layer or inner is not None:
            inner = Packet(**layer, inner=inner)
    return inner
