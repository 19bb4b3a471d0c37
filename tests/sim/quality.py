# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""How good the decisions are, told from the truth that only the simulator knows; ``LEGEND`` says what each figure is.

Compared are our policy and "capture everything, first come": every pair that is sampled at all, never evicted.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from sentinel.capture.switchbook import ENTRIES_PER_MIRROR
from tests.sim import scenario
from tests.sim.world import DESTINATION, World
from tests.support.policies import make_policy, make_threshold

# Rules a switch may hold. A rule is a host pair, both directions, so the switch's own count is twice that; the smallest
# is what two ACL entries hold, for who reads "2 rules" so.
BUDGETS = (1, 2, 20, 200)
SECONDS = 5.0
COMPROMISED = {"beacon", "talker", "one_shot"}
WORTH_A_LOOK = COMPROMISED | {"answering"}
OURS = make_policy(erspan_destination=DESTINATION, max_new_per_minute=60)
EVERYTHING = make_policy(
    erspan_destination=DESTINATION,
    max_new_per_minute=10_000,
    min_samples=1,
    thresholds=(make_threshold(evidence="contacted", min_samples=1),),
    flood_bps=10**15,
    max_bps_per_switch=10**15,
    max_bps=10**15,
    evict=False,
)
LEGEND = """\
rules       host pairs a switch may mirror, both directions each; entries: the same in ACL entries, as max_rules has it
all         of the conversations that compromised hosts opened (beacons, talks, one-shots), the share whose rule was in
            a switch within 5 s of the first sample that can be acted on: an outbound packet with the pair as outermost
            addresses. Inside VXLAN no ACL matches the pair, and a packet that only comes in proves nothing about the
            host that gets it.
sampled     the same, where capacity existed: within those 5 s a switch that had sampled the pair as outermost addresses
            had a free place, or one held for more than a minute by a pair no compromised host talks in; or the pair
            was captured, which proves it. Of a switch that sampled nothing of it nobody can know that it sees the pair.
on path     the same, where any switch of the way that sees the pair as outermost addresses had such a place, whether or
            not it ever sampled the pair
any sample  of those that were sampled at all, the share captured within 5 s of the first sample of whatever kind
packets     of all packets of these conversations, sampled or not, the share that was mirrored
wasted      of the rules made on switches, those for pairs that were only scanned, reset or made up, and for floods
strict      the same, sessions that a listed peer opened and our side really answered wasted too
mirrored    what all switches mirrored in a day"""


@dataclass(slots=True)
class Figures:
    """Sums over days; bits as mirrored by all switches."""

    conversations: int = 0
    captured: int = 0
    sampled: int = 0
    captured_any_sample: int = 0
    possible: int = 0
    possible_on_path: int = 0
    packets: int = 0
    packets_mirrored: int = 0
    rules: int = 0
    wasted: int = 0
    wasted_strictly: int = 0
    bits: int = 0

    def add(self, other: "Figures") -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def day_of(job: tuple[int, int, bool]) -> tuple[int, bool, Figures]:
    """One day of one policy under one budget (host pairs per switch)."""
    seed, budget, ours = job
    asked = scenario.read("quality")
    world = World(asked, seed, policy=OURS if ours else EVERYTHING, max_rules=budget * ENTRIES_PER_MIRROR)
    world.run()
    return budget, ours, figures(world)


def figures(world: World) -> Figures:
    truth = world.traffic.truth
    found = Figures(bits=truth.mirrored_bits)
    for talk in truth.conversations.values():
        if talk.kind not in COMPROMISED or talk.sampled_at is None:
            continue
        captured_at = talk.captured_at if talk.captured_at is not None else float("inf")
        found.sampled += 1
        found.captured_any_sample += captured_at - talk.sampled_at <= SECONDS
        if talk.first_sample is not None:
            in_time = captured_at - talk.first_sample <= SECONDS
            found.conversations += 1
            found.captured += in_time
            found.possible += talk.room or in_time
            found.possible_on_path += talk.room_on_path or in_time
            found.packets += talk.packets
            found.packets_mirrored += talk.mirrored
    for pair in truth.rules.values():
        known = truth.conversations.get(pair)
        found.rules += 1
        found.wasted += known is None or known.kind not in WORTH_A_LOOK
        found.wasted_strictly += known is None or known.kind not in COMPROMISED
    return found


def lines(seeds: int, processes: int) -> Iterator[str]:
    """A table of both policies under each budget, and what its words mean."""
    jobs = [(seed, budget, ours) for budget in BUDGETS for ours in (True, False) for seed in range(seeds)]
    sums = {(budget, ours): Figures() for budget in BUDGETS for ours in (True, False)}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for budget, ours, found in pool.map(day_of, jobs):
            sums[budget, ours].add(found)
    yield f"{seeds} virtual days; compromised hosts' conversations captured within {SECONDS:.0f} s, and what it cost"
    yield (
        f"{'rules':>5} {'entries':>7} {'policy':22} {'all':>8} {'sampled':>8} {'on path':>8} {'any sample':>10}"
        f" {'packets':>8} {'wasted':>8} {'strict':>8} {'mirrored':>12}"
    )
    for (budget, ours), f in sums.items():
        name = "sentinel" if ours else "everything, first come"
        yield (
            f"{budget:5} {budget * ENTRIES_PER_MIRROR:7} {name:22} {_pct(f.captured, f.conversations):>8}"
            f" {_pct(f.captured, f.possible):>8} {_pct(f.captured, f.possible_on_path):>8}"
            f" {_pct(f.captured_any_sample, f.sampled):>10} {_pct(f.packets_mirrored, f.packets):>8}"
            f" {_pct(f.wasted, f.rules):>8} {_pct(f.wasted_strictly, f.rules):>8} {f.bits / seeds / 8e9:9.2f} GB"
        )
    yield ""
    yield from LEGEND.splitlines()


def _pct(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
