# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from sentinel.rows import NotHere, Pcap
from sentinel.web.answer import HttpError
from sentinel.web.pcap import EMPTY_SECTION, NOTHING, Joined, PcapStreams
from tests.support.web import FakeBackend, capture, serving


def never() -> bool:
    return False


@pytest.fixture
def parts(tmp_path: Path) -> tuple[tuple[Path, int], ...]:
    made = []
    for number, size in enumerate((10, 1, 300)):
        path = tmp_path / f"c1.{number}.pcapng"
        path.write_bytes(bytes((number * 50 + n) % 256 for n in range(size)) + b"not yet whole")
        made.append((path, size))
    return tuple(made)


def whole(parts: tuple[tuple[Path, int], ...]) -> bytes:
    return b"".join(path.read_bytes()[:size] for path, size in parts)


def test_joined_reads_as_one_file_does(parts: tuple[tuple[Path, int], ...]) -> None:
    expected = io.BytesIO(whole(parts))
    with Joined(parts) as joined:
        assert joined.size == 311
        for whence, offset, size in ((2, 0, 5), (0, 0, 9), (1, 0, 4), (0, 10, 1), (0, 3, 300), (1, -9, -1), (2, -3, 9)):
            assert joined.seek(offset, whence) == expected.seek(offset, whence)
            assert joined.read(size) == expected.read(size)
            assert joined.tell() == expected.tell()


def test_a_file_that_is_gone_or_shorter_is_an_error_and_not_less(parts: tuple[tuple[Path, int], ...]) -> None:
    with Joined(parts) as joined:
        parts[1][0].unlink()
        parts[2][0].write_bytes(b"xy")
        assert len(joined.read(10)) == 10
        with pytest.raises(FileNotFoundError):
            joined.read(1)
        joined.seek(11)
        with pytest.raises(OSError, match="shorter"):
            joined.read(3)
    parts[0][0].unlink()
    with pytest.raises(FileNotFoundError):
        Joined(parts)


def test_a_follower_gets_what_comes_part_after_part_and_ends_with_the_capture(tmp_path: Path) -> None:
    paths = [tmp_path / "1", tmp_path / "2", tmp_path / "3"]
    one, two, three = paths
    moments: Iterator[Pcap] = iter(
        [
            Pcap((), more=True),
            Pcap(((one, 2),), more=True),
            Pcap(((one, 2),), more=True),
            Pcap(((one, 4), (two, 1)), more=True),
            Pcap(((two, 3),), more=True),
            Pcap(((two, 3), (three, 2)), more=False),
        ]
    )
    one.write_bytes(b"1234")
    two.write_bytes(b"abc")
    three.write_bytes(b"xyz")
    followed = PcapStreams(slice_s=0.0).follow(lambda: next(moments), never)
    assert list(followed) == [EMPTY_SECTION, b"12", b"34", b"a", b"bc", b"xy"]
    followed.close()


def test_a_part_deleted_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"12")
    moments = iter([Pcap(((one, 2),), more=True), Pcap(((two, 1),), more=False)])
    followed = PcapStreams(slice_s=0.0).follow(lambda: next(moments), never)
    chunks = iter(followed)
    assert [next(chunks), next(chunks)] == [EMPTY_SECTION, b"12"]
    one.write_bytes(b"1234")
    one.unlink()
    two.write_bytes(b"z")
    assert list(chunks) == [b"34", b"z"]
    followed.close()


def test_an_idle_stream_says_so_and_ends_when_its_client_or_the_server_does(tmp_path: Path) -> None:
    for look in (lambda: Pcap((), more=True), lambda: (_ for _ in ()).throw(OSError(28, "full"))):
        streams = PcapStreams(slice_s=0.001, idle_s=0.003)
        chunks = iter(streams.follow(look, never))
        assert [next(chunks) for _ in range(3)] == [EMPTY_SECTION, NOTHING, NOTHING]
        streams.stop()
        assert list(chunks) == []
    gone = iter([False, True])
    ended = PcapStreams(slice_s=0.0).follow(lambda: Pcap((), more=True), lambda: next(gone))
    assert list(ended) == [EMPTY_SECTION]
    ended.close()
    nowhere = PcapStreams().follow(lambda: NotHere("elsewhere"), never)
    assert list(nowhere) == [EMPTY_SECTION]
    nowhere.close()


def test_only_so_many_follow_at_once_and_each_gives_its_place_back_once() -> None:
    streams = PcapStreams(limit=1)
    unread = streams.follow(lambda: Pcap((), more=True), never)
    with pytest.raises(HttpError, match="followed already"):
        streams.follow(lambda: Pcap((), more=True), never)
    unread.close()
    unread.close()
    streams.follow(lambda: Pcap((), more=True), never).close()


def test_over_http_a_capture_is_followed_while_others_are_served(tmp_path: Path) -> None:
    backend = FakeBackend()
    file = tmp_path / "c1.pcapng"
    file.write_bytes(b"first")
    backend.pcaps["c1"] = file
    received = bytearray()
    with serving(backend, followers=1) as server:
        url = f"http://127.0.0.1:{server.port}/api/v1/captures/c1/pcap"

        def follow() -> None:
            with requests.get(url, params={"follow": "1"}, stream=True, timeout=10) as answer:
                assert answer.headers["Content-Type"] == "application/x-pcapng"
                for chunk in answer.iter_content(65536):
                    received.extend(chunk)

        thread = threading.Thread(target=follow)
        thread.start()
        wait_for(lambda: received.endswith(b"first"))
        busy = requests.get(url, params={"follow": "1"}, timeout=5)
        assert (busy.status_code, busy.json()["error"]) == (503, "busy")
        assert requests.head(url, params={"follow": "1"}, timeout=5).status_code == 200
        assert requests.get(url, timeout=5).content == b"first"
        with file.open("ab") as out:
            out.write(b"second")
        wait_for(lambda: received.endswith(b"second"))
        backend.kept["c1"] = capture("c1", state="ended")
        thread.join(5)
        assert not thread.is_alive()
        assert bytes(received) == EMPTY_SECTION + b"firstsecond"
        assert requests.get(url, params={"follow": "1"}, timeout=5).content == b"firstsecond"
        assert requests.get(url, params={"follow": "2"}, timeout=5).status_code == 400


def test_a_client_that_goes_away_frees_its_place_and_a_stop_ends_what_is_followed(tmp_path: Path) -> None:
    backend = FakeBackend()
    backend.pcaps["c1"] = []
    with serving(backend, followers=1) as server, ExitStack() as stack:
        url = f"http://127.0.0.1:{server.port}/api/v1/captures/c1/pcap?follow=1"
        with requests.get(url, stream=True, timeout=5) as first:
            assert next(first.iter_content(65536)) == EMPTY_SECTION

        def again() -> bool:
            answer = stack.enter_context(requests.get(url, stream=True, timeout=5))
            return answer.status_code == 200

        wait_for(again)
        assert requests.get(url.removesuffix("?follow=1"), timeout=5).json()["error"] == "not_here"
        began = time.monotonic()
    assert time.monotonic() - began < 3


def test_all_parts_come_one_after_the_other_with_their_length(tmp_path: Path) -> None:
    backend = FakeBackend()
    paths = [tmp_path / name for name in ("1", "2", "3")]
    for path in paths:
        path.write_bytes(path.name.encode() * 100_000)
    backend.pcaps["c1"] = paths
    with serving(backend) as server:
        answer = requests.get(f"http://127.0.0.1:{server.port}/api/v1/captures/c1/pcap", timeout=5)
    assert answer.content == b"1" * 100_000 + b"2" * 100_000 + b"3" * 100_000
    assert answer.headers["Content-Length"] == "300000"


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
