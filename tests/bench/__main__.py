# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.bench [--json FILE] [--quick]``: what the machine could do, and what is made of it, as a table."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench import erspan, loopback, memory

SIZES = [2_000, 60_000, 1_000_000]
SHARES = [0.0, 0.01, 0.1]


def rows(*, quick: bool) -> Iterator[dict[str, object]]:
    sizes, shares = (SIZES[:2], SHARES[1:2]) if quick else (SIZES, SHARES)
    yield from loopback.measure(sizes[-1])
    yield from erspan.measure()
    yield from memory.tables(sizes)
    yield from memory.scans(sizes, shares)


def shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.bench", description="Measures scan, listener and lists.")
    options.add_argument("--json", type=Path, metavar="FILE", help="the same rows, machine-readable")
    options.add_argument("--quick", action="store_true", help="fewer prefixes and shares of hits")
    chosen = options.parse_args()
    found = []
    for row in rows(quick=chosen.quick):
        found.append(row)
        print("  ".join(f"{name} {shown(value)}" for name, value in row.items()), flush=True)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"written to {chosen.json}", file=sys.stderr)


if __name__ == "__main__":
    main()
