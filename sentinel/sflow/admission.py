# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Who is heard: sFlow is unauthenticated UDP, so an agent counts only when configured, and from its own addresses.

The agent address inside a datagram says who speaks; the UDP sender says where from. They may differ only where the
configuration says so: another address of the same switch, or a relay that forwards datagrams.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from sentinel.limits import MAX_ADMITTED_KEPT, MAX_REFUSALS_SHOWN

_MAPPED = bytes(10) + b"\xff\xff"
_Network = tuple[int, int]


@dataclass(frozen=True, slots=True)
class AdmissionRule:
    """Agents that are heard: addresses, or networks whose every address may be an agent.

    With ``switch`` set, all of ``agents`` are addresses of that one switch, and each may send for the others.
    """

    agents: tuple[str, ...]
    switch: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Datagrams that were not heard, shown to the operator."""

    reason: str
    agent: str
    sender: str
    count: int


class Admission:
    """Decides for each datagram; counts by reason only, as the addresses are the sender's to invent.

    ``rules`` and ``relays`` (networks whose hosts may send for any configured agent) are addresses or CIDRs;
    ``ValueError`` for what is neither. ``unknown_agent`` and ``foreign_sender`` count refusals.
    """

    def __init__(self, rules: Sequence[AdmissionRule], relays: Sequence[str] = ()) -> None:
        self._networks: dict[int, list[_Network]] = {4: [], 16: []}
        self._relays: dict[int, list[_Network]] = {4: [], 16: []}
        # The addresses that may send for an agent which is one of several addresses of a switch.
        self._siblings: dict[bytes, set[bytes]] = {}
        for rule in rules:
            self._add(rule)
        for relay in relays:
            _add_network(self._relays, relay)
        self._admitted: set[tuple[str, str]] = set()
        self._recent: OrderedDict[tuple[str, str, str], int] = OrderedDict()
        self.unknown_agent = 0
        self.foreign_sender = 0

    def _add(self, rule: AdmissionRule) -> None:
        for agent in rule.agents:
            _add_network(self._networks, agent)
        if rule.switch is not None:
            addresses = {ip_address(agent).packed for agent in rule.agents if "/" not in agent}
            for address in addresses:
                self._siblings.setdefault(address, set()).update(addresses)

    def check(self, agent: str, sender: str) -> str | None:
        """``None`` if the datagram is heard, else why not: ``unknown_agent`` or ``foreign_sender``."""
        if (agent, sender) in self._admitted:
            return None
        reason = self._refusal(_packed(agent), _packed(sender))
        if reason is None:
            # A datagram every few microseconds asks again; only pairs that the configuration allows are kept.
            if len(self._admitted) < MAX_ADMITTED_KEPT:
                self._admitted.add((agent, sender))
            return None
        if reason == "unknown_agent":
            self.unknown_agent += 1
        else:
            self.foreign_sender += 1
        self._remember(reason, agent, sender)
        return reason

    def recent(self) -> list[Refusal]:
        """The last few refused pairs, the latest first."""
        return [Refusal(*key, count) for key, count in reversed(self._recent.items())]

    def _refusal(self, agent: bytes, sender: bytes) -> str | None:
        if not _within(self._networks, agent):
            return "unknown_agent"
        if agent == sender or sender in self._siblings.get(agent, ()) or _within(self._relays, sender):
            return None
        return "foreign_sender"

    def _remember(self, reason: str, agent: str, sender: str) -> None:
        key = (reason, agent, sender)
        self._recent[key] = self._recent.pop(key, 0) + 1
        if len(self._recent) > MAX_REFUSALS_SHOWN:
            self._recent.popitem(last=False)


def plain_address(text: str) -> str:
    """An address as sFlow and configuration write it: an IPv4-mapped one as IPv4, no zone."""
    packed = _packed(text)
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


def _packed(text: str) -> bytes:
    text = text.partition("%")[0]
    if ":" not in text:
        return inet_pton(AF_INET, text)
    packed = inet_pton(AF_INET6, text)
    return packed[12:] if packed.startswith(_MAPPED) else packed


def _add_network(table: dict[int, list[_Network]], text: str) -> None:
    network = ip_network(text, strict=False)
    table[len(network.network_address.packed)].append((int(network.network_address), int(network.netmask)))


def _within(table: dict[int, list[_Network]], packed: bytes) -> bool:
    value = int.from_bytes(packed)
    return any(value & mask == network for network, mask in table[len(packed)])
