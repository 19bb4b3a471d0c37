# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Zeek Intelligence Framework files: tab-separated, the first line ``#fields`` names the columns."""

from sentinel.blacklist.formats.parsed import FormatError, Groups, Parsed, split_lines

_ADDRESS_TYPES = ("Intel::ADDR", "Intel::SUBNET")


def parse(text: str, group: str) -> Parsed:
    """Rows of type ADDR and SUBNET, grouped by ``meta.source``; other types are skipped.

    FormatError without ``#fields`` or its two needed columns.
    """
    parsed = Parsed()
    groups = Groups(group)
    columns: dict[str, int] = {}
    for number, line in enumerate(split_lines(text), 1):
        stripped = line.strip("\n")
        if not stripped.strip():
            continue
        if stripped.startswith("#fields"):
            columns = {name: index for index, name in enumerate(stripped.split("\t")[1:])}
            continue
        if stripped[0] == "#":
            parsed.comment(stripped)
            continue
        if not {"indicator", "indicator_type"} <= columns.keys():
            raise FormatError("format", f"line {number}: no #fields line with indicator and indicator_type before it")
        fields = stripped.split("\t")
        if len(fields) <= max(columns["indicator"], columns["indicator_type"]):
            parsed.fail(number, stripped, f"expected {len(columns)} columns with tabs between")
        elif fields[columns["indicator_type"]] not in _ADDRESS_TYPES:
            parsed.skipped += 1
        else:
            source = columns.get("meta.source", len(fields))
            name = groups.named(fields[source]) if source < len(fields) and fields[source] != "-" else group
            parsed.add(fields[columns["indicator"]], name, number)
    return parsed
