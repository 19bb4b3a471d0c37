# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The commands as a shell sees them: data on stdout, the rest on stderr, the exit status."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sentinel.sflow import encode
from tests.support.running import HOST, LISTED, tcp_frame

SETTINGS = """
state_dir = "{directory}/state"
[network]
local = ["10.0.0.0/8"]
[capture]
mode = "dry-run"
erspan_destination = "10.0.0.70"
never_capture = ["10.0.0.0/28"]
[feeds]
files = ["{directory}/bad.txt:plain:c2"]
allow = ["203.0.113.9"]
[web]
listen = "127.0.0.1:1"
[[switch]]
name = "leaf1"
agents = ["10.255.0.253"]
url = "https://127.0.0.1:1"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "bad.txt").write_text(f"{LISTED}\n203.0.113.0/24\n10.1.2.3\n")
    (tmp_path / "sentinel.toml").write_text(SETTINGS.format(directory=tmp_path))
    return tmp_path


def sentinel(place: Path, *words: str, data: bytes = b"") -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "sentinel", *words]
    done = subprocess.run(line, input=data, capture_output=True, cwd=place, check=False, timeout=60)
    return subprocess.CompletedProcess(line, done.returncode, done.stdout.decode(), done.stderr.decode())


def pcap(*datagrams: bytes) -> bytes:
    """Classic pcap, link type 101 (raw IP), one UDP datagram to 6343 a record."""
    out = b"\xd4\xc3\xb2\xa1\x02\0\x04\0" + bytes(8) + (65535).to_bytes(4, "little") + (101).to_bytes(4, "little")
    for number, payload in enumerate(datagrams):
        udp = (4000).to_bytes(2, "big") + (6343).to_bytes(2, "big") + (8 + len(payload)).to_bytes(2, "big") + b"\0\0"
        length = 20 + len(udp) + len(payload)
        ip = b"\x45\0" + length.to_bytes(2, "big") + b"\0\0\0\0\x40\x11\0\0\x0a\xff\0\xfd\x0a\0\0\x02"
        times = (1_700_000_000 + number).to_bytes(4, "little") + bytes(4)
        out += times + length.to_bytes(4, "little") * 2 + ip + udp + payload
    return out


def datagram(frame: bytes) -> bytes:
    sample = encode.flow_sample(
        sequence=1, source_index=1, sampling_rate=10, sample_pool=1, input=1, output=2, header=frame, frame_length=64
    )
    return encode.datagram("10.255.0.253", 0, 1, 1, [sample])


def test_decode_reads_standard_input_and_says_the_rest_on_stderr(place: Path) -> None:
    done = sentinel(place, "decode", "-", data=pcap(datagram(tcp_frame()), b"rubbish"))
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["packet"]["src_ip"], first["sampling_rate"], first["frame"]) == (HOST, 10, 1)
    assert (second["frame"], "error" in second) == (2, True)
    assert (done.returncode, "1 samples, 1 errors" in done.stderr) == (0, True)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("decode",), 2, "name a recording"),
        (("decode", "absent.pcap"), 1, "No such file"),
        (("decode", "sentinel.toml"), 1, "neither pcap nor pcapng"),
        (("decode", "--listen", "nowhere"), 2, "expected HOST:PORT"),
        (("replay", "-", "--feed", "absent.txt"), 2, "no such file"),
        (("replay", "-", "--feed", "bad.txt:nonsense"), 2, "nonsense"),
        (("replay", "-", "--feed", "bad.txt", "--local", "x"), 2, "--local"),
        (("lookup", "nobody", "-c", "sentinel.toml"), 2, "not an IPv4 or IPv6 address"),
        (("check", "-c", "absent.toml"), 2, "cannot be read"),
        (("captures", "list", "-c", "sentinel.toml"), 1, "sentinel run"),
        (("feeds", "refresh", "nosuch", "-c", "sentinel.toml"), 2, "not enabled"),
        (("nonsense",), 2, "No such command"),
    ],
)
def test_mistakes_are_one_clear_message_and_a_status(
    place: Path, words: tuple[str, ...], status: int, said: str
) -> None:
    done = sentinel(place, *words, data=pcap())
    assert (done.returncode, said in done.stderr, done.stdout) == (status, True, ""), done.stderr
    assert "Traceback" not in done.stderr


def test_replay_without_any_list_says_how_to_name_one(tmp_path: Path) -> None:
    done = sentinel(tmp_path, "replay", "-")
    assert (done.returncode, "name one with -c" in done.stderr) == (2, True)


def test_replay_prints_the_detection_and_nothing_for_a_list_of_none(place: Path) -> None:
    recorded = pcap(datagram(tcp_frame()), datagram(tcp_frame(LISTED, HOST, flags=0x12)))
    done = sentinel(place, "replay", "-", "--feed", "bad.txt:plain:c2", data=recorded)
    [line] = map(json.loads, done.stdout.splitlines())
    found = line["sentinel"]
    assert (found["direction"], found["evidence"], found["samples"], found["packets"]) == ("both", "initiated", 2, 20)
    assert found["indicators"] == [{"prefix": f"{LISTED}/32", "feed": "bad", "group": "c2"}]
    (place / "none.txt").write_text("192.0.2.1\n")
    assert sentinel(place, "replay", "-", "--feed", "none.txt", data=recorded).stdout == ""


def test_an_address_of_the_default_local_networks_can_be_listed_in_a_replay(place: Path) -> None:
    (place / "own.txt").write_text(f"{HOST}\n")
    recorded = pcap(datagram(tcp_frame("10.0.0.99", HOST)))
    assert len(sentinel(place, "replay", "-", "--feed", "own.txt", data=recorded).stdout.splitlines()) == 1
    named = sentinel(place, "replay", "-", "--feed", "own.txt", "--local", "10.0.0.0/8", data=recorded)
    assert (named.stdout, "1 local" in named.stderr) == ("", True)


def test_lookup_explains_listed_allowed_dropped_and_unknown(place: Path) -> None:
    done = sentinel(place, "lookup", LISTED, "203.0.113.9", "10.1.2.3", "192.0.2.1")
    assert f"{LISTED}: listed" in done.stdout
    assert "203.0.113.9: not listed" in done.stdout
    assert "allowed by 203.0.113.9/32 (config)" in done.stdout
    assert "10.1.2.3/32 in bad line 3 is not in force: local" in done.stdout
    assert "192.0.2.1: not listed" in done.stdout
    assert "nothing is installed" in done.stdout


def test_lookup_says_since_when_which_list_wins_and_what_a_hit_would_lead_to(place: Path) -> None:
    settings = (place / "sentinel.toml").read_text()
    (place / "cdn.json").write_text('{"list": ["203.0.113.0/28"]}')
    settings = settings.replace("[feeds]", f'[feeds]\nallow_files = ["{place}/cdn.json::content"]').replace(
        "dry-run", "automatic"
    )
    settings += '[[threshold]]\nfeed = "bad"\nevidence = "initiated"\ndirections = ["outbound"]\nmin_bytes = "1MB"\n'
    (place / "sentinel.toml").write_text(settings.replace("10.0.0.0/28", "203.0.113.200/32"))
    done = sentinel(place, "lookup", LISTED, "203.0.113.9", "203.0.113.200", "203.0.113.100")
    listed, allowed, protected, wide = (
        done.stdout.split(f"{address}: ")[1] for address in (LISTED, *(f"203.0.113.{n}" for n in (9, 200, 100)))
    )
    assert f"{LISTED}/32  bad  c2  since 20" in listed
    assert "captured, at once when one of ours initiates, and from 1000000 octets on; only outbound" in listed
    assert "allowed by 203.0.113.9/32 (config): it never matches" in allowed
    assert f"also allowed by 203.0.113.0/28 ({place}/cdn.json (content))" in allowed
    assert "detected, never captured: in capture.never_capture 203.0.113.200/32" in protected
    assert "203.0.113.0/24  bad  c2  since 20" in wide


def test_a_feed_is_shown_with_what_was_dropped(place: Path) -> None:
    done = sentinel(place, "feeds", "show", "bad")
    assert done.returncode == 0
    for line in ("in force:      2 IPv4, 0 IPv6, 0 twice", "dropped:       1 local", "only here:     100.0 %"):
        assert line in done.stdout.splitlines()
    assert "bad" in sentinel(place, "feeds", "list", "--score").stdout
    assert sentinel(place, "feeds", "accept", "bad").stdout == "bad: unchanged nothing is in quarantine\n"
    for words in (("show", "nobody"), ("accept", "nobody")):
        done = sentinel(place, "feeds", *words)
        assert (done.returncode, "enabled are: bad" in done.stderr) == (2, True)


def test_replay_and_selftest_use_the_scan_that_was_chosen(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [("replay", "-", "--feed", "bad.txt"), ("selftest",)]
    for words in lines:
        monkeypatch.setenv("SENTINEL_SCAN", "python")
        plain = sentinel(place, *words, data=pcap(datagram(tcp_frame())))
        assert (plain.returncode, "scan: python" in plain.stderr) == (0, True), plain.stderr
        monkeypatch.setenv("SENTINEL_SCAN", "fast")
        assert sentinel(place, *words, data=pcap()).returncode == 2
        if importlib.util.find_spec("sentinel.scan._native") is not None:
            monkeypatch.setenv("SENTINEL_SCAN", "native")
            compiled = sentinel(place, *words, data=pcap(datagram(tcp_frame())))
            assert (compiled.stdout, "scan: native" in compiled.stderr) == (plain.stdout, True)


def test_selftest_shows_the_exact_rule_and_fails_where_nothing_would_be_caught(place: Path) -> None:
    done = sentinel(place, "selftest")
    assert done.returncode == 0, done.stdout
    assert f"-s 10.0.0.16 -d {LISTED} -j ERSPAN --src-ip 10.255.0.253 --dst-ip 10.0.0.70 --ttl 64" in done.stdout
    (place / "bad.txt").write_text("")
    assert sentinel(place, "selftest").returncode == 1


def test_check_names_what_is_wrong_and_where(place: Path) -> None:
    done = sentinel(place, "check")
    assert done.returncode == 1
    assert "ok     feed bad: 2 prefixes" in done.stdout
    assert "WRONG  switch leaf1:" in done.stdout


def test_the_catalogue_can_be_read_without_settings(place: Path) -> None:
    done = sentinel(place, "feeds", "list", "--catalogue")
    assert (done.returncode, "et-compromised" in done.stdout) == (0, True)


def test_a_reader_that_leaves_early_is_no_error(place: Path) -> None:
    (place / "many.pcap").write_bytes(pcap(*[datagram(tcp_frame())] * 3000))
    line = f"{sys.executable} -m sentinel decode many.pcap | head -1"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=place, check=False, timeout=60)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_help_names_every_command(place: Path) -> None:
    words = sentinel(place, "--help").stdout
    for command in ("run", "check", "selftest", "demo", "replay", "decode", "decap", "lookup", "feeds", "captures"):
        assert f"\n  {command} " in words
