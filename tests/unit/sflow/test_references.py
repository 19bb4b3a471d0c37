# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The decoder against the reference rows of recorded sFlow and of recorded frames."""

from pathlib import Path
from struct import unpack
from typing import Any

import pytest

from sentinel.model import Packet
from sentinel.packets.pcap import packets
from sentinel.sflow import header
from sentinel.sflow.jsonlines import decode_lines
from sentinel.sflow.recorded import datagrams
from tests.support.sflow import DATA, checked, data_folder, rows

SAME = {
    "agent": "agent",
    "sub_agent": "sub_agent",
    "seq": "sequence",
    "uptime_ms": "uptime_ms",
    "sample_seq": "sample_sequence",
    "src_class": "source_class",
    "src_index": "source_index",
    "rate": "sampling_rate",
    "pool": "sample_pool",
    "drops": "drops",
    "input": "input",
    "output": "output",
    "reason": "reason",
    "tag": "tag",
}
# Rows whose reference is poorer than what can be read: an Ethernet pseudowire with a control word that tshark takes for
# an address; a second IPv4 header cut to nothing; IPv4's own protocol number where AH stands between.
READ_FURTHER = {
    ("akvorado-mpls-eompls-invalid-cw", 1),
    ("zeek-mpls-6in6-6in6-4in6-invalid-version-4", 1),
    ("arkime-arkime_synthetic", 302),
}


def pcaps(folder: str) -> list[Any]:
    place = DATA / folder
    found = sorted(place.glob("*.expected.jsonl")) if place.is_dir() else []
    return [pytest.param(path.with_name(path.name.replace(".expected.jsonl", ".pcap")), id=path.stem) for path in found]


def chain(packet: Packet | None) -> list[Packet]:
    found = []
    while packet is not None:
        found.append(packet)
        packet = packet.inner
    return found


def test_there_is_something_to_check() -> None:
    assert len(list(checked(data_folder("sflow")))) > 10
    assert len(list(checked(data_folder("headers")))) > 10


@pytest.mark.parametrize("pcap", pcaps("sflow"))
def test_samples(pcap: Path) -> None:
    lines = {}
    for line in decode_lines(datagrams(packets(pcap))):
        assert (line["frame"], line.get("index")) not in lines
        lines[line["frame"], line.get("index")] = line
    for row in rows(pcap):
        if row.get("not_sflow"):
            assert "error" in lines[row["frame"], None]
            continue
        line = lines.pop((row["frame"], row["sample"]))
        if "walk_error" in row:
            assert "error" in line
            continue
        assert {name: line.get(ours) for name, ours in SAME.items() if name in row} == {
            name: row[name] for name in SAME if name in row
        }
        assert line.get("input_format", 0) == row.get("input_format", 0)
        assert line.get("output_format", 0) == row.get("output_format", 0)
        assert [record["tag"] for record in line["records"]] == row["records"]
        assert not [record for record in line["records"] if "error" in record]
    assert not [line for line in lines.values() if "error" not in line]


def frames(pcap: Path) -> list[bytes]:
    return [packet.data for packet in packets(pcap)]


@pytest.mark.parametrize("pcap", pcaps("headers"))
def test_headers(pcap: Path) -> None:
    found = frames(pcap)
    for row in rows(pcap):
        if (pcap.stem, row["frame"]) not in READ_FURTHER:
            # LINKTYPE_RAW holds IP of either version, as sFlow's protocols 11 and 12 do.
            check(row, header.decode(found[row["frame"] - 1], 11 if row["encap"] == 7 else 1))


def test_headers_in_samples() -> None:
    for pcap in checked(data_folder("sflow")):
        payloads = {each.frame: each.payload for each in datagrams(packets(pcap))}
        for row in rows(pcap):
            for head in row.get("headers", []) if "walk_error" not in row else []:
                at = head["hdr_off"]
                octets = payloads[row["frame"]][at : at + head["header_len"]]
                assert unpack(">I", payloads[row["frame"]][at - 4 : at]) == (head["header_len"],)
                check(head, header.decode(octets, head["header_protocol"]))


def check(row: dict[str, Any], packet: Packet | None) -> None:
    layers = chain(packet)
    if "eth_src" in row:
        assert packet is not None
        assert (packet.src_mac, packet.dst_mac) == (row["eth_src"], row["eth_dst"])
    assert [vlan for layer in layers for vlan in layer.vlans] == row.get("vlans", [])
    assert [label for layer in layers for label in layer.mpls] == row.get("mpls", [])
    if "vxlan_vni" in row:
        assert row["vxlan_vni"] in [layer.vni for layer in layers]
    networks = [layer for layer in layers if layer.src_ip is not None]
    assert [(layer.src_ip, layer.dst_ip) for layer in networks] == [(ip["src"], ip["dst"]) for ip in row.get("ips", [])]
    for layer, ip in zip(networks, row.get("ips", []), strict=True):
        assert layer.protocol == ip.get("proto", ip.get("nxt_after_ext", ip.get("nxt")))
        assert (layer.src_port, layer.dst_port, layer.icmp_type) == (
            ip.get("sport"),
            ip.get("dport"),
            ip.get("icmp_type"),
        )
