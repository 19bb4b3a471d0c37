# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Damaged datagrams through both scans and damaged mirrored packets through both keepers, for a given time.

``python -m tests.fuzz.compare_twins SECONDS [SEED]`` ends with a traceback at the first difference, naming the seed of
its round. ``sanitized.sh`` runs it over a build that finds reads out of bounds.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support import sflow
from tests.support.keepers import Keepers, batches
from tests.support.traffic import datagram, flow
from tests.support.twins import Twins, mutations, native
from tests.unit.scan.test_twins import DATAGRAMS, FRAMES

ROUND = 400


def seeds() -> list[bytes]:
    """Our own datagrams, and a few of every recording beside the checkout."""
    recorded = sflow.payloads() if (sflow.DATA / "sflow").is_dir() else ()
    return [*DATAGRAMS, *recorded]


def keep(seed: int) -> None:
    """A round of mirrored packets, in batches and one by one: memory of a packet's own size shows what lies beyond."""
    with TemporaryDirectory() as folder:
        for raw_ipv4 in (True, False):
            keepers = Keepers(Path(folder) / str(raw_ipv4))
            for number, batch in enumerate(batches(seed, 40, raw_ipv4=raw_ipv4, damage=0.6)):
                for some in ([each] for each in batch) if number % 2 else (batch,):
                    keepers.feed(some, raw_ipv4=raw_ipv4)
            keepers.finish()


def main(seconds: float, seed: int) -> None:
    until, rounds = time.monotonic() + seconds, 0
    known = seeds()
    print(f"comparing for {seconds:.0f} s from seed {seed}, {native().__file__}", file=sys.stderr)
    while time.monotonic() < until:
        try:
            both = Twins(max_streams=64)
            both.feed_all(mutations(known, ROUND, seed + rounds), 32)
            both.feed_all((datagram(flow(each)) for each in mutations(FRAMES, ROUND, seed + rounds)), 32)
            keep(seed + rounds)
        except BaseException:
            print(f"seed {seed + rounds}", file=sys.stderr)
            raise
        rounds += 1
    print(
        f"{rounds} rounds of {2 * ROUND} datagrams and 80 batches of mirrored packets without a difference",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time()))
