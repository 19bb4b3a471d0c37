# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Mirrored packets all the way to the analyst: `sentinel run` as receiver, `captures open`, extcap, tshark."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sentinel.packets.pcap import packets
from tests.support import mirroring
from tests.support.ports import free_port
from tests.support.running import DESTINATION, HOST, LISTED, Agent, Sentinel, Shim, tcp_frame, until

LEAF1, LEAF2, ELSEWHERE = "127.0.1.1", "127.0.1.2", "127.0.1.99"
TOKEN = "not-a-secret-but-long-enough"
TSHARK = shutil.which("tshark")
needs_tshark = pytest.mark.skipif(TSHARK is None, reason="no tshark here")


class Receiving:
    """A daemon that receives, two switches that mirror to it, and an analyst with a home directory."""

    def __init__(self, directory: Path, erspan: str = "", **capture: str) -> None:
        self.port = free_port(DESTINATION, socket.SOCK_DGRAM)
        self.shims = [Shim(name, agent, directory, self.port) for name, agent in (("leaf1", LEAF1), ("leaf2", LEAF2))]
        self.leaf1, self.leaf2 = self.shims
        tokens = directory / "tokens"
        tokens.touch(0o600)
        tokens.write_text(f"analyst {TOKEN}\n")
        sections = f'token_file = "{tokens}"\n[erspan]\ngre_in_udp = "{DESTINATION}:{self.port}"\n{erspan}\n'
        self.sentinel = Sentinel(directory, self.shims, sections, quiet='"60s"', switch_lease='"6s"', **capture)
        self.agent = Agent(LEAF1, self.sentinel.collector)
        self.home = directory / "home"
        (self.home / "sentinel").mkdir(parents=True)
        (self.home / "sentinel" / "client.toml").write_text(
            f'url = "http://{self.sentinel.web}"\ntoken_file = "{tokens}"\n'
        )
        self.environment = {**os.environ, "XDG_CONFIG_HOME": str(self.home)}
        self._stop = threading.Event()
        self._talking: threading.Thread | None = None

    def start(self) -> "Receiving":
        for shim in self.shims:
            shim.start()
        self.sentinel.start()
        return self

    def close(self) -> None:
        self.hush()
        self.sentinel.process.kill()
        for shim in self.shims:
            shim.close()
        self.agent.close()

    def api(self, path: str, method: str = "GET", **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return requests.request(
            method, f"http://{self.sentinel.web}/api/v1/{path}", headers=headers, timeout=10, **more
        )

    def capture(self, *states: str) -> dict[str, Any] | None:
        rows: list[dict[str, Any]] = self.api("captures").json()["captures"]
        return next((row for row in rows if row["state"] in (states or ("active",))), None)

    def talk(self) -> dict[str, Any]:
        """Let the pair talk through leaf1 until it is hushed; the capture once it is active."""
        found = self.captured()

        def go_on() -> None:
            number = 0
            while not self._stop.wait(0.02):
                number += 1
                self.leaf1.forward(tcp_frame(sport=10_000 + number % 50_000))

        if self._talking is None:
            self._stop.clear()
            self._talking = threading.Thread(target=go_on)
            self._talking.start()
        return found

    def captured(self) -> dict[str, Any]:
        """The capture of the pair, sampled once more, once it is active."""
        self.agent.send(tcp_frame())
        found = until(self.capture)
        until(self.leaf1.rules)
        assert isinstance(found, dict)
        return found

    def hush(self) -> None:
        self._stop.set()
        if self._talking is not None:
            self._talking.join()
            self._talking = None

    def command(self, *words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        line = [sys.executable, "-m", "sentinel", "captures", *words]
        environment = {**self.environment, **more}
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=30, env=environment)

    def remote(self) -> list[str]:
        return ["--url", f"http://{self.sentinel.web}", "--token-file", str(self.sentinel.directory / "tokens")]

    def extcap(self, *words: str) -> "subprocess.CompletedProcess[str]":
        line = [sys.executable, "-m", "sentinel.commands.extcap", *words]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=30, env=self.environment)

    def frames(self, capture_id: str) -> int:
        received: dict[str, int] = self.api(f"captures/{capture_id}").json()["received"]
        return received["frames"]


Make = Callable[..., Receiving]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Receiving] = []

    def build(**settings: str) -> Receiving:
        made.append(Receiving(tmp_path, **settings))
        return made[-1].start()

    yield build
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    """One daemon for the tests that change nothing of it but the frames it got."""
    running = Receiving(tmp_path_factory.mktemp("shared"))
    try:
        yield running.start()
    finally:
        running.close()


def read(content: bytes, path: Path) -> list[bytes]:
    path.write_bytes(content)
    return [each.data for each in packets(path)]


def test_the_pair_is_kept_and_everything_else_counted(make: Make, tmp_path: Path) -> None:
    running = make()
    running.agent.send(tcp_frame())
    capture = until(running.capture)
    frame = tcp_frame()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as leaf2:
        leaf2.bind((LEAF2, 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
            elsewhere.bind((ELSEWHERE, 0))
            # Forged, from a switch without this mirror, and the real thing: two equal ones a millisecond apart.
            elsewhere.sendto(mirroring.type_ii(frame), (DESTINATION, running.port))
            leaf2.sendto(mirroring.type_ii(frame), (DESTINATION, running.port))
            leaf2.sendto(b"\x10\x00\x88\xbe", (DESTINATION, running.port))
    running.leaf1.forward(frame)
    time.sleep(0.001)
    running.leaf1.forward(frame)
    running.leaf1.forward(tcp_frame(dst="198.51.100.8"))
    until(lambda: running.frames(capture["id"]) == 2)
    metrics = requests.get(
        f"http://{running.sentinel.web}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=5
    ).text
    counted = {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
        for line in metrics.splitlines()
        if line.startswith("sentinel_erspan") and not line.startswith("#")
    }
    assert counted["sentinel_erspan_unknown_source_total"] == 1
    assert counted["sentinel_erspan_unexpected_pair_total"] == 1
    assert counted["sentinel_erspan_malformed_total"] == 1
    assert counted["sentinel_erspan_frames_total"] == 2
    assert counted["sentinel_erspan_kernel_drops_total"] == 0
    assert counted['sentinel_erspan_switch_frames_total{switch="leaf1"}'] == 2
    udp = f"udp {DESTINATION} port {running.port}"
    assert counted[f'sentinel_erspan_socket_kernel_drops_total{{listener="{udp}",thread="0"}}'] == 0
    sockets = running.api("../../healthz").json()["sockets"]
    assert [(each["stage"], each["thread"]) for each in sockets] == [("sflow", 0), ("erspan", 0)]
    assert sockets[1]["listener"] == udp
    answer = running.api(f"captures/{capture['id']}/pcap")
    assert read(answer.content, tmp_path / "got.pcapng") == [frame, frame]
    assert f"local-{HOST}".encode() in answer.content
    assert f"bad-{LISTED}".encode() in answer.content
    row = running.api(f"captures/{capture['id']}").json()["received"]
    assert row == {"frames": 2, "bytes": 2 * len(frame), "duplicates": 0, "truncated": 0, "lost": 0}


def test_parts_of_two_lives_of_the_daemon_come_as_one_recording(make: Make, tmp_path: Path) -> None:
    running = make()
    capture = running.talk()
    until(lambda: running.frames(capture["id"]) > 5)
    assert running.sentinel.process.stop() == 0
    running.sentinel.start()
    until(lambda: running.frames(capture["id"]) > 5)
    assert len(list((running.sentinel.directory / "state" / "pcap").glob(f"{capture['id']}.*.pcapng"))) == 2
    content = running.api(f"captures/{capture['id']}/pcap").content
    assert len(read(content, tmp_path / "got.pcapng")) > 10
    if TSHARK is not None:
        line = [TSHARK, "-n", "-r", str(tmp_path / "got.pcapng"), "-T", "fields", "-e", "ip.dst"]
        seen = subprocess.run(line, capture_output=True, text=True, check=True, timeout=30)
        assert set(seen.stdout.split()) == {LISTED}
        assert not [each for each in seen.stderr.splitlines() if "Running as user" not in each]


def test_what_has_to_go_is_an_event(make: Make) -> None:
    running = make(erspan='max_total = "3kB"')
    old = running.sentinel.directory / "state" / "pcap" / "cold.0001.pcapng"
    assert running.sentinel.process.stop() == 0
    old.parent.mkdir(exist_ok=True)
    old.write_bytes(bytes(2900))
    running.sentinel.start()
    capture = running.talk()
    until(lambda: running.frames(capture["id"]) > 0)
    deleted = [each["capture_file"] for each in running.sentinel.events() if each["event_type"] == "capture_file"]
    assert deleted == [{"deleted": True, "id": "cold", "file": old.name, "bytes": 2900, "reason": "room"}]


# --- captures open -------------------------------------------------------------------------------


def test_open_feeds_wireshark_from_any_host_until_the_capture_ends(make: Make, tmp_path: Path) -> None:
    running = make()
    capture = running.talk()
    tools = tmp_path / "bin"
    tools.mkdir()
    fake = tools / "wireshark"
    fake.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nexec cat > {tmp_path}/seen.pcapng\n')
    fake.chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    line = [sys.executable, "-m", "sentinel", "captures", "open", capture["id"], *running.remote()]
    with subprocess.Popen(line, env={**running.environment, "PATH": path}) as opened:
        seen = tmp_path / "seen.pcapng"
        until(lambda: seen.exists() and seen.read_bytes().count(socket.inet_aton(LISTED)) > 5)
        assert opened.poll() is None
        assert running.api(f"captures/{capture['id']}", "DELETE", json={}).ok
        assert opened.wait(20) == 0
    assert (tmp_path / "arguments").read_text() == "-k -i -\n"
    whole = running.api(f"captures/{capture['id']}/pcap").content
    until(lambda: seen.read_bytes().endswith(whole))


def test_open_without_wireshark_says_where_and_writes_where_it_is_told(make: Make, tmp_path: Path) -> None:
    running = make()
    capture = running.talk()
    until(lambda: running.frames(capture["id"]) > 3)
    assert running.api(f"captures/{capture['id']}", "DELETE", json={}).ok
    until(lambda: running.capture("ended"))
    said = running.command("open", capture["id"], *running.remote(), PATH=str(tmp_path))
    assert (said.returncode, said.stdout) == (
        0,
        f"http://{running.sentinel.web}/api/v1/captures/{capture['id']}/pcap\n",
    )
    written = running.command("open", capture["id"], "-w", str(tmp_path / "out"), "-c", str(running.sentinel.config))
    assert written.returncode == 0, written.stderr
    assert (tmp_path / "out").read_bytes() == running.api(f"captures/{capture['id']}/pcap").content
    nowhere = running.command("open", "c0", *running.remote())
    assert (nowhere.returncode, "no such capture" in nowhere.stderr) == (1, True)
    listed = running.command("list", "--all", *running.remote())
    assert capture["id"] in listed.stdout


# --- extcap --------------------------------------------------------------------------------------


def test_extcap_lists_live_captures_and_what_its_dialog_offers(shared: Receiving) -> None:
    running = shared
    capture = running.captured()
    listed = running.extcap("--extcap-interfaces", "--extcap-version=4.0").stdout.splitlines()
    assert listed[0].startswith("extcap {version=")
    assert listed[1].startswith(
        f"interface {{value=sentinel-{capture['id']}}}{{display=Sentinel: {HOST} with {LISTED} at leaf1, "
    )
    assert "left}" in listed[1]
    assert listed[2] == "interface {value=sentinel}{display=Sentinel: start a capture}"
    link = running.extcap("--extcap-dlts", "--extcap-interface", f"sentinel-{capture['id']}").stdout
    assert link == "dlt {number=1}{name=EN10MB}{display=Ethernet}\n"
    dialog = running.extcap("--extcap-config", "--extcap-interface", "sentinel").stdout
    assert "{call=--local}" in dialog
    again = running.extcap(
        "--extcap-config", "--extcap-interface", "sentinel", "--extcap-reload-option", "--follow", "--follow", "new"
    ).stdout.splitlines()
    assert [line.partition("{display")[0] for line in again] == [
        "value {arg=0}{value=new}",
        f"value {{arg=0}}{{value={capture['id']}}}",
    ]
    assert TOKEN not in dialog + "".join(listed)


def test_without_a_daemon_or_its_token_extcap_says_so_and_goes_on(make: Make) -> None:
    running = make()
    (running.sentinel.directory / "tokens").chmod(0o644)
    refused = running.extcap("--extcap-interfaces")
    assert (refused.returncode, "chmod 600" in refused.stdout, TOKEN in refused.stdout) == (0, True, False)
    running.sentinel.process.kill()
    (running.sentinel.directory / "tokens").chmod(0o600)
    gone = running.extcap("--extcap-interfaces")
    assert (gone.returncode, "no daemon answers" in gone.stdout) == (0, True)


class Fifo:
    """Wireshark's end of an extcap capture."""

    def __init__(self, running: Receiving, path: Path, *words: str) -> None:
        self.path = path
        os.mkfifo(path)
        line = [sys.executable, "-m", "sentinel.commands.extcap", "--capture", "--fifo", str(path), *words]
        self.process = subprocess.Popen(line, env=running.environment, stderr=subprocess.PIPE, text=True)
        self.reading = os.open(path, os.O_RDONLY)
        self.received = bytearray()

    def until(self, count: int) -> None:
        while self.received.count(socket.inet_aton(LISTED)) < count:
            data = os.read(self.reading, 65536)
            assert data, self.process.communicate()[1]
            self.received += data

    def finish(self) -> str:
        return self.process.communicate(timeout=20)[1]


def test_extcap_streams_until_nobody_reads_any_more(shared: Receiving, tmp_path: Path) -> None:
    running = shared
    capture = running.talk()
    words = ("--extcap-interface", f"sentinel-{capture['id']}", "--extcap-capture-filter", "tcp")
    fifo = Fifo(running, tmp_path / "fifo", *words)
    fifo.until(10)
    os.close(fifo.reading)
    assert "display filter" in fifo.finish()
    assert fifo.process.returncode == 0
    assert running.capture() is not None


def test_extcap_notices_a_reader_that_left_while_nothing_came(shared: Receiving, tmp_path: Path) -> None:
    running = shared
    running.hush()
    capture = running.captured()
    fifo = Fifo(running, tmp_path / "fifo", "--extcap-interface", f"sentinel-{capture['id']}")
    assert os.read(fifo.reading, 4) == b"\x0a\x0d\x0d\x0a"
    os.close(fifo.reading)
    fifo.finish()
    assert fifo.process.returncode == 0


def test_extcap_starts_a_capture_of_a_typed_pair_and_ends_it_when_told(make: Make, tmp_path: Path) -> None:
    running = make(mode='"automatic"', min_samples="100")
    # Our host only answered, so nothing is captured by itself.
    running.agent.send(tcp_frame(flags=0x12, sport=443, dport=50_000))
    until(lambda: running.api("detections").json()["detections"])
    assert running.capture("active", "installing", "wanted") is None
    words = ("--extcap-interface", "sentinel", "--follow", "new", "--local", HOST, "--listed", LISTED)
    fifo = Fifo(running, tmp_path / "fifo", *words, "--seconds", "120")
    until(running.capture)
    until(running.leaf1.rules)
    running.leaf1.forward(tcp_frame())
    # Two of the address are in the comments of the section, the next in a frame.
    fifo.until(2)
    fifo.process.send_signal(signal.SIGTERM)
    assert fifo.finish() == ""
    assert fifo.process.returncode == 0
    os.close(fifo.reading)
    until(lambda: not running.leaf1.rules(), what="the rule left with Wireshark")


def test_extcap_says_what_is_missing_or_refused(shared: Receiving, tmp_path: Path) -> None:
    running = shared
    for number, (words, said) in enumerate(
        [
            (["--extcap-interface", "sentinel"], "local and listed"),
            (["--extcap-interface", "sentinel", "--local", HOST, "--listed", "192.0.2.1"], "no list in force"),
            (["--extcap-interface", "sentinel-c0"], "no such capture"),
            (["--extcap-interface", "sentinel", "--url", "http://192.0.2.1", "--token-file", "x"], "cannot be read"),
        ]
    ):
        fifo = Fifo(running, tmp_path / f"fifo{number}", *words)
        assert os.read(fifo.reading, 1) == b""
        os.close(fifo.reading)
        assert said in fifo.finish()
        assert fifo.process.returncode == 1


@needs_tshark
@pytest.mark.skipif(os.geteuid() != 0, reason="as an ordinary user tshark may not capture")
def test_tshark_lists_and_captures(shared: Receiving, tmp_path: Path) -> None:
    assert TSHARK is not None
    running = shared
    folder = running.home / "wireshark" / "extcap"
    folder.mkdir(parents=True)
    program = tmp_path / "sentinel-extcap"
    program.write_text(f"#!{sys.executable}\nfrom sentinel.commands.extcap import main\nmain()\n")
    program.chmod(0o755)
    (folder / "sentinel-extcap").symlink_to(program)
    capture = running.talk()

    def tshark(*words: str) -> "subprocess.CompletedProcess[str]":
        line = [str(TSHARK), *words]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=40, env=running.environment)

    listed = tshark("-D").stdout
    assert f"sentinel-{capture['id']} (Sentinel: {HOST} with {LISTED} at leaf1" in listed
    got = tshark(
        *("-n", "-l", "-i", f"sentinel-{capture['id']}", "-c", "3"),
        *("-T", "json", "-e", "ip.src", "-e", "ip.dst", "-e", "frame.interface_name"),
    )
    assert got.returncode == 0, got.stderr
    rows = [each["_source"]["layers"] for each in json.loads(got.stdout)]
    assert rows == [{"ip.src": [HOST], "ip.dst": [LISTED], "frame.interface_name": ["leaf1"]}] * 3
    typed = tshark(
        *("-n", "-l", "-i", "sentinel", "-c", "3", "-T", "fields", "-e", "ip.dst"),
        *("-o", f"extcap.sentinel.local:{HOST}", "-o", f"extcap.sentinel.listed:{LISTED}"),
    )
    assert typed.stdout.split() == [LISTED] * 3, typed.stderr
    # It was live already, so it goes on.
    assert running.capture() is not None
