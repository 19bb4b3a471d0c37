# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The open detections, and who must go when a forger fills them.

sFlow is unauthenticated, so anybody who can speak as an agent can make up pairs without end. Three rules keep that
harmless:

1. A detection is charged to the agent that opened it, and each agent has a share. A full one costs only its own agent.
2. A newcomer may replace only what is worth no more than itself: ``contacted`` replaces nothing, ``answered`` replaces
   *contacted* and other *answered*, ``initiated`` replaces any, the least first and of those the longest unseen. So a
   flood of scanners never hides a host that dials out, and a real conversation always finds a place.
3. A detection seen more than once outlives those seen once, since made-up pairs rarely repeat; and what is pinned (a
   capture hangs on it) is not replaced at all.

When the whole table is full, the fullest share pays.
"""

from collections import OrderedDict

from sentinel.detect.case import Case, Pair
from sentinel.model import Evidence

# Worth of a detection, least first: (evidence, seen again).
_CONTACTED, _ANSWERED_ONCE, _INITIATED_ONCE, _ANSWERED, _INITIATED = range(5)
_LEVELS = 5
_REPLACES: dict[Evidence, tuple[int, ...]] = {
    "contacted": (),
    "answered": (_CONTACTED, _ANSWERED_ONCE, _ANSWERED),
    "initiated": (_CONTACTED, _ANSWERED_ONCE, _INITIATED_ONCE, _ANSWERED, _INITIATED),
}


class _Share:
    """One agent's open detections by worth, the longest unseen first; pinned ones only count."""

    __slots__ = ("levels", "size")

    def __init__(self) -> None:
        self.levels: tuple[OrderedDict[Pair, Case], ...] = tuple(OrderedDict() for _ in range(_LEVELS))
        self.size = 0

    def victim(self, newcomer: Evidence) -> Case | None:
        for level in _REPLACES[newcomer]:
            for case in self.levels[level].values():
                return case
        return None


class CaseTable:
    """Open detections by pair, in the order they were last seen."""

    def __init__(self, max_open: int, max_per_agent: int) -> None:
        self._max_open = max_open
        self._max_per_agent = max_per_agent
        self._cases: OrderedDict[Pair, Case] = OrderedDict()
        self._by_id: dict[str, Case] = {}
        self._shares: dict[str, _Share] = {}
        self._pinned: set[str] = set()

    def __len__(self) -> int:
        return len(self._cases)

    def get(self, pair: Pair) -> Case | None:
        return self._cases.get(pair)

    def by_id(self, detection_id: str) -> Case | None:
        return self._by_id.get(detection_id)

    def cases(self) -> list[Case]:
        """All open ones, the longest unseen first."""
        return list(self._cases.values())

    def open_by_agent(self) -> dict[str, int]:
        """How much of its share each agent takes."""
        return {agent: share.size for agent, share in self._shares.items()}

    def room_for(self, agent: str, newcomer: Evidence) -> tuple[Case | None, str]:
        """What must be removed first (``None``: nothing), or why there is no room (``""``: there is)."""
        share = self._shares.get(agent)
        if share is not None and share.size >= self._max_per_agent:
            victim = share.victim(newcomer)
            return victim, "" if victim else "agent_share"
        if len(self._cases) >= self._max_open:
            fullest = max(self._shares.values(), key=lambda share: share.size)
            victim = fullest.victim(newcomer)
            return victim, "" if victim else "total"
        return None, ""

    def add(self, case: Case) -> None:
        """Take a new case; ``room_for`` said that it fits."""
        self._cases[case.pair] = case
        self._by_id[case.id] = case
        share = self._shares.setdefault(case.charged_to, _Share())
        share.size += 1
        case.level = _level_of(case)
        share.levels[case.level][case.pair] = case

    def seen(self, case: Case) -> None:
        """The case took a match: it is the most recent now, and may be worth more."""
        self._cases.move_to_end(case.pair)
        if case.id in self._pinned:
            return
        levels = self._shares[case.charged_to].levels
        level = _level_of(case)
        if level == case.level:
            levels[level].move_to_end(case.pair)
            return
        del levels[case.level][case.pair]
        case.level = level
        levels[level][case.pair] = case

    def remove(self, case: Case) -> None:
        """Forget a case, pinned or not."""
        del self._cases[case.pair]
        del self._by_id[case.id]
        share = self._shares[case.charged_to]
        if case.id in self._pinned:
            self._pinned.discard(case.id)
        else:
            del share.levels[case.level][case.pair]
        share.size -= 1
        if share.size == 0:
            del self._shares[case.charged_to]

    def pin(self, detection_id: str) -> bool:
        """Keep this one until it is unpinned; false when it is not open."""
        case = self._by_id.get(detection_id)
        if case is None:
            return False
        if detection_id not in self._pinned:
            self._pinned.add(detection_id)
            del self._shares[case.charged_to].levels[case.level][case.pair]
        return True

    def unpin(self, detection_id: str) -> None:
        """Let it go its way again; an unknown one is no error, it may have been delisted meanwhile."""
        case = self._by_id.get(detection_id)
        if case is not None and detection_id in self._pinned:
            self._pinned.discard(detection_id)
            case.level = _level_of(case)
            self._shares[case.charged_to].levels[case.level][case.pair] = case

    def quiet_since(self, deadline: float) -> list[Case]:
        """Cases with no match after ``deadline``, without the pinned."""
        quiet = []
        for case in self._cases.values():
            if case.active_at > deadline:
                break
            if case.id not in self._pinned:
                quiet.append(case)
        return quiet


def _level_of(case: Case) -> int:
    if case.evidence == "contacted":
        return _CONTACTED
    if case.evidence == "answered":
        return _ANSWERED_ONCE if case.samples < 2 else _ANSWERED
    return _INITIATED_ONCE if case.samples < 2 else _INITIATED
