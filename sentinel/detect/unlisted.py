# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A pair that a person asks for and no list names, as the detection it would be: who saw it, from the latest flows."""

from collections.abc import Iterable

from sentinel.flowmodel import FlowCount
from sentinel.model import Detection, Observer, error_pct


def detection_of(local_ip: str, other_ip: str, flows: Iterable[FlowCount]) -> Detection | None:
    """What the flows between the two add up to; ``None`` where none of them is of this pair."""
    pair = {local_ip, other_ip}
    found = [flow for flow in flows if {flow.src_ip, flow.dst_ip} == pair]
    if not found:
        return None
    observers = tuple(_observer(flow, local_ip) for flow in found)
    outbound, inbound = any(o.outbound for o in observers), any(o.inbound for o in observers)
    best = max(found, key=lambda flow: flow.packets)
    return Detection(
        id=f"u{local_ip}-{other_ip}",
        local_ip=local_ip,
        listed_ip=other_ip,
        direction="both" if outbound and inbound else "outbound" if outbound else "inbound",
        evidence="contacted",
        indicators=(),
        layer=0,
        observers=observers,
        samples=best.samples,
        packets=best.packets,
        bytes=best.bytes,
        packets_error_pct=error_pct(best.samples),
        first_seen=min(flow.first_seen for flow in found),
        last_seen=max(flow.last_seen for flow in found),
        src_ip=best.src_ip,
        dst_ip=best.dst_ip,
        src_port=best.src_port,
        dst_port=best.dst_port,
        protocol=best.protocol,
    )


def _observer(flow: FlowCount, local_ip: str) -> Observer:
    outbound = flow.src_ip == local_ip
    return Observer(
        agent=flow.agent,
        source_class=0,
        source_index=flow.input,
        input=flow.input,
        output=flow.output,
        samples=flow.samples,
        packets=flow.packets,
        bytes=flow.bytes,
        capturable=flow.vni is None,
        vni=flow.vni,
        outbound=flow.samples if outbound else 0,
        inbound=0 if outbound else flow.samples,
        sender_is_agent=True,
    )
