# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The daemon's events as a story, a line at a time, for a terminal of 80 columns.

``line_of`` is pure: an event of the daemon's log in, a ``Line`` out. ``Teller`` prints; on anything but a terminal its
lines are plain.
"""

import textwrap
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

WIDTH = 80
_LEFT = 20


@dataclass(frozen=True, slots=True)
class Line:
    """``who`` speaks (at most nine characters) and what is said; ``style`` is rich's, for a terminal."""

    who: str
    text: str
    style: str = ""


def line_of(event: Mapping[str, Any], names: Mapping[str, str]) -> Line | None:
    """What an event adds to the story; ``None`` for those that add nothing. ``names`` gives addresses their hosts."""
    kind = event.get("event_type")
    if kind == "alert":
        return _alert(event["sentinel"], names)
    if kind == "capture":
        return _capture(event["capture"], names)
    if kind == "feed" and event["feed"]["outcome"] == "replaced":
        feed = event["feed"]
        return Line("blacklist", f"feed {feed['name']} is loaded: {feed['added']} entries")
    return None


def _alert(said: Mapping[str, Any], names: Mapping[str, str]) -> Line | None:
    if said.get("state") != "opened":
        return None
    listed = said["indicators"][0]
    seen_by = ", ".join(dict.fromkeys(names.get(each["agent"], each["agent"]) for each in said["observers"]))
    return Line(
        "sentinel",
        f"DETECTED {_named(said['local_ip'], names)} -> {_named(said['listed_ip'], names)}, {said['evidence']}; "
        f"{listed['prefix']} is in feed {listed['feed']} ({listed['group']}); first sampled by {seen_by}",
        "bold red",
    )


def _capture(capture: Mapping[str, Any], names: Mapping[str, str]) -> Line | None:
    state, mirrors = capture["state"], capture["mirrors"]
    where = ", ".join(mirror["switch"] for mirror in mirrors) or "no switch"
    pair = f"{_short(capture['local_ip'], names)} and {_short(capture['listed_ip'], names)}"
    if state == "installing":
        rules = ", ".join(mirror["rule"] for mirror in mirrors)
        return Line("sentinel", f"asks {where}, and no other, to mirror {pair}: rule {rules}", "cyan")
    if state == "active":
        return Line(where, f"has the rule and mirrors {pair}, both directions, to this host", "bold green")
    if state == "removing":
        return Line("sentinel", f"takes the rule away again, because: {capture.get('note', '')}", "cyan")
    if state == "ended":
        return Line("sentinel", f"the rule is gone and the capture has ended: {capture.get('note', '')}", "bold green")
    if state in {"failed", "queued", "pending"}:
        return Line("sentinel", f"capture {state}: {capture.get('note', '')}", "yellow")
    return None


def _named(address: str, names: Mapping[str, str]) -> str:
    return f"{names[address]} ({address})" if address in names else address


def _short(address: str, names: Mapping[str, str]) -> str:
    return names.get(address, address)


def rows(at_s: float, line: Line, width: int = WIDTH) -> list[str]:
    """The printed rows: seconds, who, and the text with its further rows indented under the first."""
    first = f"{at_s:6.1f}s  {line.who:<9}  "
    return textwrap.wrap(
        line.text,
        width,
        initial_indent=first,
        subsequent_indent=" " * _LEFT,
        break_on_hyphens=False,
        break_long_words=False,
    ) or [first.rstrip()]


class Teller:
    """Prints lines with the seconds since it was made; from any thread."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def tell(self, line: Line) -> None:
        """Print one line now."""
        with self._lock:
            for row in rows(self.elapsed_s(), line, min(WIDTH, self._console.width)):
                text = Text(row)
                text.stylize("dim", 0, 9)
                if line.style:
                    text.stylize(line.style, 9)
                self._console.print(text, soft_wrap=True)

    def plain(self, text: str = "") -> None:
        """Print rows that belong to nobody: the head, the summary."""
        with self._lock:
            self._console.print(Text(text), soft_wrap=True)
