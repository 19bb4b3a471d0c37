# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The encapsulator without its sockets: headers, tags, and what root may ask it."""

import json
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.erspan.decapsulate import decapsulate_gre
from switch_acl_api.drivers.linux import encapsulator
from switch_acl_api.drivers.linux.encapsulator import Wrapper, ask, control_address, main, make_control_folder, tag_of

_SOL_PACKET, _PACKET_AUXDATA = 263, 8


def auxdata(status: int, tci: int, tpid: int) -> list[tuple[int, int, bytes]]:
    return [(1, 1, b"other"), (_SOL_PACKET, _PACKET_AUXDATA, struct.pack("=IIIHHHH", status, 0, 0, 0, 0, tci, tpid))]


@given(
    st.lists(
        st.tuples(
            st.binary(min_size=14, max_size=2000),
            st.none() | st.tuples(st.sampled_from([0x8100, 0x88A8]), st.integers(0, 0xFFFF)),
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 1023),
)
def test_what_is_wrapped_comes_out_again(frames: list[tuple[bytes, tuple[int, int] | None]], session: int) -> None:
    """Invariant: a decapsulator finds each frame with its tag where it was, and the numbers rise by one."""
    wrapper = Wrapper(session)
    for number, (frame, tag) in enumerate(frames):
        wrapper.frame[: len(frame)] = frame
        found = decapsulate_gre(bytes(wrapper.wrap(len(frame), tag)), "10.9.0.1", "10.9.0.2")
        inserted = b"" if tag is None else struct.pack("!HH", *tag)
        assert found.frame == frame[:12] + inserted + frame[12:]
        assert (found.kind, found.session, found.sequence) == ("II", session, number)
        assert (found.vlan, found.cos) == ((0, 0) if tag is None else (tag[1] & 0xFFF, tag[1] >> 13))
        assert not found.truncated


def test_sequence_numbers_start_again_after_the_last() -> None:
    wrapper = Wrapper(1)
    wrapper.sequence = 0xFFFFFFFF
    assert bytes(wrapper.wrap(60)[4:8]) == b"\xff\xff\xff\xff"
    assert bytes(wrapper.wrap(60)[4:8]) == b"\0\0\0\0"


@pytest.mark.parametrize(
    ("ancillary", "tag"),
    [
        ([], None),
        (auxdata(0, 10, 0x8100), None),
        (auxdata(0x10, 10, 0), (0x8100, 10)),
        (auxdata(0x50, 10, 0x88A8), (0x88A8, 10)),
        ([(_SOL_PACKET, _PACKET_AUXDATA, b"short")], None),
    ],
)
def test_the_tag_that_the_kernel_took_off(ancillary: list[tuple[int, int, bytes]], tag: tuple[int, int] | None) -> None:
    assert tag_of(ancillary) == tag


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(encapsulator, "CONTROL_FOLDER", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_folder_that_others_can_write_is_not_used(folder: Path, mode: int) -> None:
    """Any local user could be the encapsulator there, and be told of leases."""
    folder.chmod(mode)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(control_address("sab-any"))
        listener.listen()
        assert ask("sab-any") is None
        with pytest.raises(PermissionError):
            make_control_folder()
        listener.settimeout(0.05)
        with pytest.raises(TimeoutError):
            listener.accept()
    folder.chmod(0o700)
    make_control_folder()


def test_a_link_in_the_place_of_the_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setattr(encapsulator, "CONTROL_FOLDER", str(tmp_path / "link"))
    with pytest.raises(PermissionError):
        make_control_folder()


@pytest.fixture
def answer(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[str, list[bytes]]]:
    """Something that has an encapsulator's name and answers each question with the parameter."""
    device = f"sab-{id(request):08x}"[:12]
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(control_address(device))
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                asked.append(peer.recv(1024))
                peer.sendall(request.param)

        thread = threading.Thread(target=serve)
        thread.start()
        yield device, asked
        thread.join()


@pytest.mark.parametrize("answer", [b'{"frames": 5, "lost": 0}\n'], indirect=True)
def test_it_is_asked_and_told(answer: tuple[str, list[bytes]]) -> None:
    device, asked = answer
    state = ask(device, 12.5)
    assert state is not None
    assert state["frames"] == 5
    assert state["pid"] > 0
    assert json.loads(asked[0]) == {"until": 12.5}


@pytest.mark.parametrize("answer", [b"", b"nonsense\n", b"5\n", b"\xff\xff\n", b"x" * 5000], indirect=True)
def test_an_answer_that_is_none_is_no_encapsulator(answer: tuple[str, list[bytes]]) -> None:
    assert ask(answer[0]) is None


def test_nobody_answers_where_there_is_none() -> None:
    assert ask("sab-absent") is None


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["one"]) == 2
    assert "usage" in capsys.readouterr().err


def test_what_it_imports_is_in_pythons_library_alone() -> None:
    """It starts without site-packages."""
    text = Path(str(encapsulator.__file__)).read_text(encoding="ascii")
    ours = {line.split()[1] for line in text.splitlines() if line.startswith("from switch_acl_api")}
    assert ours == {"switch_acl_api.limits", "switch_acl_api.tools", "switch_acl_api.version"}
