# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.sim --seeds 1000``: virtual days until one breaks; ``--quality``: how good the decisions are."""

import argparse
import os
import sys
import time

from tests.sim.days import days, expected_faults
from tests.sim.quality import lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="how many virtual days (default 50)")
    parser.add_argument("--first", type=int, default=0, help="the first seed; --seeds 1 repeats one day")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quality", action="store_true", help="print how good the decisions are, over --seeds days")
    chosen = parser.parse_args()
    if chosen.quality:
        for line in lines(chosen.seeds, chosen.processes):
            print(line)
        return 0
    started = time.monotonic()
    census, broken = days(chosen.first, chosen.seeds, chosen.processes)
    for line in census.lines():
        print(line)
    never = census.never(expected_faults())
    seconds = time.monotonic() - started
    print(f"{chosen.seeds} virtual days, {census.events:,} events in {seconds:.0f} s; {len(broken)} broken")
    for name in never:
        print(f"never happened: {name}")
    for error in broken:
        print(f"BROKEN: {error}")
    return 1 if broken or (never and chosen.seeds >= 50) else 0


if __name__ == "__main__":
    sys.exit(main())
