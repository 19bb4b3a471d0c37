# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Every address pair of one flow sample, outermost first.

Beside the layers of the sampled header these are the pairs that only records tell of: addresses that NAT put in the
place of the header's, and the outer header of a tunnel that the switch added or took off. Such a pair is on the wire
elsewhere, not in the sampled frame, so its layer is behind the header's: no rule of this switch would match it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sentinel.model import FlowSample, Packet

_NAT, _NAT_PORT = "0:1007", "0:1020"
_TUNNELS = frozenset(("0:1023", "0:1024", "0:1025", "0:1026"))
_TOLD_BY_RECORDS = _TUNNELS | {_NAT, _NAT_PORT}


@dataclass(frozen=True, slots=True)
class Pair:
    """Source and destination of one layer with what the transport header said."""

    src_ip: str
    dst_ip: str
    protocol: int | None = None
    src_port: int | None = None
    dst_port: int | None = None
    tcp_flags: int | None = None
    icmp_type: int | None = None
    layer: int = 0
    vni: int | None = None


def pairs_of(sample: FlowSample, erspan_destinations: Collection[str]) -> tuple[list[Pair], bool]:
    """The different pairs of a sample, and whether mirror traffic began in it.

    From there inward nothing is looked at, lest our own mirrors feed themselves; what carries it stays visible, for
    otherwise any conversation could hide behind a GRE protocol number.
    """
    pairs: list[Pair] = []
    seen: set[tuple[str, str]] = set()
    mirror, layers = False, 0
    for pair, is_mirror in _header_pairs(sample.packet):
        layers += 1
        if pair is not None and pair.dst_ip in erspan_destinations:
            return pairs, True
        if pair is not None and (pair.src_ip, pair.dst_ip) not in seen:
            seen.add((pair.src_ip, pair.dst_ip))
            pairs.append(pair)
        mirror = mirror or is_mirror
    bodies = {record.tag: record.fields for record in sample.records if record.tag in _TOLD_BY_RECORDS}
    if bodies and not mirror:
        behind = max(layers, 1)
        outermost = pairs[0] if pairs and pairs[0].layer == 0 else None
        for pair in (*_translated(bodies, outermost, behind), *_tunnels(bodies, behind)):
            if (pair.src_ip, pair.dst_ip) not in seen and pair.dst_ip not in erspan_destinations:
                seen.add((pair.src_ip, pair.dst_ip))
                pairs.append(pair)
    return pairs, mirror


def innermost(packet: Packet | None, pairs: Sequence[Pair]) -> Pair | None:
    """The last of a sample's ``pairs`` that stands in its header rather than in a record behind it."""
    layers = sum(1 for _ in _header_pairs(packet))
    return next((pair for pair in reversed(pairs) if pair.layer < layers), None)


def _header_pairs(packet: Packet | None) -> Iterator[tuple[Pair | None, bool]]:
    """Each layer's pair (``None``: no IP there) and whether its payload is mirror traffic."""
    layer, vni = 0, None
    while packet is not None:
        pair = None
        if packet.src_ip is not None and packet.dst_ip is not None:
            pair = Pair(
                packet.src_ip,
                packet.dst_ip,
                packet.protocol,
                packet.src_port,
                packet.dst_port,
                packet.tcp_flags,
                packet.icmp_type,
                layer,
                vni,
            )
        yield pair, packet.mirror is not None
        if packet.mirror is not None:
            return
        vni = packet.vni if packet.vni is not None else vni
        packet, layer = packet.inner, layer + 1


def _translated(bodies: Mapping[str, Mapping[str, object]], pair: Pair | None, layer: int) -> Iterator[Pair]:
    """The pairs with a translated address in them (sFlow structures 0:1007 and 0:1020).

    Only what differs from the header is new, and its peer stays the header's, so that our host appears under its own
    address. Without a header the record's own two addresses are the pair.
    """
    addresses, ports = bodies.get(_NAT, {}), bodies.get(_NAT_PORT, {})
    src, dst = _text(addresses, "src_address"), _text(addresses, "dst_address")
    src_port, dst_port = _number(ports, "src_port"), _number(ports, "dst_port")
    if pair is None:
        if src is not None and dst is not None:
            yield Pair(src, dst, src_port=src_port, dst_port=dst_port, layer=layer)
        return
    pair = replace(pair, layer=layer)
    if src is not None and src != pair.src_ip:
        yield replace(pair, src_ip=src, src_port=pair.src_port if src_port is None else src_port)
    if dst is not None and dst != pair.dst_ip:
        yield replace(pair, dst_ip=dst, dst_port=pair.dst_port if dst_port is None else dst_port)


def _tunnels(bodies: Mapping[str, Mapping[str, object]], layer: int) -> Iterator[Pair]:
    """The outer pairs of tunnels that begin or end at this switch (sFlow structures 0:1023 to 0:1026)."""
    for tag, fields in bodies.items():
        src, dst = _text(fields, "src_ip"), _text(fields, "dst_ip")
        if tag in _TUNNELS and src is not None and dst is not None:
            protocol, src_port, dst_port = (_number(fields, name) for name in ("protocol", "src_port", "dst_port"))
            yield Pair(src, dst, protocol, src_port or None, dst_port or None, layer=layer)


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _number(fields: Mapping[str, object], name: str) -> int | None:
    value = fields.get(name)
    return value if isinstance(value, int) else None
