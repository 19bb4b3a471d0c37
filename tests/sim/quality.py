# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""How good the decisions are, told from the truth that only the simulator knows.

Compared are our policy and "capture everything, first come": every pair that is sampled at all, never evicted.
A host is compromised when it initiates conversations with a listed peer (floods are not mirrored on purpose, and not
counted). A rule is wasted when its pair never held a conversation, but was scanned, reset or made up, or when it is a
flood; sessions that a listed peer opened and our side answered are rightly looked at. Capacity exists for a
conversation when, within the five seconds after its first sample, some switch of its path that sees it bare has room,
or holds something less urgent.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from sentinel.capture.policy import Policy, Threshold
from tests.sim import scenario
from tests.sim.traffic import Conversation
from tests.sim.world import DESTINATION, World

BUDGETS = (2, 20, 200)
SECONDS = 5.0
COMPROMISED = {"beacon", "talker", "one_shot"}
WORTH_A_LOOK = COMPROMISED | {"answering"}
OURS = Policy("automatic", DESTINATION, max_new_per_minute=60)
EVERYTHING = Policy(
    "automatic",
    DESTINATION,
    max_new_per_minute=10_000,
    min_samples=1,
    thresholds=(Threshold(evidence="contacted", min_samples=1),),
    flood_bps=10**15,
    max_bps_per_switch=10**15,
    max_bps=10**15,
    evict=False,
)


@dataclass(slots=True)
class Figures:
    """Sums over days; bits as mirrored by all switches."""

    conversations: int = 0
    captured: int = 0
    possible: int = 0
    captured_of_possible: int = 0
    rules: int = 0
    wasted: int = 0
    bits: int = 0

    def add(self, other: "Figures") -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def day_of(job: tuple[int, int, bool]) -> tuple[int, bool, Figures]:
    """One day of one policy under one budget (entries per switch)."""
    seed, budget, ours = job
    asked = scenario.read("quality")
    world = World(asked, seed, policy=OURS if ours else EVERYTHING, max_rules=budget)
    world.run()
    return budget, ours, figures(world)


def figures(world: World) -> Figures:
    truth = world.traffic.truth
    found = Figures(bits=truth.mirrored_bits)
    for talk in truth.conversations.values():
        if talk.kind in COMPROMISED and talk.first_sample is not None:
            in_time = talk.captured_at is not None and talk.captured_at - talk.first_sample <= SECONDS
            found.conversations += 1
            found.captured += in_time
            found.possible += talk.room
            found.captured_of_possible += in_time and talk.room
    for pair in truth.pairs_installed:
        known: Conversation | None = truth.conversations.get(pair)
        found.rules += 1
        found.wasted += known is None or known.kind not in WORTH_A_LOOK
    return found


def lines(seeds: int, processes: int) -> Iterator[str]:
    """A table of both policies under each budget."""
    jobs = [(seed, budget, ours) for budget in BUDGETS for ours in (True, False) for seed in range(seeds)]
    sums = {(budget, ours): Figures() for budget in BUDGETS for ours in (True, False)}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for budget, ours, found in pool.map(day_of, jobs):
            sums[budget, ours].add(found)
    yield f"{'rules':>6} {'policy':24} {'in 5 s':>8} {'with room':>10} {'wasted':>8} {'mirrored':>12}"
    for (budget, ours), f in sums.items():
        name = "sentinel" if ours else "everything, first come"
        yield (
            f"{budget:6} {name:24} {_pct(f.captured, f.conversations):>8}"
            f" {_pct(f.captured_of_possible, f.possible):>10} {_pct(f.wasted, f.rules):>8} {f.bits / 8e9:9.2f} GB"
        )


def _pct(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
