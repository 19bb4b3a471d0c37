# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Who talks with whom, what of it is sampled, and the truth about it that no detector sees."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Literal

from sentinel.model import Indicator, Match
from tests.sim.switch import Rule, directions

if TYPE_CHECKING:
    from tests.sim.world import World

Kind = Literal["beacon", "talker", "one_shot", "answering", "flood"]
# Room that comes free this long after the first sample still serves within the five seconds asked for.
LOOK_AGAIN_S = 4.0
_SYN, _ACK, _RST, _SYN_ACK = 0x02, 0x10, 0x04, 0x12


@dataclass(slots=True)
class Conversation:
    """One compromised or unlucky host with one listed peer.

    ``sampled_at``: its first sample, wherever; ``first_sample``: the first that can be acted on, an outbound packet
    with the pair as outermost addresses. ``seen_by``: the switches that sampled it as outermost addresses. ``room``:
    one of those could mirror it in time; ``room_on_path``: some switch of its way could, had it sampled it.
    """

    local: str
    listed: str
    kind: Kind
    ends: float
    every_s: float
    packets_out: int
    packets_in: int
    octets: int
    port: int
    sampled_at: float | None = None
    first_sample: float | None = None
    seen_by: set[str] = field(default_factory=set)
    room: bool = False
    room_on_path: bool = False
    captured_at: float | None = None
    packets: int = 0
    mirrored: int = 0


@dataclass(slots=True)
class Truth:
    """What really happened, for figures about the decisions. ``rules``: the pair of every (switch, rule) there was."""

    conversations: dict[tuple[str, str], Conversation] = field(default_factory=dict)
    rules: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    mirrored_bits: int = 0

    def conversation(self, rule: Rule) -> Conversation | None:
        return next((self.conversations[way] for way in directions(rule.lines) if way in self.conversations), None)

    def installed(self, switch: str, name: str, rule: Rule, mono: float) -> None:
        talk = self.conversation(rule)
        self.rules[switch, name] = (talk.local, talk.listed) if talk else directions(rule.lines)[0]
        if talk and talk.captured_at is None:
            talk.captured_at = mono


class Traffic:
    """Plans the day's conversations and lets them happen."""

    def __init__(self, world: "World", rng: Random) -> None:
        self._world = world
        self._rng = rng
        self.truth = Truth()
        self._silent = False
        count = world.scenario.traffic.listed
        self.listed = [f"198.51.100.{n + 1}" for n in range(min(count, 200))]
        self.listed6 = [f"2001:db8::{n + 1:x}" for n in range(20)]
        self._indicators = {
            ip: (Indicator(f"{ip}/{128 if ':' in ip else 32}", "c2" if n % 3 else "scanners", "sim"),)
            for n, ip in enumerate([*self.listed, *self.listed6])
        }
        self.delisted: set[str] = set()

    def lookup(self, ip: str) -> tuple[Indicator, ...]:
        return () if ip in self.delisted else self._indicators.get(ip, ())

    # --- planning --------------------------------------------------------------------------------

    def plan(self, day_s: float) -> None:
        chosen, rng, share = self._world.scenario.traffic, self._rng, day_s / 86_400.0
        for _ in range(round(chosen.beacons * share)):
            self._plan("beacon", day_s, rng.uniform(3_600, 5 * 3_600), rng.uniform(60, 900), 6, 5, 120)
        for _ in range(round(chosen.talkers * share)):
            self._plan("talker", day_s, rng.uniform(300, 3_600), rng.uniform(4, 20), 200, 300, 600)
        for _ in range(round(chosen.one_shots * share)):
            self._plan("one_shot", day_s, 10.0, 20.0, 60, 60, 300)
        for _ in range(round(chosen.answering * share)):
            self._plan("answering", day_s, rng.uniform(300, 1_800), rng.uniform(10, 30), 200, 200, 400)
        for _ in range(round(chosen.floods * share)):
            self._plan("flood", day_s, rng.uniform(120, 600), 5.0, 250_000, 0, 1_400)
        self._world.after(rng.uniform(1, 60), self._scan, day_s * 60 / max(1, chosen.scans))

    def _plan(self, kind: Kind, day_s: float, lasts_s: float, every_s: float, out: int, back: int, octets: int) -> None:
        rng = self._rng
        host = rng.choice(self._world.topology.hosts).ip
        peer = rng.choice(self.listed6 if ":" in host else self.listed)
        begins = rng.uniform(0, day_s)
        ends = self._world.mono + begins + lasts_s
        conversation = Conversation(host, peer, kind, ends, every_s, out, back, octets, rng.randrange(32_768, 65_536))
        if (host, peer) not in self.truth.conversations:
            self.truth.conversations[host, peer] = conversation
            self._world.after(begins, self._burst, conversation)

    def stop(self) -> None:
        self._silent = True

    # --- happening -------------------------------------------------------------------------------

    def _burst(self, talk: Conversation) -> None:
        world = self._world
        if self._silent or world.mono > talk.ends:
            return
        world.census.events += 1
        matches: list[Match] = []
        self._travel(talk, True, talk.packets_out, matches)
        self._travel(talk, False, talk.packets_in, matches)
        if talk.first_sample == world.mono:
            self._look_for_room(talk)
            world.after(LOOK_AGAIN_S, self._look_for_room, talk)
        if matches:
            world.daemon.see(matches)
        world.after(talk.every_s * self._rng.uniform(0.9, 1.1), self._burst, talk)

    def _travel(self, talk: Conversation, outbound: bool, packets: int, matches: list[Match]) -> None:
        """Through every switch of the way, each of which may mirror and sample."""
        world = self._world
        src, dst = (talk.local, talk.listed) if outbound else (talk.listed, talk.local)
        listed = talk.listed not in self.delisted
        mirrored = 0
        for name, bare in world.topology.path(talk.local, talk.listed, outbound):
            switch = world.switches[name]
            if bare:
                mirrored += switch.forward(src, dst, packets, talk.octets, world.mono)
            sampled = self._samples(packets) if listed else 0
            if sampled:
                self._noted(talk, name, outbound, bare)
            matches += [self._match(talk, switch.agent, src, dst, outbound, bare) for _ in range(sampled)]
        talk.packets += packets
        if mirrored:
            talk.mirrored += min(mirrored, packets)
            self.truth.mirrored_bits += mirrored * talk.octets * 8

    def _samples(self, packets: int) -> int:
        """How many of them are sampled; a burst brings no more than a few to look at."""
        expected = packets / self._world.scenario.fabric.sampling
        if expected < 1.0:
            return self._rng.random() < expected
        return min(2, int(expected) + (self._rng.random() < expected % 1))

    def _match(self, talk: Conversation, agent: str, src: str, dst: str, outbound: bool, bare: bool) -> Match:
        serves = talk.kind == "answering"
        flags = _ACK
        if outbound:
            flags = _SYN_ACK if serves else _SYN if self._rng.random() < 0.2 else _ACK
        local_port, peer_port = (22, 45_000) if serves else (talk.port, 443)
        ports = (local_port, peer_port) if outbound else (peer_port, local_port)
        return self._sample(agent, src, dst, ports, flags, outbound, bare, talk.octets)

    def _noted(self, talk: Conversation, switch: str, outbound: bool, bare: bool) -> None:
        """What a daemon that lives can know of it from now on."""
        world = self._world
        if not world.daemon.alive:
            return
        if talk.sampled_at is None:
            talk.sampled_at = world.mono
        if bare:
            talk.seen_by.add(switch)
        if talk.first_sample is None and bare and outbound and talk.kind != "answering":
            talk.first_sample = world.mono

    def _look_for_room(self, talk: Conversation) -> None:
        """Whether some switch could mirror it now: with room, or with a rule that deserves less."""
        world = self._world
        ways = (world.topology.path(talk.local, talk.listed, outbound) for outbound in (True, False))
        for name in {name for way in ways for name, bare in way if bare}:
            switch = world.switches[name]
            if switch.entries() + 2 <= switch.allowed or self._holds_less(switch.rules.values()):
                talk.room_on_path = True
                talk.room = talk.room or name in talk.seen_by

    def _holds_less(self, rules: Iterable[Rule]) -> bool:
        for rule in rules:
            known = self.truth.conversation(rule)
            if (known is None or known.kind == "answering") and rule.installed_at + 60.0 < self._world.mono:
                return True
        return False

    def _sample(
        self,
        agent: str,
        src: str,
        dst: str,
        ports: tuple[int, int],
        flags: int,
        outbound: bool,
        bare: bool,
        octets: int,
    ) -> Match:
        world = self._world
        return Match(
            agent=agent,
            sender=agent,
            source_class=0,
            source_index=1 if outbound else 2,
            input=1 if outbound else 2,
            output=2 if outbound else 1,
            sampling_rate=world.scenario.fabric.sampling,
            frame_length=octets,
            src_ip=src,
            dst_ip=dst,
            protocol=6,
            src_port=ports[0],
            dst_port=ports[1],
            tcp_flags=flags,
            icmp_type=None,
            layer=0 if bare else 1,
            vni=None if bare else 10,
            listed="destination" if outbound else "source",
            indicators=self._indicators[dst if outbound else src],
            seen_at=world.wall,
        )

    def _scan(self, every_s: float) -> None:
        """A minute's worth of one listed scanner: everybody is contacted, some answer with a reset."""
        world, rng = self._world, self._rng
        if self._silent:
            return
        world.after(rng.expovariate(1 / 60.0), self._scan, every_s)
        scanner = rng.choice(self.listed)
        for _ in range(max(1, round(60.0 / every_s))):
            host = rng.choice(world.topology.hosts).ip
            if ":" in host or scanner in self.delisted:
                continue
            answers = rng.random() < 0.2
            way = world.topology.path(host, scanner, answers)
            if not way:
                continue
            name, bare = rng.choice(way)
            src, dst, ports = (host, scanner, (80, 45_000)) if answers else (scanner, host, (45_000, 80))
            world.census.events += 1
            sample = self._sample(
                world.switches[name].agent, src, dst, ports, _RST if answers else _SYN, answers, bare, 60
            )
            world.daemon.see([sample])

    def forge(self, agent: str, samples: int) -> None:
        """Made-up conversations in the name of an agent."""
        rng, world = self._rng, self._world
        for n in range(samples):
            host = rng.choice(world.topology.hosts).ip
            if ":" in host:
                continue
            pair = (host, rng.choice(self.listed))
            world.after(n * 0.05, self._forged, agent, pair)

    def _forged(self, agent: str, pair: tuple[str, str]) -> None:
        if not self._silent and pair[1] not in self.delisted:
            self._world.census.events += 1
            self._world.daemon.see([self._sample(agent, *pair, (40_000, 443), _SYN, True, True, 60)])
