# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Which switches a packet crosses: leaves with hosts (some on two leaves), spines by ECMP, borders to the outside."""

from dataclasses import dataclass
from random import Random
from zlib import crc32

from sentinel.model import Role, Switch
from tests.sim.scenario import Fabric

# (switch, whether the pair is outermost there)
Path = tuple[tuple[str, bool], ...]


@dataclass(slots=True)
class Host:
    ip: str
    leaves: tuple[str, ...]


class Topology:
    """``path`` is the way of one direction of one pair as things stand; ``changed`` after touching what it rests on."""

    def __init__(self, fabric: Fabric, rng: Random) -> None:
        self.fabric = fabric
        self.leaves = [f"leaf{n}" for n in range(1, fabric.leaves + 1)]
        self.spines = [f"spine{n}" for n in range(1, fabric.spines + 1)]
        self.borders = [f"border{n}" for n in range(1, fabric.borders + 1)]
        self.down: set[str] = set()
        self.salt = 0
        self.hosts: list[Host] = []
        for number in range(fabric.hosts):
            at = number % fabric.leaves
            two = rng.random() < fabric.mlag_share
            six = rng.random() < fabric.ipv6_share
            ip = f"fd00::{number + 1:x}" if six else f"10.1.{at}.{number // fabric.leaves + 1}"
            leaves = (self.leaves[at], self.leaves[at ^ 1]) if two else (self.leaves[at],)
            self.hosts.append(Host(ip, leaves))
        self.by_ip = {host.ip: host for host in self.hosts}
        self.agents = {
            name: f"10.0.{kind}.{at + 1}"
            for kind, names in enumerate((self.leaves, self.spines, self.borders))
            for at, name in enumerate(names)
        }
        self._paths: dict[tuple[str, str, bool], Path] = {}

    def inventory(self) -> list[Switch]:
        """All but the last leaves, which are found by probing."""
        roles: dict[str, Role] = {
            **dict.fromkeys(self.leaves, "leaf"),
            **dict.fromkeys(self.spines, "spine"),
            **dict.fromkeys(self.borders, "border"),
        }
        left_out = set(self.leaves[len(self.leaves) - self.fabric.outside_inventory :])
        return [
            Switch(name, (agent,), f"https://{name}:8443", agent, roles[name], self.fabric.max_rules, ipv6=True)
            for name, agent in self.agents.items()
            if name not in left_out
        ]

    def changed(self) -> None:
        self._paths.clear()

    def rehash(self) -> None:
        """ECMP and link bundles hash differently from now on."""
        self.salt += 1
        self.changed()

    def path(self, local: str, listed: str, outbound: bool) -> Path:
        """Empty where no switch that is up leads on."""
        key = (local, listed, outbound)
        found = self._paths.get(key)
        if found is None:
            found = self._paths[key] = self._find(local, listed, outbound)
        return found

    def _find(self, local: str, listed: str, outbound: bool) -> Path:
        hashed = crc32(f"{local} {listed} {outbound} {self.salt}".encode())
        hops = []
        for names, shift in ((self.by_ip[local].leaves, 0), (self.spines, 8), (self.borders, 16)):
            up = [name for name in names if name not in self.down]
            if not up:
                return ()
            hops.append(up[(hashed >> shift) % len(up)])
        leaf, spine, border = hops
        way = ((leaf, True), (spine, not self.fabric.overlay), (border, True))
        return way if outbound else way[::-1]
