# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of several kinds as one table: a headline for each kind, columns named with their units."""

import os
import platform
import sys
from pathlib import Path

from sentinel.compiled import chosen

Row = dict[str, object]
WIDTH = 9
WORDS = {"receiver": 20, "family": 6, "match": 24, "mark": 62}


def progress(text: str) -> None:
    """What is going on, on a terminal's last line; nothing where stderr is none."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def machine() -> Row:
    """What the figures were taken on."""
    cores = len(os.sched_getaffinity(0))
    found: Row = {
        "cores": cores,
        "load_per_core": os.getloadavg()[0] / cores,
        "cpu": _cpu(),
        "kernel": os.uname().release,
    }
    scan, reason = chosen()
    return {**found, "python": platform.python_version(), "scan": scan, "scan_because": reason}


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


class Table:
    """Prints rows as they come; a new headline where the kind changes, new columns where the columns do."""

    def __init__(self, headlines: dict[str, str]) -> None:
        self._headlines = headlines
        self._kind = ""
        self._columns: list[str] = []

    def add(self, row: Row) -> None:
        progress("")
        kind = str(row["what"])
        if kind != self._kind:
            print(f"\n{kind}: {self._headlines.get(kind, '')}")
            self._kind, self._columns = kind, []
        rest = {name: value for name, value in row.items() if name != "what"}
        if "skipped" in rest:
            print("  " + "  ".join(str(value) for value in rest.values()), flush=True)
            return
        columns = [name for name in rest if name != "note"]
        if columns != self._columns:
            self._columns = columns
            print("  " + "  ".join(_cell(name, name) for name in columns))
        cells = [_cell(name, _shown(rest[name])) for name in columns]
        note = [f"({rest['note']})"] if "note" in rest else []
        print("  " + "  ".join([*cells, *note]), flush=True)


def _cell(column: str, text: str) -> str:
    # Words stand left and are longer; numbers stand right.
    return text.ljust(WORDS[column]) if column in WORDS else text.rjust(max(WIDTH, len(column)))


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
