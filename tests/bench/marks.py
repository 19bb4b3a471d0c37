# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What is asked for, and what the rows of one run say to it. A mark whose rows were not measured is left out."""

from collections.abc import Callable, Iterator

from tests.bench.table import Row

TABLE_S = 5.0
# A sample, where the minimal C loop needs so much or less; where it needs more, as much more.
SAMPLE_NS, MINIMAL_C_NS = 150.0, 100.0
ROW_NS = 500.0
RESIDENT_BYTES, TABLE_BYTES = 300.0, 32.0


def marks(rows: list[Row]) -> list[Row]:
    """One row for each mark: what was found, what was wanted, whether it was reached."""
    return [
        {"what": "marks", "mark": name, "found": found, "at_most": most, "reached": found <= most}
        for ask in (_loopback, _collectors, _latency, _erspan, _tables, _scans, _hand_over)
        for name, found, most in ask(rows)
    ]


Mark = tuple[str, float, float]


def _number(row: Row, name: str) -> float:
    return float(str(row[name]))


def _where(rows: list[Row], **wanted: object) -> list[Row]:
    return [row for row in rows if "skipped" not in row and all(row.get(k) == v for k, v in wanted.items())]


def _loopback(rows: list[Row]) -> Iterator[Mark]:
    for row in _where(rows, what="loopback, highest rate"):
        if "sentinel" in str(row["receiver"]):
            yield f"{row['receiver']}: datagrams lost where bare loses none", _number(row, "lost"), 0
            yield f"{row['receiver']}: CPU against bare", _number(row, "against_bare"), 1.5


def _collectors(rows: list[Row]) -> Iterator[Mark]:
    """At every rate that both bear without loss."""
    cost = {
        (str(row["receiver"]), int(_number(row, "asked_pps"))): _number(row, "cpu_us_per_datagram")
        for row in _where(rows, what="collectors", lost=0)
    }
    for name, most in (("sfcapd", 1.0), ("sflowtool", 1.0), ("sfacctd", 1 / 3)):
        for rate in sorted(rate for other, rate in cost if other == name and ("sentinel", rate) in cost):
            yield f"sentinel: CPU against {name}, {rate:,}/s", cost["sentinel", rate] / cost[name, rate], most


def _latency(rows: list[Row]) -> Iterator[Mark]:
    for row in _where(rows, what="latency"):
        most = 2 * _number(row, "bare_http_p99_ms") + 1
        yield "detection to request, p99, ms (2 × bare HTTP + 1)", _number(row, "request_p99_ms"), most


def _erspan(rows: list[Row]) -> Iterator[Mark]:
    for row in _where(rows, what="erspan", receiver="compared"):
        yield "ERSPAN packets lost where tcpdump loses none", _number(row, "sentinel_lost_at_rate_of_tcpdump"), 0


def _tables(rows: list[Row]) -> Iterator[Mark]:
    for row in _where(rows, what="load and swap", prefixes=1_000_000):
        name = f"a million {row['family']} prefixes"
        yield f"{name}: seconds until in force", _number(row, "all_s"), TABLE_S
        yield f"{name}: octets resident for each", _number(row, "resident_bytes_per_prefix"), RESIDENT_BYTES
        yield f"{name}: octets in tables for each", _number(row, "table_bytes_per_prefix"), TABLE_BYTES


def _scans(rows: list[Row]) -> Iterator[Mark]:
    scans = _where(rows, what="scan from memory", hits_pct=1.0)
    cost = {(str(row["family"]), int(_number(row, "prefixes"))): _number(row, "ns_per_sample") for row in scans}
    minimal = {int(_number(row, "prefixes")): _number(row, "minimal_c_ns") for row in scans if "minimal_c_ns" in row}
    ratio: Callable[[tuple[str, int], tuple[str, int]], float] = lambda one, other: cost[one] / cost[other]  # noqa: E731
    most, least = max(minimal, default=0), min(minimal, default=0)
    if most == least:
        return
    within = SAMPLE_NS * max(1.0, minimal[most] / MINIMAL_C_NS)
    yield f"v4 scan: ns per sample, {most:,} prefixes", cost["v4", most], within
    yield f"v4 scan: {most:,} prefixes against {least:,}", ratio(("v4", most), ("v4", least)), 1.3
    yield "v6 scan against v4", ratio(("v6", most), ("v4", most)), 1.5


def _hand_over(rows: list[Row]) -> Iterator[Mark]:
    for row in _where(rows, what="hand-over"):
        yield "flow rows that did not arrive, or not as they were", _number(row, "rows") - _number(row, "distinct"), 0
        yield "hand-over: ns per flow row", _number(row, "ns_per_row"), ROW_NS
