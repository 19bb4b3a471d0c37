# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The packet of a flow sample without a sampled header: from sampled_ethernet, sampled_ipv4 and sampled_ipv6."""

from collections.abc import Iterable
from typing import Any

from sentinel.model import Packet, Record

_TCP = 6
_WITH_PORTS = frozenset({_TCP, 17, 33, 132, 136})


def packet_from_records(records: Iterable[Record]) -> tuple[Packet | None, int]:
    """The packet and its frame's length in octets: the Ethernet record's, else that of the IP packet."""
    link: dict[str, Any] = {}
    network: dict[str, Any] = {}
    frame_length = ip_length = 0
    for record in records:
        fields: dict[str, Any] = dict(record.fields)
        if record.name == "sampled_ethernet" and not link:
            link = _link(fields)
            frame_length = fields.get("length", 0)
        elif record.name in {"sampled_ipv4", "sampled_ipv6"} and not network and "dst_ip" in fields:
            network = _network(fields)
            ip_length = fields["length"]
    if not link and not network:
        return None, 0
    return Packet(**link, **network), frame_length or ip_length


def _link(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "src_mac": fields.get("src_mac"),
        "dst_mac": fields.get("dst_mac"),
        "ether_type": fields.get("type"),
    }


def _network(fields: dict[str, Any]) -> dict[str, Any]:
    """sFlow gives ports, or what stands in their place, for every protocol; here only where the protocol has them."""
    protocol = fields["protocol"]
    found = {name: fields[name] for name in ("src_ip", "dst_ip", "protocol", "length")}
    if protocol in _WITH_PORTS:
        found |= {name: fields.get(name) for name in ("src_port", "dst_port")}
    if protocol == _TCP:
        found["tcp_flags"] = fields.get("tcp_flags")
    return found
