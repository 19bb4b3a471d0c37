# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Many virtual days on all cores."""

import logging
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from sentinel.capture.engine import CaptureEngine
from tests.sim import scenario
from tests.sim.census import Census
from tests.sim.invariants import BrokenError
from tests.sim.world import World


def day(seed: int, engine: type[CaptureEngine] = CaptureEngine) -> tuple[int, Census, str]:
    """One virtual day: its seed, what happened, and the broken invariant or nothing."""
    logging.disable(logging.CRITICAL)
    world = World(scenario.of_seed(seed), seed, engine=engine)
    try:
        world.run()
    except BrokenError as error:
        return seed, world.census, str(error)
    except Exception as error:  # noqa: BLE001  # any bug ends this day, and its seed is told
        trace = "".join(traceback.format_exception(error)[-4:])
        return seed, world.census, f"scenario {world.scenario.name}, seed {seed}, second {world.mono:.1f}: {trace}"
    finally:
        logging.disable(logging.NOTSET)
    return seed, world.census, ""


def days(first: int, count: int, processes: int) -> tuple[Census, list[str]]:
    """Many seeds at once; what happened in all of them, and what broke."""
    census, broken = Census(), []
    seeds = range(first, first + count)
    # A worker that dies breaks this pool instead of leaving its day waited for.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for done, (seed, one, error) in enumerate(pool.map(day, seeds), 1):
            census.add(one)
            if error:
                broken.append(error)
                print(f"BROKEN: {error}", file=sys.stderr)
            elif sys.stderr.isatty():
                print(f"\r{done}/{count} days, last seed {seed}", end="", file=sys.stderr)
    return census, broken


def expected_faults() -> set[str]:
    """Every kind of fault that some scenario asks for, and what the network does of itself."""
    kinds = {kind for name in scenario.names() for kind, count in scenario.read(name).faults.items() if count}
    return kinds | {"request_lost", "answer_lost", "answer_slow", "circuit_open", "restart", "store_refused"}
