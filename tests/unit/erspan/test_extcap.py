# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from sentinel.erspan import extcap
from sentinel.erspan.extcap import Call, parse_call

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC).timestamp()


def row(**changes: Any) -> dict[str, Any]:
    values = {
        "id": "c1",
        "local_ip": "10.0.0.10",
        "listed_ip": "198.51.100.7",
        "state": "active",
        "ends_at": "2026-01-01T12:10:00.000Z",
        "mirrors": [{"switch": "leaf1"}, {"switch": "leaf2"}],
        "received": {"frames": 0},
    }
    return {**values, **changes}


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("--extcap-interfaces --extcap-version=4.0", Call("interfaces")),
        ("--extcap-dlts --extcap-interface sentinel-c1", Call("dlts", "sentinel-c1")),
        ("--extcap-config --extcap-interface=sentinel", Call("config", "sentinel")),
        (
            "--extcap-config --extcap-interface sentinel --extcap-reload-option --follow --local 10.0.0.1",
            Call("reload", "sentinel", reload="follow", options={"local": "10.0.0.1"}),
        ),
        (
            "--extcap-config --extcap-interface sentinel --extcap-reload-option follow",
            Call("reload", "sentinel", reload="follow"),
        ),
        ("--extcap-interface sentinel --extcap-capture-filter tcp", Call("filter", "sentinel", capture_filter="tcp")),
        (
            "--capture --extcap-interface sentinel --fifo /f --keep --local --listed ::1 --seconds 60",
            Call("capture", "sentinel", "/f", keep=True, options={"listed": "::1", "seconds": "60"}),
        ),
        ("--capture --fifo /f --extcap-something-new 5 --extcap-interface x", Call("capture", "x", "/f")),
        ("", Call("help")),
        ("stray --version", Call("help")),
        ("--fifo", Call("help")),
    ],
)
def test_calls(words: str, call: Call) -> None:
    assert parse_call(words.split()) == call


def test_live_captures_are_interfaces_and_ended_or_unreceived_ones_are_not() -> None:
    queued = row(id="c4", local_ip="::1", state="queued", mirrors=[], ends_at="2026-01-01T14:00:00Z")
    rows = [row(), row(id="c2", state="ended"), row(id="c3", received=None), queued]
    lines = list(extcap.interfaces(rows, "", "1.2", NOW))
    assert lines == [
        "extcap {version=1.2}",
        "interface {value=sentinel-c1}{display=Sentinel: 10.0.0.10 with 198.51.100.7 at leaf1, leaf2, 10 min left}",
        "interface {value=sentinel-c4}{display=Sentinel: ::1 with 198.51.100.7 at no switch yet, queued, 2 h left}",
        "interface {value=sentinel}{display=Sentinel: start a capture}",
    ]
    assert list(extcap.interfaces([], "no daemon answers", "1.2", NOW))[-1] == (
        "interface {value=sentinel}{display=Sentinel: no daemon answers}"
    )


@pytest.mark.parametrize(
    ("ends_at", "left"),
    [
        ("2026-01-01T12:01:00.4Z", "60 s"),
        ("2026-01-01T11:00:00Z", "0 s"),
        ("2026-01-01T16:30:00+02:00", "2 h"),
        ("soon", "some time"),
        (None, "some time"),
    ],
)
def test_time_left(ends_at: object, left: str) -> None:
    assert extcap.said(row(ends_at=ends_at), NOW).endswith(f", {left} left")


def test_nothing_that_comes_from_elsewhere_adds_a_sentence_of_its_own() -> None:
    spoilt = row(local_ip="1}{value=x}\ninterface {value=evil}", mirrors=[{"switch": "a" * 1000}], id="c\0}{1")
    for lines in (
        list(extcap.interfaces([spoilt], "}\nno", "1", NOW)),
        list(extcap.config(extcap.START, [spoilt], NOW)),
    ):
        for line in lines:
            assert re.fullmatch(r"(extcap|interface|arg|value) (\{[a-z]+=[^{}\n\0]{1,256}\})+", line), line


def test_dialogs_and_link_types() -> None:
    assert list(extcap.dlts("sentinel-c1")) == list(extcap.dlts("sentinel"))
    assert list(extcap.dlts("eth0")) == []
    assert list(extcap.config("sentinel-c1", [row()], NOW)) == []
    lines = list(extcap.config("sentinel", [row()], NOW))
    numbers = [re.findall(r"number=(\d+)", line) for line in lines if line.startswith("arg")]
    assert numbers == [[str(n)] for n in range(8)]
    assert [line for line in lines if line.startswith("value")] == list(extcap.choices([row()], NOW))
    assert "{default=true}" in lines[1]
    assert not [line for line in lines if "password" in line]
