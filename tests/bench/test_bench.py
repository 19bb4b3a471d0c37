# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The table says what was measured. No times here: what is counted, compared and left out."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import collectors, deciding, handover, latency, loopback, memory, receivers, traffic
from tests.bench.marks import marks
from tests.bench.table import Row, Table


def test_a_percentile_is_a_value_that_was_there() -> None:
    values = [float(n) for n in range(1, 101)]
    assert latency.percentile(values, 0.5) == 50
    assert latency.percentile(values, 0.99) == 99
    assert latency.percentile([3.0, 1.0, 2.0], 0.99) == 3


def test_pairs_are_fresh_and_can_be_captured() -> None:
    found = latency.pairs(300, traffic.addresses("v4", 2_000, 7))
    assert len({local for local, _ in found}) == len({listed for _, listed in found}) == 300
    assert not any(listed.startswith(("10.", "127.")) for _, listed in found)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["bare", "sentinel"])
def test_what_was_sent_was_received(kind: str, threads: int) -> None:
    sender = loopback.Sender(traffic.payloads("v4", 64, 0.1, traffic.addresses("v4", 100, receivers.SEED)))
    with receivers.Child(kind, threads, 100) as receiver:
        for _ in range(2):
            row = loopback.run_at(receiver, sender, 2_000, 0.2)
            assert row["lost"] == 0
            assert float(str(row["sent_pps"])) > 0
            assert float(str(row["cpu_us_per_datagram"])) > 0


class Deaf:
    name, port = "deaf", 9

    def __init__(self) -> None:
        self.pids: list[int] = []

    def received(self, sent: int) -> int:
        return sent // 2


def test_what_was_not_received_is_lost() -> None:
    row = loopback.run_at(Deaf(), loopback.Sender([b"x"] * 64), 2_000, 0.1)
    assert row["lost"] == float(str(row["sent_pps"])) * 0.1 // 2


def test_what_is_not_installed_is_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert collectors.why_not("no-such-collector") == "not installed"
    table = Table({"collectors": "everybody"})
    table.add({"what": "collectors", "receiver": "sflowtool", "skipped": "not installed"})
    table.add({"what": "collectors", "receiver": "bare", "lost": 0, "note": "the sender's limit"})
    assert capsys.readouterr().out.split("\n")[1:5] == [
        "collectors: everybody",
        "  sflowtool  not installed",
        "  receiver                   lost",
        "  bare                          0  (the sender's limit)",
    ]


def test_marks_are_what_the_rows_say() -> None:
    rows: list[Row] = [
        {"what": "loopback, highest rate", "receiver": "sentinel", "lost": 1, "against_bare": 1.4},
        *(
            {"what": "collectors", "receiver": name, "asked_pps": rate, "lost": lost, "cpu_us_per_datagram": cost}
            for name, rate, lost, cost in (
                ("sentinel", 40_000.0, 0, 2.0),
                ("sentinel", 80_000.0, 0, 1.0),
                ("sfacctd", 40_000.0, 0, 10.0),
                ("sfacctd", 80_000.0, 5, 9.0),
            )
        ),
        {"what": "collectors", "receiver": "sfcapd", "skipped": "not installed"},
        {"what": "latency", "bare_http_p99_ms": 2.0, "request_p99_ms": 5.1},
        {"what": "erspan", "skipped": "needs root"},
        {"what": "hand-over", "rows": 60, "distinct": 58, "ns_per_row": 70.0},
    ]
    assert [(row["found"], row["at_most"], row["reached"]) for row in marks(rows)] == [
        (1, 0, False),
        (1.4, 1.5, True),
        (0.2, 1 / 3, True),
        (5.1, 5.0, False),
        (2, 0, False),
        (70.0, 500.0, True),
    ]


@pytest.mark.parametrize(("minimal_c_ns", "at_most"), [(50.0, 150.0), (200.0, 300.0)])
def test_a_sample_may_cost_more_where_the_machine_is_slower(minimal_c_ns: float, at_most: float) -> None:
    rows: list[Row] = [
        {"what": "scan from memory", "family": family, "prefixes": prefixes, "hits_pct": 1.0, "ns_per_sample": cost}
        | ({"minimal_c_ns": minimal} if family == "v4" else {})
        for family, prefixes, cost, minimal in (
            ("v4", 2_000, 100.0, 30.0),
            ("v4", 1_000_000, 120.0, minimal_c_ns),
            ("v6", 1_000_000, 150.0, 0.0),
        )
    ]
    assert [(row["found"], row["at_most"]) for row in marks(rows)] == [(120.0, at_most), (1.2, 1.3), (1.25, 1.5)]


def test_what_is_decided_about_is_told_apart() -> None:
    rows = list(deciding.measure())
    assert [row["match"] for row in rows] == ["of a new pair", "known", "known, sign of life due"]
    assert all(float(str(row["us_per_match"])) > 0 for row in rows)


def test_rows_that_are_handed_over_arrive() -> None:
    [row] = handover.measure(0.2)
    assert (row["rows"], row["arrived"], row["distinct"], row["refused"]) == (48_000, 48_000, 48_000, 0)
    assert float(str(row["ns_per_row"])) > 0


def test_a_section_that_cannot_be_measured_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> Iterator[Row]:
        yield {"what": "load and swap", "prefixes": 1}
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(memory, "tables", refused)
    assert [row.get("skipped") for row in bench.rows(["tables"], quick=True)] == [
        None,
        "PermissionError: [Errno 1] Operation not permitted",
    ]


def test_the_help_names_the_sections_and_what_they_need() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--help"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert all(
        word in said
        for word in ("loopback", "latency", "erspan", "tables", "scan", "hand-over", "deciding", "sfacctd", "--json")
    )
