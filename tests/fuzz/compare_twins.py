# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Damaged datagrams through both scans for a given time: ``python -m tests.fuzz.compare_twins SECONDS [SEED]``.

Ends with a traceback at the first difference, naming the seed of its round. ``sanitized.sh`` runs it over a build that
finds reads out of bounds.
"""

import sys
import time

from tests.support import sflow
from tests.support.traffic import datagram, flow
from tests.support.twins import Twins, mutations, native
from tests.unit.scan.test_twins import DATAGRAMS, FRAMES

ROUND = 400


def seeds() -> list[bytes]:
    """Our own datagrams, and a few of every recording beside the checkout."""
    recorded = sflow.payloads() if (sflow.DATA / "sflow").is_dir() else ()
    return [*DATAGRAMS, *recorded]


def main(seconds: float, seed: int) -> None:
    until, rounds = time.monotonic() + seconds, 0
    known = seeds()
    print(f"comparing for {seconds:.0f} s from seed {seed}, {native().__file__}", file=sys.stderr)
    while time.monotonic() < until:
        try:
            both = Twins(max_streams=64)
            both.feed_all(mutations(known, ROUND, seed + rounds), 32)
            both.feed_all((datagram(flow(each)) for each in mutations(FRAMES, ROUND, seed + rounds)), 32)
        except BaseException:
            print(f"seed {seed + rounds}", file=sys.stderr)
            raise
        rounds += 1
    print(f"{rounds} rounds of {2 * ROUND} datagrams without a difference", file=sys.stderr)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time()))
