# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that commits, over a data plane in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from switch_acl_api.clock import BootClock
from switch_acl_api.commits import Change, Outcome
from switch_acl_api.counters import Counters
from switch_acl_api.grammar import Site
from switch_acl_api.keeper import Keeper
from switch_acl_api.policy import PolicyDir
from switch_acl_api.tickets import Ticket, TicketQueue
from tests.unit.switch_acl_api.test_shim_commits import MemoryDriver, put


@contextmanager
def keeping(folder: Path, driver: MemoryDriver) -> Iterator[TicketQueue]:
    policy = PolicyDir(str(folder / "policy.d"), str(folder / "state"))
    policy.prepare()
    queue = TicketQueue(0.0)
    site = Site(frozenset({"192.0.2.70"}))
    keeper = Keeper(policy, driver, BootClock(), queue, lambda: site, Counters(), lambda: None)
    keeper.start()
    try:
        yield queue
    finally:
        keeper.stop()


class Watched(Ticket):
    """Remembers what was pending when it was answered."""

    def __init__(self, queue: TicketQueue, change: Change) -> None:
        super().__init__([change], "alice", "")
        self.queue = queue
        self.pending: list[Change] | None = None

    def finish(self, outcomes: dict[str, Outcome]) -> None:
        self.pending = self.queue.pending()
        super().finish(outcomes)


def test_whoever_is_answered_finds_his_change_done_and_not_on_its_way(tmp_path: Path) -> None:
    """Else the same request again, at once, would be committed once more."""
    with keeping(tmp_path, MemoryDriver()) as queue:
        ticket = Watched(queue, put("a", "10.0.0.1"))
        queue.put(ticket)
        assert ticket.wait(10)
    assert ticket.outcomes["a"].ok
    assert ticket.pending == []
