# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""How many observer rows may exist: per detection and agent, per detection, per agent, and in all.

The first row of a detection is always granted, for a detection without an observer says nothing; those are bounded by
the number of open detections.
"""

from sentinel import limits


class RowBudget:
    """Rows of all open detections, by the agent that observed."""

    def __init__(
        self,
        max_rows: int = limits.MAX_OBSERVERS,
        max_rows_per_agent: int = limits.MAX_OBSERVERS_OF_ONE_AGENT,
    ) -> None:
        self._max_rows = max_rows
        self._max_rows_per_agent = max_rows_per_agent
        self._by_agent: dict[str, int] = {}
        self.rows = 0

    def refusal(self, agent: str, agents_rows: int, detections_rows: int) -> str:
        """Why a detection with so many rows, so many of them this agent's, may not have another; ``""`` if it may."""
        if detections_rows == 0:
            return ""
        if agents_rows >= limits.MAX_OBSERVERS_PER_AGENT:
            return "agent_observers"
        if detections_rows >= limits.MAX_OBSERVERS_PER_DETECTION:
            return "observers"
        if self._by_agent.get(agent, 0) >= self._max_rows_per_agent:
            return "agent_rows"
        return "rows" if self.rows >= self._max_rows else ""

    def take(self, agent: str) -> None:
        self._by_agent[agent] = self._by_agent.get(agent, 0) + 1
        self.rows += 1

    def give_back(self, agent: str, rows: int) -> None:
        self.rows -= rows
        left = self._by_agent[agent] - rows
        if left:
            self._by_agent[agent] = left
        else:
            del self._by_agent[agent]
