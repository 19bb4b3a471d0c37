# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What the engine knows of each switch: when to ask it again, what it holds of ours, how it fares. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Literal
from zlib import crc32

from sentinel import limits
from sentinel.capture.policy import Policy
from sentinel.model import Now, Switch

RETRY_FIRST_S = 1.0
RETRY_LONGEST_S = 30.0
# After the lease itself: the shim's own tick (30 s where only the timer is left alive) and a slow commit.
LEASE_MARGIN_S = 60.0
PROBE_AGAIN_S = 60.0
# One per direction of the pair.
ENTRIES_PER_MIRROR = 2


@dataclass(slots=True)
class _Page:
    switch: Switch
    max_rules: int
    shim_rules: int = 2**31
    held: dict[str, str] = field(default_factory=dict)
    leased: dict[str, float] = field(default_factory=dict)
    orphans: set[str] = field(default_factory=set)
    foreign_entries: int = 0
    tcam_free: int | None = None
    entries_then: int = 0
    want_list: bool = True
    asking: bool = False
    next_ask: float = 0.0
    scheduled: float = float("inf")
    polled: float = float("-inf")
    failures: int = 0
    silent_since: float | None = None
    trouble: str | None = None
    unreachable: str | None = None
    bulk_failed: bool = False


class SwitchBook:
    """One page a switch. ``held`` maps our rules there to their capture, ``leased`` to when their lease began anew."""

    def __init__(self, policy: Policy) -> None:
        self._lease_s = policy.lease_s
        # Thrice a lease, so that two lost requests end nothing; thrice a quiet time, so that a rising counter is seen.
        self._interval_s = min(policy.lease_s, policy.quiet_s) / 3
        self._pages: dict[str, _Page] = {}
        self.by_agent: dict[str, Switch] = {}
        self.by_source: dict[str, str] = {}
        self._probed: dict[str, tuple[float, str]] = {}
        self._heap: list[tuple[float, str]] = []

    def add(self, switch: Switch) -> None:
        page = self._pages.get(switch.name)
        if page is None:
            page = self._pages[switch.name] = _Page(switch, switch.max_rules)
            self._schedule(page)
        else:
            page.switch = switch
        self.by_source[switch.erspan_source] = switch.name
        for agent in switch.agents:
            self.by_agent[agent] = switch
            self._probed.pop(agent, None)

    def names(self) -> list[str]:
        return list(self._pages)

    def get(self, name: str) -> Switch | None:
        page = self._pages.get(name)
        return page.switch if page else None

    def held(self, name: str) -> Mapping[str, str]:
        page = self._pages.get(name)
        return page.held if page else {}

    def hold(self, name: str, rule: str, capture_id: str, now: Now) -> None:
        """It is there, or is asked for just now."""
        page = self._pages[name]
        page.held[rule] = capture_id
        page.leased[rule] = now.mono
        page.orphans.discard(rule)
        self._schedule(page)

    def release(self, name: str, rule: str) -> None:
        """The rule is gone from the switch."""
        page = self._pages.get(name)
        if page:
            page.held.pop(rule, None)
            page.leased.pop(rule, None)
            page.orphans.discard(rule)

    def orphan(self, name: str, rule: str) -> None:
        """A rule of ours that no capture knows; it takes its entries until the switch says it is gone."""
        self._pages[name].orphans.add(rule)

    def max_rules(self, name: str) -> int:
        return self._pages[name].max_rules

    def entries(self, name: str) -> int:
        """ACL entries of ours that are there, or may be."""
        page = self._pages[name]
        return ENTRIES_PER_MIRROR * (len(page.held) + len(page.orphans))

    def room(self, name: str) -> int:
        """How many more ACL entries the switch may take, by its inventory line, its shim and its TCAM."""
        page = self._pages[name]
        ours = self.entries(name)
        room = min(page.switch.max_rules, page.shim_rules - page.foreign_entries) - ours
        if page.tcam_free is not None:
            room = min(room, page.tcam_free - max(0, ours - page.entries_then))
        return room

    def tcam(self, name: str, free: int | None) -> None:
        """Free entries of the switch's table, as it or its sFlow told just now."""
        page = self._pages[name]
        page.tcam_free = free
        page.entries_then = self.entries(name)

    def full(self, name: str) -> None:
        """It refused a rule for want of room: until it is listed it has none beyond what it holds."""
        page = self._pages[name]
        holds = self.entries(name) - ENTRIES_PER_MIRROR
        page.shim_rules = min(page.shim_rules, page.foreign_entries + holds)
        self.list_now(name)

    def trouble(self, name: str) -> str | None:
        """Why its last request failed; ``None`` where it did not."""
        return self._pages[name].trouble

    def unreachable(self, name: str) -> str | None:
        """Why it cannot reach the ERSPAN destination; ``None`` where it can, or did not tell."""
        return self._pages[name].unreachable

    def all_unreachable(self) -> list[str]:
        """The switches that cannot reach the ERSPAN destination, as far as they told."""
        return [name for name, page in self._pages.items() if page.unreachable is not None and not page.asking]

    def known(self, name: str) -> bool:
        """Whether it ever told this process what it holds: an orphan there may be of the very pair that is wanted."""
        return self._pages[name].polled > float("-inf")

    def polled(self, name: str) -> float:
        return self._pages[name].polled if name in self._pages else float("-inf")

    # --- what it answered ------------------------------------------------------------------------

    def answered(self, name: str) -> None:
        page = self._pages.get(name)
        if page:
            page.failures = 0
            page.silent_since = None
            page.trouble = None

    def leased(self, name: str, rules: Iterable[str], now: Now) -> None:
        page = self._pages[name]
        page.leased.update((rule, now.mono) for rule in rules if rule in page.held)

    def renewed(self, name: str, rules: Iterable[str], now: Now) -> None:
        """What is not among ``rules`` was not there to be renewed."""
        page = self._pages[name]
        page.asking = False
        page.polled = now.mono
        self.leased(name, rules, now)
        page.next_ask = now.mono + self._interval_s * _jitter(name)
        self._schedule(page)

    def listed(
        self,
        name: str,
        ipv6: bool,
        max_rules: int,
        unreachable: str | None,
        now: Now,
        *,
        foreign_entries: int = 0,
        tcam_free: int | None = None,
    ) -> None:
        page = self._pages[name]
        page.foreign_entries = foreign_entries
        if tcam_free is not None:
            self.tcam(name, tcam_free)
        page.asking = False
        page.want_list = False
        page.polled = now.mono
        page.shim_rules = max_rules
        page.max_rules = min(page.switch.max_rules, max_rules)
        page.unreachable = unreachable
        if page.switch.ipv6 != ipv6:
            self.add(replace(page.switch, ipv6=ipv6))

    def failed(self, name: str, detail: str, now: Now, *, question: bool = False) -> None:
        """After any failure the switch is listed before it is trusted again; ``question``: our question failed."""
        page = self._pages.get(name)
        if page:
            page.asking = page.asking and not question
            page.want_list = True
            page.failures += 1
            page.silent_since = now.mono if page.silent_since is None else page.silent_since
            page.trouble = detail
            wait = min(RETRY_FIRST_S * 2 ** min(page.failures - 1, 10), RETRY_LONGEST_S)
            page.next_ask = now.mono + wait * _jitter(name)
            self._schedule(page)

    def answered_mono(self, name: str) -> float:
        """When it last answered a question, in monotonic seconds; minus infinity for never."""
        return self._pages[name].polled

    def silent_s(self, name: str, now: Now) -> float:
        """How long every request has failed."""
        since = self._pages[name].silent_since
        return 0.0 if since is None else now.mono - since

    def lease_surely_over(self, name: str, rule: str, now: Now) -> bool:
        page = self._pages.get(name)
        since = page.leased.get(rule) if page else None
        return since is None or now.mono - since > self._lease_s + LEASE_MARGIN_S

    def bulk_failed(self, name: str) -> None:
        """Nothing of a bulk request came through."""
        self._pages[name].bulk_failed = True

    def takes_bulk(self, name: str) -> bool:
        """False once after a bulk request that failed: single ones then tell which change is to blame."""
        page = self._pages[name]
        failed, page.bulk_failed = page.bulk_failed, False
        return not failed

    # --- what to ask next ------------------------------------------------------------------------

    def list_now(self, name: str) -> None:
        page = self._pages[name]
        page.want_list = True
        page.next_ask = 0.0
        self._schedule(page)

    def renew_now(self, name: str, now: Now) -> None:
        page = self._pages[name]
        if page.trouble is None:
            page.next_ask = now.mono
            self._schedule(page)

    def due(self, now: Now) -> list[str]:
        """The switches it is time to ask, so that a tick costs what is due and not what is there."""
        names = []
        while self._heap and self._heap[0][0] <= now.mono:
            at, name = heappop(self._heap)
            page = self._pages[name]
            if page.scheduled != at:
                continue
            page.scheduled = float("inf")
            if page.next_ask <= now.mono:
                names.append(name)
            else:
                self._schedule(page)
        return names

    @property
    def next_due(self) -> float:
        return self._heap[0][0] if self._heap else float("inf")

    def _schedule(self, page: _Page) -> None:
        """Where nothing is to be asked, and while an answer is awaited, it is not looked at."""
        if not page.asking and (page.want_list or page.held) and page.next_ask < page.scheduled:
            page.scheduled = page.next_ask
            heappush(self._heap, (page.next_ask, page.switch.name))

    def next_question(self, name: str, now: Now) -> Literal["list", "renew"] | None:
        """At most one question is under way per switch."""
        page = self._pages[name]
        if page.asking or now.mono < page.next_ask or not (page.want_list or page.held):
            return None
        page.asking = True
        return "list" if page.want_list else "renew"

    def may_probe(self, agent: str, now: Now) -> bool:
        """Each unknown agent at most once a minute, and only so many of them."""
        last = self._probed.get(agent)
        if last is not None and now.mono - last[0] < PROBE_AGAIN_S:
            return False
        if last is None and len(self._probed) >= limits.MAX_PROBED_AGENTS:
            return False
        self._probed[agent] = (now.mono, "asked")
        return True

    def probed(self, agent: str, detail: str, now: Now) -> None:
        if agent in self._probed:
            self._probed[agent] = (now.mono, detail)


def _jitter(name: str) -> float:
    """Between 0.9 and 1, fixed per switch, so that a fabric is not asked in one instant."""
    return 0.9 + (crc32(name.encode()) % 1000) / 10_000
