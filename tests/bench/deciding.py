# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""CPU of the deciding thread for each matched sample: detector, capture engine and loop, without switches and store."""

import time
from collections.abc import Iterator

from sentinel.capture.engine import CaptureEngine
from sentinel.decide.loop import Loop
from sentinel.detect.engine import Detector
from sentinel.model import Indicator, Match, Now
from tests.support.policies import make_policy

PAIRS = 2_000
PASSES = 10


class Nothing:
    """Edges without a world behind them."""

    def save(self, captures: object) -> None: ...
    def send(self, command: object) -> None: ...
    def tell_detection(self, event: object) -> None: ...
    def tell_capture(self, capture: object, previous: object) -> None: ...


def matches(pairs: int) -> list[Match]:
    """One of each pair, each another host's, of sixteen agents that are no switches."""
    made = []
    for n in range(pairs):
        agent, listed = f"10.255.0.{n % 16}", f"198.18.{n >> 8}.{n & 255}"
        ends = (f"10.0.{n >> 8}.{n & 255}", listed, 6, 40_000, 443, 0x10, None)
        of = (Indicator(f"{listed}/32", "bench", "hosts"),)
        made.append(Match(agent, agent, 0, 3, 3, 5, 1000, 400, *ends, 0, None, "destination", of, 1e9))
    return made


def measure() -> Iterator[dict[str, object]]:
    """A row for each kind of match: of a new pair, of a known one, and of a known one whose sign of life is due."""
    now = [0.0]
    engine = CaptureEngine(make_policy(erspan_destination="192.0.2.1"), [], lambda _: False)
    loop = Loop(Detector(["10.0.0.0/8"], min_samples=1), engine, Nothing(), now=lambda: Now(now[0], 1e9 + now[0]))
    work = matches(PAIRS)

    def once() -> float:
        begun = time.thread_time()
        loop.post_matches(work)
        while loop.step():
            pass
        return (time.thread_time() - begun) / len(work) * 1e6

    new = once()
    known, due = [], []
    for _ in range(PASSES):
        known.append(once())
        now[0] += 1.0
        due.append(once())
    for kind, cost in (("of a new pair", new), ("known", min(known)), ("known, sign of life due", min(due))):
        yield {"what": "decision from memory", "match": kind, "us_per_match": cost}
