# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Lists in columns with a header row: CSV in general, and Feodo Tracker's in particular.

A quoted field never spans lines here: an unclosed quote must cost one line and not the rest of the file.
"""

import csv as rfc4180

from sentinel.blacklist.formats.parsed import FormatError, Groups, Parsed, split_lines
from sentinel.limits import MAX_FEED_LINE_CHARS

# What common exports call the column, in the order of preference.
_ADDRESS_COLUMNS = (
    *(
        "ip",
        "ip_address",
        "dst_ip",
        "src_ip",
        "address",
        "indicator",
        "cidr",
        "network",
        "prefix",
        "ioc",
        "value",
        "host",
    ),
)
_DELIMITERS = (",", ";", "\t", "|")


def parse(text: str, group: str, column: str = "", group_column: str = "") -> Parsed:
    """Entries of the column called ``column`` (without one: the first with a usual name), grouped by ``group_column``.

    The header is the first line that is neither blank nor a comment, or the comment line that names the column. Rows
    whose field is empty are skipped. FormatError without such a column.
    """
    parsed = Parsed()
    groups = Groups(group)
    delimiter, at, group_at = "", -1, -1
    for number, line in enumerate(split_lines(text), 1):
        stripped = line.strip()
        if not stripped:
            continue
        if not delimiter:
            is_comment = stripped[0] in "#;"
            header = _header(stripped.lstrip("#; ") if is_comment else stripped, column)
            if header is not None:
                delimiter, names, at = header
                group_at = names.index(group_column) if group_column in names else -1
            elif not is_comment:
                raise FormatError("format", f"line {number}: no column {column or 'with an address'} in the header")
            if is_comment:
                parsed.comment(stripped)
            continue
        if stripped[0] == "#":
            parsed.comment(stripped)
            continue
        fields = _fields(stripped, delimiter)
        if len(fields) <= at:
            parsed.fail(number, stripped, f"expected at least {at + 1} columns")
            continue
        if not fields[at].strip():
            parsed.skipped += 1
            continue
        name = groups.named(fields[group_at]) if 0 <= group_at < len(fields) else group
        parsed.add(fields[at].strip(), name, number)
    return parsed


def parse_feodo(text: str, group: str) -> Parsed:
    """abuse.ch Feodo Tracker ``ipblocklist.csv``: the malware's family is the group. A list without rows is valid."""
    return parse(text, group, "dst_ip", "malware")


def _header(line: str, column: str) -> tuple[str, list[str], int] | None:
    """``(delimiter, names in lower case, index of the address)`` if the line is a header with such a column."""
    for delimiter in _DELIMITERS:
        names = [name.strip().lower() for name in _fields(line, delimiter)]
        wanted = (column.lower(),) if column else _ADDRESS_COLUMNS
        for name in wanted:
            if name in names:
                return delimiter, names, names.index(name)
    return None


def _fields(line: str, delimiter: str) -> list[str]:
    if len(line) > MAX_FEED_LINE_CHARS:
        return []
    try:
        return next(rfc4180.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except rfc4180.Error:
        return []
