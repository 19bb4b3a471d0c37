# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Agents outside the inventory: which are asked whether they are switches, and what waits for their answer. Pure."""

from collections.abc import Callable, Iterable

from sentinel import limits
from sentinel.capture import actions
from sentinel.capture.ledger import Ledger
from sentinel.capture.switchbook import SwitchBook
from sentinel.model import Detection, Now

Pair = tuple[str, str]


class Prober:
    """``probeable`` tells the agents whose shim's address is known. One question an agent is under way."""

    def __init__(self, book: SwitchBook, ledger: Ledger, probeable: Callable[[str], bool]) -> None:
        self._book = book
        self._ledger = ledger
        self._probeable = probeable
        self._asked: dict[str, dict[Pair, Detection]] = {}

    def ask_observers(self, detection: Detection, now: Now) -> None:
        """Ask those we do not know, and keep the detection until they answer: its next sample may never come."""
        for observer in detection.observers:
            agent = observer.agent
            if agent in self._book.by_agent or not observer.sender_is_agent or not self._probeable(agent):
                continue
            if agent not in self._asked and self._book.may_probe(agent, now):
                self._ledger.count("probed")
                self._ledger.out.append(actions.Probe(agent))
                self._asked[agent] = {}
            waiting = self._asked.get(agent)
            if waiting is not None and len(waiting) < limits.MAX_DETECTIONS_PER_PROBE:
                waiting[detection.pair] = detection

    def found(self, agents: Iterable[str]) -> list[Detection]:
        """They are switches now: what waited for them, oldest first."""
        return [d for agent in agents for d in self._asked.pop(agent, {}).values()]

    def failed(self, agent: str) -> None:
        self._asked.pop(agent, None)

    def forget(self, detection: Detection) -> None:
        """The detection ended."""
        for waiting in self._asked.values():
            waiting.pop(detection.pair, None)
