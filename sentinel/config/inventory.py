# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The switch inventory as CSV: ``name,agent,url,role,erspan_source,max_rules``, the first line being these names.

Several agents of one switch are separated by spaces. Empty cells take the defaults of ``[[switch]]``.
"""

import csv
from pathlib import Path

COLUMNS = ("name", "agent", "url", "role", "erspan_source", "max_rules")


def read_inventory(path: Path) -> tuple[list[dict[str, object]], list[str]]:
    """Rows in the shape of ``[[switch]]`` tables, and what is wrong with the file itself, with line numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            unknown = [name for name in reader.fieldnames or [] if name not in COLUMNS]
            missing = [name for name in COLUMNS[:3] if name not in (reader.fieldnames or [])]
            findings = [f"{path} line 1: unknown column {name!r}; columns are {', '.join(COLUMNS)}" for name in unknown]
            findings += [f"{path} line 1: column {name!r} is missing" for name in missing]
            return ([], findings) if findings else _rows(path, reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return [], [f'switches.inventory = "{path}": cannot be read: {error}']


def _rows(path: Path, reader: "csv.DictReader[str]") -> tuple[list[dict[str, object]], list[str]]:
    rows: list[dict[str, object]] = []
    findings: list[str] = []
    for row in reader:
        if None in row or None in row.values():
            findings.append(f"{path} line {reader.line_num}: expected {len(reader.fieldnames or ())} cells")
            continue
        cells: dict[str, object] = {key: value.strip() for key, value in row.items() if value.strip()}
        cells["agents"] = str(cells.pop("agent", "")).split()
        if "max_rules" in cells:
            try:
                cells["max_rules"] = int(str(cells["max_rules"]))
            except ValueError:
                findings.append(f"{path} line {reader.line_num}: max_rules {cells['max_rules']!r} is not a number")
                continue
        rows.append(cells)
    return rows, findings
