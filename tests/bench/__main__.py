# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.bench``: what the machine could do, and what is made of it, as one table.

Every figure stands beside its yardstick of the same run: the bare receiver, a minimal C loop, a bare HTTP round trip,
``tcpdump -w``. Last come the marks: what is asked for, and what was found.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import SubprocessError

from tests.bench import deciding, erspan, handover, latency, loopback, memory
from tests.bench.marks import marks
from tests.bench.table import Row, Table, machine

SIZES = [2_000, 60_000, 1_000_000]
SHARES = [0.0, 0.01, 0.1]
# Of fewer than a hundred the 99th percentile is the one that took longest.
PAIRS, QUICK_PAIRS = 300, 100
QUICK_ERSPAN = (60_000,), 1.0
QUICK = loopback.Plan(60_000, loopback.QUICK_RATES, 0.5, 1, (1,))

HEADLINES = {
    "machine": "what the figures were taken on",
    "loopback": "datagrams of six 128-octet headers over 127.0.0.1, at rising rates until the bare receiver loses one",
    "loopback, highest rate": "all at the bare receiver's highest rate without loss; flow counting on, 1 % hits",
    "collectors": "everybody at rates that others bear; `sentinel run` is the whole daemon",
    "latency": "from a pair's datagram to its request at the shim, under half the highest rate; bare: GET /healthz",
    "erspan": "mirrored frames of 512 octets between two namespaces, each program at rising rates until it loses one",
    "load and swap": "text of one list to lists in force; resident: all that is kept, table: the frozen tables of it",
    "scan from memory": "CPU of one thread for each sample, flow counting and matches included",
    "hand-over": "flow rows to a consumer, every sample another flow; CPU of giving and of arranging as columns",
    "decision from memory": "CPU of the deciding thread for each match, without switches and store",
    "marks": "what is asked for, and what was found",
}
EPILOG = """sections: loopback, latency, erspan, tables, scan, hand-over, deciding. latency runs at half the rate
that loopback found, so loopback runs first. erspan needs root and network namespaces. The other collectors are
measured where they are installed: sfcapd (Debian: nfdump-sflow), sfacctd (Debian: pmacct), sflowtool. Take figures
on a machine that does nothing else: load_per_core is shown, and every comparison is with what ran in the same
minute."""


def rows(sections: list[str], *, quick: bool) -> Iterator[Row]:
    """Rows of the sections, in the order of the table."""
    sizes, shares = (SIZES[:2], SHARES[1:2]) if quick else (SIZES, SHARES)
    plan = QUICK if quick else loopback.Plan()
    found: list[Row] = []

    def of_loopback() -> Iterator[Row]:
        for row in loopback.measure(plan):
            found.append(row)
            yield row

    run: dict[str, Callable[[], Iterator[Row]]] = {
        "loopback": of_loopback,
        "latency": lambda: latency.measure(
            plan.prefixes, loopback.highest_pps(found) / 2, QUICK_PAIRS if quick else PAIRS
        ),
        "erspan": lambda: erspan.measure(*QUICK_ERSPAN) if quick else erspan.measure(),
        "tables": lambda: memory.tables(sizes),
        "scan": lambda: memory.scans(sizes, shares),
        "hand-over": lambda: handover.measure(1.0) if quick else handover.measure(),
        "deciding": deciding.measure,
    }
    for name, section in run.items():
        if name in sections:
            try:
                yield from section()
            except (OSError, SubprocessError, AssertionError) as error:
                yield {"what": name, "skipped": f"{type(error).__name__}: {error}"}


SECTIONS = ["loopback", "latency", "erspan", "tables", "scan", "hand-over", "deciding"]


def main() -> None:
    options = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--json", type=Path, metavar="FILE", help="machine, rows and marks, machine-readable")
    options.add_argument("--quick", action="store_true", help="under a minute: fewer rates, 60,000 prefixes, 1 %% hits")
    options.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION", help="these sections alone"
    )
    chosen = options.parse_args()
    table, about, found = Table(HEADLINES), machine(), []
    print("machine: " + "  ".join(f"{name} {value}" for name, value in about.items()))
    for row in rows(chosen.only, quick=chosen.quick):
        found.append(row)
        table.add(row)
    reached = marks(found)
    for row in reached:
        table.add(row)
    if chosen.json is not None:
        everything = {"machine": about, "quick": chosen.quick, "rows": found, "marks": reached}
        chosen.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
        print(f"written to {chosen.json}", file=sys.stderr)


if __name__ == "__main__":
    main()
