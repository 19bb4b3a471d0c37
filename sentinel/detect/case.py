# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One open detection while it grows: matches in, a frozen ``Detection`` out."""

from collections import Counter
from hashlib import blake2b
from typing import Literal

from sentinel.detect import amounts, direction, evidence
from sentinel.detect.rows import RowBudget
from sentinel.model import Detection, Direction, Evidence, Indicator, Match, Observer, error_pct

Pair = tuple[str, str]


class _View:
    """What one data source of one agent saw."""

    __slots__ = (
        "capturable",
        "egress",
        "inbound",
        "ingress",
        "input",
        "outbound",
        "output",
        "sender_is_agent",
        "vni",
    )

    def __init__(self, match: Match) -> None:
        self.input = match.input
        self.output = match.output
        self.sender_is_agent = match.sender == match.agent
        self.capturable = False
        self.vni = match.vni
        self.outbound = 0
        self.inbound = 0
        self.ingress = amounts.Tally()
        self.egress = amounts.Tally()

    def add(self, match: Match, outbound: bool) -> None:
        (self.egress if amounts.sampled_at_egress(match) else self.ingress).add(match)
        if outbound:
            self.outbound += 1
        else:
            self.inbound += 1
        self.sender_is_agent = self.sender_is_agent or match.sender == match.agent

    def observer(self, key: tuple[str, int, int]) -> Observer:
        agent, source_class, source_index = key
        tally = self.ingress.plus(self.egress)
        return Observer(
            agent=agent,
            source_class=source_class,
            source_index=source_index,
            input=self.input,
            output=self.output,
            samples=tally.samples,
            packets=tally.packets,
            bytes=tally.bytes,
            capturable=self.capturable,
            vni=None if self.capturable else self.vni,
            outbound=self.outbound,
            inbound=self.inbound,
            sender_is_agent=self.sender_is_agent,
        )


class Case:
    """All matches of one (local, listed) pair.

    ``active_at`` and ``told_at`` are monotonic; ``charged_to`` is the agent whose share it takes. ``samples`` counts
    every match of every observer and serves eviction, not the figures.
    """

    __slots__ = (
        "_first",
        "_listed_is_local",
        "_rows",
        "_unlisted_is_local",
        "_views",
        "active_at",
        "announced",
        "charged_to",
        "crossed",
        "evidence",
        "first_seen",
        "id",
        "inbound_seen",
        "indicators",
        "last_seen",
        "layer",
        "level",
        "outbound_seen",
        "pair",
        "samples",
        "told_at",
    )

    def __init__(
        self,
        match: Match,
        pair: Pair,
        rows: RowBudget,
        *,
        unlisted_is_local: bool,
        listed_is_local: bool,
        now: float,
    ) -> None:
        self.pair = pair
        self._rows = rows
        self.id = _id_of(pair, match.seen_at)
        self.indicators = match.indicators
        self.evidence: Evidence = "contacted"
        self.layer = match.layer
        self.first_seen = self.last_seen = match.seen_at
        self.outbound_seen = self.inbound_seen = False
        self.samples = 0
        self.charged_to = match.agent
        self.active_at = self.told_at = now
        self.announced = self.crossed = False
        self.level = 0
        self._first = (match.src_ip, match.dst_ip, match.src_port, match.dst_port, match.protocol)
        self._unlisted_is_local = unlisted_is_local
        self._listed_is_local = listed_is_local
        self._views: dict[tuple[str, int, int], _View] = {}

    def add(self, match: Match, now: float) -> tuple[list[str], str]:
        """Take one match; returns what changed for a decision, and why its amounts were refused (or ``""``)."""
        changes: list[str] = []
        outbound = self.is_outbound(match)
        proof = self._stronger(match, outbound)
        if proof is not None:
            self.evidence = proof
            changes.append("evidence")
        if not self._goes_as_before(outbound):
            before = self.direction
            self.outbound_seen |= outbound
            self.inbound_seen |= not outbound
            if self.direction != before:
                changes.append("direction")
        self.samples += 1
        self.active_at = now
        if match.seen_at > self.last_seen:
            self.last_seen = match.seen_at
        elif match.seen_at < self.first_seen:
            self.first_seen = match.seen_at
        self.layer = min(self.layer, match.layer)
        return changes, self._observe(match, outbound, changes)

    def is_outbound(self, match: Match) -> bool:
        """Whether the match goes outward, as ``direction`` sees it."""
        return direction.is_outbound(match.listed == "destination", self._unlisted_is_local, self._listed_is_local)

    def expects(self, match: Match) -> bool:
        """Whether the match would change nothing but amounts and times."""
        view = self._views.get((match.agent, match.source_class, match.source_index))
        if view is None or not (view.capturable or match.layer):
            return False
        outbound = self.is_outbound(match)
        return self._goes_as_before(outbound) and self._stronger(match, outbound) is None

    @property
    def direction(self) -> Direction:
        return direction.of(self._unlisted_is_local or self._listed_is_local, self.outbound_seen, self.inbound_seen)

    @property
    def figures(self) -> amounts.Tally:
        """The figures of the agent with most packets."""
        return amounts.best((key[0], view.ingress, view.egress) for key, view in self._views.items())

    def snapshot(self, state: Literal["open", "closed", "delisted"] = "open") -> Detection:
        """The detection as it stands; observers by agent and data source."""
        figures = self.figures
        src_ip, dst_ip, src_port, dst_port, protocol = self._first
        return Detection(
            id=self.id,
            local_ip=self.pair[0],
            listed_ip=self.pair[1],
            direction=self.direction,
            evidence=self.evidence,
            indicators=self.indicators,
            layer=self.layer,
            observers=tuple(self._views[key].observer(key) for key in sorted(self._views)),
            samples=figures.samples,
            packets=figures.packets,
            bytes=figures.bytes,
            packets_error_pct=error_pct(figures.samples),
            first_seen=self.first_seen,
            last_seen=self.last_seen,
            src_ip=src_ip,
            dst_ip=dst_ip,
            src_port=src_port,
            dst_port=dst_port,
            protocol=protocol,
            state=state,
        )

    def relist(self, indicators: tuple[Indicator, ...]) -> bool:
        """Take other indicators; tells whether they differ."""
        changed = indicators != self.indicators
        self.indicators = indicators
        return changed

    def release(self) -> None:
        """Give the observer rows back; the case is closed."""
        for agent, sources in Counter(key[0] for key in self._views).items():
            self._rows.give_back(agent, sources)

    def _goes_as_before(self, outbound: bool) -> bool:
        return self.outbound_seen if outbound else self.inbound_seen

    def _stronger(self, match: Match, outbound: bool) -> Evidence | None:
        """What the match proves, if that is more than what is known."""
        if self.evidence == evidence.STRONGEST:
            return None
        proof = evidence.of(match, outbound)
        return proof if evidence.RANK[proof] > evidence.RANK[self.evidence] else None

    def _observe(self, match: Match, outbound: bool, changes: list[str]) -> str:
        key = (match.agent, match.source_class, match.source_index)
        view = self._views.get(key)
        if view is None:
            sources = sum(key[0] == match.agent for key in self._views)
            refused = self._rows.refusal(match.agent, sources, len(self._views))
            if refused:
                return refused
            self._rows.take(match.agent)
            view = self._views[key] = _View(match)
            changes.append("observer")
        view.add(match, outbound)
        if match.layer == 0 and not view.capturable:
            view.capturable = True
            changes.append("capturable")
        return ""


def local_and_listed(match: Match) -> Pair:
    """(local, listed): the unlisted side first."""
    return (match.dst_ip, match.src_ip) if match.listed == "source" else (match.src_ip, match.dst_ip)


def _id_of(pair: Pair, first_seen: float) -> str:
    """One opening of one pair: the same recording gives the same name, the next opening another."""
    text = f"{pair[0]}|{pair[1]}|{first_seen!r}"
    return "d" + blake2b(text.encode(), digest_size=6).hexdigest()
