# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
import io
from typing import Any

from rich.console import Console

from sentinel.demo.story import Line, Teller, line_of, rows

NAMES = {"192.0.2.11": "web1", "198.51.100.7": "c2", "127.0.1.1": "leaf1", "127.0.1.3": "spine"}


def alert(state: str = "opened") -> dict[str, Any]:
    return {
        "event_type": "alert",
        "sentinel": {
            "local_ip": "192.0.2.11",
            "listed_ip": "198.51.100.7",
            "evidence": "initiated",
            "indicators": [{"prefix": "198.51.100.0/28", "feed": "demo", "group": "Command and Control"}],
            "observers": [{"agent": "127.0.1.1"}, {"agent": "127.0.1.3"}, {"agent": "127.0.1.1"}],
            "state": state,
        },
    }


def capture(state: str, **more: object) -> dict[str, Any]:
    mirrors = [{"switch": "leaf1", "rule": "sentinel_x", "state": "active"}]
    fields = {"id": "x", "state": state, "local_ip": "192.0.2.11", "listed_ip": "198.51.100.7", "mirrors": mirrors}
    return {"event_type": "capture", "capture": {**fields, **more}}


def text(event: dict[str, Any]) -> str:
    line = line_of(event, NAMES)
    assert line is not None
    return f"{line.who}: {line.text}"


def test_a_detection_says_who_whom_why_and_who_saw_it() -> None:
    said = text(alert())
    for part in ("web1 (192.0.2.11)", "c2 (198.51.100.7)", "initiated", "Command and Control", "leaf1, spine"):
        assert part in said


def test_the_life_of_a_capture() -> None:
    assert "asks leaf1, and no other" in text(capture("installing"))
    assert text(capture("active")).startswith("leaf1: ")
    assert "quiet for 6 s" in text(capture("removing", note="quiet for 6 s"))
    assert "ended" in text(capture("ended"))
    assert "no room" in text(capture("queued", note="no room", mirrors=[]))


def test_what_adds_nothing_is_left_out() -> None:
    assert line_of(alert("closed"), NAMES) is None
    assert line_of(capture("wanted"), NAMES) is None
    assert line_of({"event_type": "stats"}, NAMES) is None


def test_rows_fit_80_columns_and_are_indented() -> None:
    found = rows(3.25, Line("sentinel", "word " * 60))
    assert len(found) > 3
    assert all(len(row) <= 80 for row in found)
    assert found[0].startswith("   3.2s  sentinel   word")
    assert all(row.startswith(" " * 20 + "word") for row in found[1:])


def test_plain_where_it_is_no_terminal_and_coloured_where_it_is() -> None:
    for terminal in (False, True):
        out = io.StringIO()
        teller = Teller(
            Console(file=out, force_terminal=terminal, color_system="standard" if terminal else None, width=80)
        )
        teller.tell(Line("leaf1", "[red]text from outside is no markup[/red]", "bold green"))
        assert ("\x1b" in out.getvalue()) is terminal
        assert "[red]text" in out.getvalue()
