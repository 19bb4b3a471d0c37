# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Real recordings replayed with a list made of their own addresses, against sums over their independent decodings."""

import ipaddress
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from sentinel.decide.replay import Replay
from sentinel.packets.pcap import packets
from sentinel.report import eve
from sentinel.sflow.recorded import RecordedDatagram, datagrams
from tests.support.traffic import LEAF1, blacklist, datagram, flow, frame, packet
from tests.support.twins import mutations, native

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "sflow"
LOCAL = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
NAMES = sorted(path.name for path in RECORDINGS.glob("*.pcap")) or [""]


def replayed(name: str, *listed: str, choice: str | None = None) -> Replay:
    one = Replay(blacklist(*listed), LOCAL, choice=choice)
    one.feed(datagrams(packets(RECORDINGS / name)))
    return one


def rows(name: str) -> list[dict[str, Any]]:
    path = (RECORDINGS / name).with_suffix(".expected.jsonl")
    return [row for line in path.read_text().splitlines() if (row := json.loads(line)) and "walk_error" not in row]


def layers(row: dict[str, Any]) -> list[tuple[str, str]]:
    """The address pairs of the sampled header, outermost first."""
    headers = row.get("headers") or []
    return [(ip["src"], ip["dst"]) for ip in (headers[0].get("ips", []) if headers else [])]


def addresses(name: str) -> list[str]:
    return sorted({ip for row in rows(name) for pair in layers(row) for ip in pair})


def local(ip: str) -> bool:
    return any(ipaddress.ip_address(ip) in ipaddress.ip_network(prefix) for prefix in LOCAL)


def expected(name: str, listed: str) -> dict[str, dict[str, Any]]:
    """By the other side: what the rows of the decoding add up to."""
    found: dict[str, dict[str, Any]] = defaultdict(lambda: {"ways": set(), "sums": defaultdict(lambda: [0, 0, 0])})
    for row in rows(name):
        for pair in dict.fromkeys(layers(row)):
            if listed in pair:
                src, dst = pair
                other = dst if src == listed else src
                one = found[other]
                outward = src == other if local(other) or not local(listed) else src == listed
                one["ways"].add("outbound" if outward else "inbound")
                egress = row["src_class"] == 0 and row["src_index"] == row["output"] != row["input"]
                rate = row.get("rate") or 1
                for key in ((row["agent"], egress), (row["agent"], row["src_class"], row["src_index"])):
                    sums = one["sums"][key]
                    sums[0] += rate
                    sums[1] += 1
                    sums[2] += rate * row["headers"][0]["frame_length"]
    return found


def direction(ways: Iterable[str], ours: bool) -> str:
    if not ours:
        return "transit"
    seen = sorted(ways)
    return "both" if len(seen) == 2 else seen[0]


@pytest.mark.skipif(NAMES == [""], reason="the recordings are not part of the checkout")
@pytest.mark.parametrize("name", NAMES)
def test_every_sampled_address_once(name: str) -> None:
    for listed in addresses(name):
        found = {detection.local_ip: detection for detection in replayed(name, listed).detections()}
        reference = expected(name, listed)
        assert found.keys() == reference.keys()
        for other, one in reference.items():
            detection = found[other]
            assert detection.direction == direction(one["ways"], local(other) or local(listed))
            figures = max(tuple(sums) for key, sums in one["sums"].items() if len(key) == 2)
            assert (detection.packets, detection.samples, detection.bytes) == figures
            observers = {
                (o.agent, o.source_class, o.source_index): [o.packets, o.samples, o.bytes] for o in detection.observers
            }
            assert observers == {key: sums for key, sums in one["sums"].items() if len(key) == 3}
            assert (detection.evidence == "contacted") == ("outbound" not in one["ways"])


@pytest.mark.skipif(NAMES == [""], reason="the recordings are not part of the checkout")
@pytest.mark.parametrize("name", NAMES)
def test_a_list_of_none_of_them_says_nothing(name: str) -> None:
    replay = replayed(name, "198.18.77.0/24", "2001:2::/48")
    assert replay.detections() == []
    assert replay.scan.counters.hits == 0


@pytest.mark.skipif(NAMES == [""], reason="the recordings are not part of the checkout")
def test_the_inner_pair_of_a_real_vxlan_sample() -> None:
    [detection] = replayed("akvorado-data-encap-vxlan.pcap", "2001:db8:4::3").detections()
    assert (detection.layer, detection.protocol, detection.evidence) == (1, 58, "initiated")
    [observer] = detection.observers
    assert (observer.capturable, observer.vni) == (False, 100)


@pytest.mark.skipif(NAMES == [""], reason="the recordings are not part of the checkout")
def test_several_recordings_are_told_together() -> None:
    replay = Replay(blacklist("104.26.8.24", "203.0.113.5"), LOCAL)
    for name in ("akvorado-data-icmpv4.pcap", "akvorado-data-1140.pcap"):
        replay.feed(datagrams(packets(RECORDINGS / name)))
    times = [detection.first_seen for detection in replay.detections()]
    assert len(times) == 2
    assert times == sorted(times)


def told(replay: Replay, choice: str) -> list[str]:
    """The lines that ``sentinel replay`` prints."""
    assert replay.scan.implementation == choice
    return [json.dumps(eve.alert(detection)) for detection in replay.detections()]


@pytest.mark.skipif(NAMES == [""], reason="the recordings are not part of the checkout")
@pytest.mark.parametrize("name", NAMES)
def test_both_scans_print_the_same_lines_of_a_recording(name: str) -> None:
    native()
    both = [replayed(name, "0.0.0.0/0", "::/0", "10.0.0.0/8", choice=choice) for choice in ("python", "native")]
    plain, compiled = (told(one, choice) for one, choice in zip(both, ("python", "native"), strict=True))
    assert compiled == plain
    assert both[1].scan.counters == both[0].scan.counters


def test_both_scans_print_the_same_lines_of_made_up_and_damaged_samples() -> None:
    """More datagrams than one batch has, a tenth of a second apart."""
    native()
    pairs = [(f"10.0.{n % 7}.{n % 50}", f"203.0.113.{n % 20}") for n in range(150)]
    sound = [datagram(flow(frame(packet(*pair)), sequence=n), agent=LEAF1) for n, pair in enumerate(pairs)]
    damaged = list(mutations(sound, 400, 11))
    lines = []
    for choice in ("python", "native"):
        one = Replay(blacklist("203.0.113.0/28", "10.0.3.0/24"), LOCAL, choice=choice)
        one.feed(
            RecordedDatagram(n, 1_000.0 + n / 10, LEAF1, "10.0.0.9", 6343, payload)
            for n, payload in enumerate(sound + damaged)
        )
        lines.append(told(one, choice))
    assert len(lines[0]) > 50
    assert lines[1] == lines[0]
