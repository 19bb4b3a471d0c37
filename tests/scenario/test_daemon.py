# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The whole loop with real processes: `sentinel run`, real shims, real datagrams and requests on loopback."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.running import (
    DESTINATION,
    HOST,
    LISTED,
    Agent,
    Sentinel,
    Shim,
    tcp_frame,
    until,
    vxlan_frame,
)

LEAF1, LEAF2, SPINE = "127.0.1.1", "127.0.1.2", "127.0.1.9"


class Fabric:
    def __init__(self, directory: Path, **capture: str) -> None:
        self.leaf1 = Shim("leaf1", LEAF1, directory)
        self.leaf2 = Shim("leaf2", LEAF2, directory)
        self.shims = [self.leaf1, self.leaf2]
        self.sentinel = Sentinel(directory, self.shims, **capture)
        self.agents = {address: Agent(address, self.sentinel.collector) for address in (LEAF1, LEAF2, SPINE)}

    def start(self) -> "Fabric":
        for shim in self.shims:
            shim.start()
        self.sentinel.start()
        return self

    def close(self) -> None:
        self.sentinel.process.kill()
        for shim in self.shims:
            shim.close()
        for agent in self.agents.values():
            agent.close()

    def rules(self) -> dict[str, list[str]]:
        return {shim.name: sorted(shim.rules()) for shim in self.shims}


Make = Callable[..., Fabric]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Fabric] = []

    def build(**capture: str) -> Fabric:
        made.append(Fabric(tmp_path, **capture))
        return made[-1]

    yield build
    for fabric in made:
        fabric.close()


FAST = {"quiet": '"4s"', "switch_lease": '"3s"'}


def test_one_rule_on_the_observing_switch_for_as_long_as_it_talks(make: Make) -> None:
    fabric = make(**FAST).start()
    for _ in range(5):
        fabric.agents[LEAF1].send(tcp_frame())
        fabric.agents[LEAF2].send(vxlan_frame(tcp_frame()), vxlan_frame(tcp_frame()))
    until(lambda: fabric.rules()["leaf1"])
    [capture] = until(lambda: fabric.sentinel.captures("active"))
    assert (capture["local_ip"], capture["listed_ip"]) == (HOST, LISTED)
    assert fabric.rules() == {"leaf1": [f"sentinel_{capture['id']}"], "leaf2": []}
    commits = fabric.leaf1.installs()
    mirrored = {each["name"]: each["mirrored_bps"] for each in fabric.sentinel.get("switches")["switches"]}
    assert mirrored == {"leaf1": capture["rate_bps"], "leaf2": 0}
    assert capture["rate_bps"] > 0
    assert fabric.sentinel.metric('sentinel_capture_mirrored_bps{switch="leaf1"}') > 0
    assert fabric.sentinel.metric("sentinel_capture_destination_bps") > 0

    # No samples any more; the rule's own counter keeps it.
    end = time.monotonic() + 8
    while time.monotonic() < end:
        fabric.leaf1.forward(tcp_frame(flags=0x10))
        time.sleep(0.5)
    assert fabric.rules()["leaf1"]
    assert fabric.leaf1.installs() == commits
    [detection] = fabric.sentinel.detections()
    assert (detection["direction"], detection["evidence"]) == ("outbound", "initiated")
    assert {o["agent"]: o["capturable"] for o in detection["observers"]} == {LEAF1: True, LEAF2: False}

    until(lambda: not fabric.rules()["leaf1"], what="gone after quiet")
    [ended] = until(lambda: fabric.sentinel.captures("ended"))
    assert ended["ending"] == "quiet"
    states = [e["capture"]["state"] for e in fabric.sentinel.events() if e["event_type"] == "capture"]
    assert states == ["installing", "active", "removing", "ended"]
    assert fabric.sentinel.process.stop() == 0


def test_a_restart_with_a_live_capture_writes_nothing(make: Make) -> None:
    fabric = make(quiet='"60s"', switch_lease='"6s"').start()
    fabric.agents[LEAF1].send(tcp_frame())
    until(lambda: fabric.sentinel.captures("active"))
    commits = fabric.leaf1.installs()
    assert fabric.sentinel.process.stop() == 0
    fabric.sentinel.start()
    time.sleep(8)
    [capture] = fabric.sentinel.captures("active")
    assert list(fabric.rules()["leaf1"]) == [f"sentinel_{capture['id']}"]
    assert fabric.leaf1.installs() == commits


def test_captures_reach_the_disk_within_seconds(make: Make, tmp_path: Path) -> None:
    fabric = make(quiet='"60s"').start()
    fabric.agents[LEAF1].send(tcp_frame())
    [capture] = until(lambda: fabric.sentinel.captures("active"), what="active")
    # Not in the log beside it: that one a power cut takes.
    stored = tmp_path / "state" / "sentinel.db"
    until(lambda: capture["id"].encode() in stored.read_bytes(), what="the capture is on disk")


def test_the_switch_forgets_by_itself_when_the_daemon_is_killed(make: Make) -> None:
    fabric = make(**FAST).start()
    fabric.agents[LEAF1].send(tcp_frame())
    until(lambda: fabric.rules()["leaf1"])
    fabric.sentinel.process.kill()
    until(lambda: not fabric.rules()["leaf1"], seconds=6, what="the lease ended the rule")


def test_a_killed_shim_comes_back_to_a_rule_that_is_wanted_still(make: Make) -> None:
    fabric = make(quiet='"60s"', switch_lease='"6s"').start()
    fabric.agents[LEAF1].send(tcp_frame())
    until(lambda: fabric.sentinel.captures("active"))
    fabric.leaf1.process.kill()
    time.sleep(3)
    fabric.leaf1.start()
    until(lambda: fabric.rules()["leaf1"], seconds=40)
    until(lambda: fabric.sentinel.captures("active"), seconds=40)
    assert len(fabric.rules()["leaf1"]) == 1


def test_after_a_reboot_of_the_switch_nothing_of_before_is_left(make: Make) -> None:
    fabric = make(**FAST).start()
    fabric.agents[LEAF1].send(tcp_frame())
    until(lambda: fabric.rules()["leaf1"])
    fabric.sentinel.process.kill()
    fabric.leaf1.process.kill()
    fabric.leaf1.boot_id.write_text("00000000-0000-0000-0000-000000000002\n")
    fabric.leaf1.start()
    assert fabric.rules()["leaf1"] == []


def test_only_configured_agents_are_heard_and_only_from_their_own_address(make: Make) -> None:
    fabric = make(**FAST).start()
    liar = Agent(SPINE, fabric.sentinel.collector, agent=LEAF1)
    liar.send(tcp_frame())
    fabric.agents[SPINE].send(tcp_frame())
    liar.close()
    until(lambda: fabric.sentinel.metric("sentinel_scan_refused_total") == 2)
    time.sleep(1)
    assert fabric.rules() == {"leaf1": [], "leaf2": []}
    assert fabric.sentinel.detections() == []


def test_rubbish_is_counted_and_the_next_datagram_is_heard(make: Make) -> None:
    fabric = make(**FAST).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.bind((LEAF1, 0))
        for rubbish in (b"", b"\0", b"\xff" * 1400, b"\0\0\0\x05" + b"\0\0\0\x01" + b"\x7f\0\1\1" + b"\xff" * 100):
            out.sendto(rubbish, fabric.sentinel.collector)
    fabric.agents[LEAF1].send(tcp_frame())
    until(lambda: fabric.rules()["leaf1"])
    assert fabric.sentinel.metric("sentinel_scan_bad_datagrams_total") >= 3


def test_manual_waits_and_the_operator_s_commands_work(make: Make) -> None:
    fabric = make(mode='"manual"', quiet='"60s"', switch_lease='"6s"').start()
    fabric.agents[LEAF1].send(tcp_frame())
    [capture] = until(lambda: fabric.sentinel.captures("pending"))
    assert fabric.rules()["leaf1"] == []

    def command(*words: str) -> "subprocess.CompletedProcess[str]":
        line = [sys.executable, "-m", "sentinel", "captures", *words, "-c", str(fabric.sentinel.config)]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=30)

    assert "pending" in command("list").stdout
    approved = command("approve", capture["id"])
    assert approved.returncode == 0, approved.stderr
    until(lambda: fabric.rules()["leaf1"])
    assert "--ttl 64" in command("show", capture["id"]).stdout
    opened = command("open", capture["id"])
    assert (opened.returncode, DESTINATION in opened.stderr) == (1, True)
    assert command("stop", capture["id"]).returncode == 0
    until(lambda: not fabric.rules()["leaf1"])
    again = command("start", HOST, LISTED)
    assert again.returncode == 0, again.stderr
    until(lambda: fabric.rules()["leaf1"])
    refused = command("start", HOST, "192.0.2.1")
    assert (refused.returncode, "no list in force" in refused.stderr) == (1, True)


def test_a_list_that_drops_the_address_ends_the_capture_as_delisted(make: Make) -> None:
    fabric = make(quiet='"60s"', switch_lease='"6s"').start()
    fabric.agents[LEAF1].send(tcp_frame())
    until(lambda: fabric.sentinel.captures("active"))
    fabric.sentinel.list.write_text("203.0.113.0/24\n")
    answer: Any = requests.post(f"http://{fabric.sentinel.web}/api/v1/feeds/bad/refresh", json={}, timeout=20)
    assert answer.ok, answer.text
    until(lambda: not fabric.rules()["leaf1"])
    [ended] = until(lambda: fabric.sentinel.captures("ended"))
    assert ended["ending"] == "delisted"


def test_an_unlisted_pair_is_captured_when_a_person_asks_and_the_settings_allow_it(make: Make) -> None:
    fabric = make(allow_unlisted="true", **FAST).start()

    def start() -> Any:
        body = {"local_ip": HOST, "listed_ip": "192.0.2.1"}
        return requests.post(f"http://{fabric.sentinel.web}/api/v1/captures", json=body, timeout=10)

    refused = start()
    assert (refused.status_code, "no agent has sampled this pair" in refused.text) == (409, True)
    fabric.agents[LEAF2].send(tcp_frame(HOST, "192.0.2.1"))
    until(lambda: start().ok, what="the flow is known")
    until(lambda: fabric.rules()["leaf2"])
    assert fabric.rules()["leaf1"] == []
    assert fabric.sentinel.detections() == []


def test_flows_are_counted_by_the_second_and_told_in_utc(make: Make) -> None:
    fabric = make().start()
    started = time.time()
    for _ in range(3):
        fabric.agents[LEAF1].send(tcp_frame(HOST, "192.0.2.1"), tcp_frame(HOST, "192.0.2.2", dport=53))
        fabric.agents[LEAF2].send(tcp_frame(HOST, "192.0.2.1"))
        time.sleep(0.6)

    def told() -> Any:
        answer = fabric.sentinel.get("flows?group=dst_ip&metric=packets&series=1&src_ip=10.0.0.0/8&dst_port=!53")
        return answer if answer["amounts"]["all"]["samples"] == 9 else None

    answer = until(told)
    [row] = answer["flows"]
    assert (row["dst_ip"], row["samples"], row["packets"], row["agents"]) == ("192.0.2.1", 3, 300, 2)
    assert answer["amounts"]["elsewhere"]["packets"] == 300
    [series] = answer["series"]["groups"]
    values = [value for value in series["values"] if value]
    assert sum(values) == 300
    assert len(values) >= 2
    assert len(series["values"]) == answer["window"]["seconds"]
    begin, end, first, last = (
        datetime.fromisoformat(text).timestamp()
        for text in (answer["window"]["from"], answer["window"]["until"], row["first_seen"], row["last_seen"])
    )
    assert end - begin == pytest.approx(answer["window"]["seconds"])
    assert started - 0.001 <= first <= last <= end <= time.time()
    # What the series tell lies where the samples were seen.
    times = [begin + n for n, value in enumerate(series["values"]) if value]
    assert times[0] <= first < times[0] + 1.1
    assert times[-1] <= last < times[-1] + 1.1
    assert fabric.sentinel.metric("sentinel_flows_samples_total") == 9
    assert "did you mean dst_ip" in requests.get(f"http://{fabric.sentinel.web}/api/v1/flows?dst=1", timeout=5).text


def test_a_second_daemon_on_the_same_state_dir_ends_with_status_2_and_names_it(make: Make) -> None:
    fabric = make().start()
    words = [sys.executable, "-m", "sentinel", "run", "-c", str(fabric.sentinel.config)]
    second = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 2
    assert f"{fabric.sentinel.directory / 'state'} is in use" in second.stderr
    assert fabric.sentinel.process.running
    # Commands that need no daemon of their own go on working beside it.
    words[3:4] = ["feeds", "list"]
    assert subprocess.run(words, capture_output=True, timeout=30, check=False).returncode == 0
    fabric.sentinel.process.kill()
    fabric.sentinel.start()


def test_a_store_and_an_event_log_deleted_under_the_daemon_are_noticed_and_begun_anew(make: Make) -> None:
    fabric = make(quiet='"60s"', switch_lease='"6s"').start()
    fabric.agents[LEAF1].send(tcp_frame())
    [capture] = until(lambda: fabric.sentinel.captures("active"))
    state = fabric.sentinel.directory / "state"
    for name in ("sentinel.db", "eve.json"):
        (state / name).unlink()

    def problems() -> dict[str, str]:
        answer = requests.get(f"http://{fabric.sentinel.web}/healthz", timeout=5).json()
        return {each["code"]: each["severity"] for each in answer["problems"]}

    until(lambda: "store_gone" in problems() and (state / "sentinel.db").exists(), what="noticed")
    assert problems()["store_gone"] == "failing"
    assert problems()["eventlog_gone"] == "degraded"
    assert (state / "eve.json").exists()
    until(lambda: "is written anew with 1 live" in fabric.sentinel.log())
    commits = fabric.leaf1.installs()
    fabric.sentinel.process.kill()
    fabric.sentinel.start()
    [adopted] = until(lambda: fabric.sentinel.captures("active"))
    assert adopted["id"] == capture["id"]
    assert list(fabric.rules()["leaf1"]) == [f"sentinel_{capture['id']}"]
    assert fabric.leaf1.installs() == commits
