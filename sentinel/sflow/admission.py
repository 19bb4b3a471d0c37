# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Who is heard: sFlow is unauthenticated UDP, so an agent counts only when configured, and from its own addresses.

The agent address inside a datagram says who speaks; the UDP sender says where from. They may differ only where the
configuration says so: another address of the same switch, or a relay that forwards datagrams.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from sentinel.limits import MAX_ADMITTED_KEPT, MAX_REFUSALS_SHOWN

_MAPPED = bytes(10) + b"\xff\xff"


@dataclass(frozen=True, slots=True)
class AdmissionRule:
    """Agents that are heard: addresses, or networks whose every address may be an agent.

    With ``switch`` set, all of ``agents`` are addresses of that one switch, and each may send for the others.
    """

    agents: tuple[str, ...]
    switch: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Datagrams of one kind that were not taken; ``agent`` is empty where they are no datagrams of sFlow."""

    reason: str
    agent: str
    sender: str
    count: int


class Refusals:
    """The latest few kinds of refused datagrams, by name; addresses are the sender's to invent, so no more are kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, str], int] = OrderedDict()

    def note(self, reason: str, agent: str, sender: str) -> None:
        """One more."""
        key = (reason, agent, sender)
        self._kept[key] = self._kept.pop(key, 0) + 1
        if len(self._kept) > MAX_REFUSALS_SHOWN:
            self._kept.popitem(last=False)

    def latest(self) -> list[Refusal]:
        """The latest first; each counted since it was last forgotten."""
        return [Refusal(*key, count) for key, count in reversed(self._kept.items())]


class Addresses:
    """The addresses of networks, as packed octets; ``ValueError`` for what is neither address nor CIDR."""

    def __init__(self, prefixes: Iterable[str]) -> None:
        networks = [ip_network(prefix, strict=False) for prefix in prefixes]
        v4 = collapse_addresses(network for network in networks if isinstance(network, IPv4Network))
        v6 = collapse_addresses(network for network in networks if isinstance(network, IPv6Network))
        self._ranges = {
            4: [(network.network_address.packed, network.broadcast_address.packed) for network in v4],
            16: [(network.network_address.packed, network.broadcast_address.packed) for network in v6],
        }

    def __contains__(self, packed: bytes) -> bool:
        ranges = self._ranges[len(packed)]
        at = bisect_right(ranges, packed, key=lambda each: each[0])
        return at > 0 and packed <= ranges[at - 1][1]

    def ranges(self) -> list[tuple[bytes, bytes]]:
        """First and last addresses, in order and apart; IPv4 before IPv6."""
        return [*self._ranges[4], *self._ranges[16]]


class Admission:
    """Decides for each datagram who may be heard; ``relays`` are networks whose hosts may send for any agent.

    Of ``rules`` and ``relays`` what is neither address nor CIDR raises ``ValueError``.
    """

    def __init__(self, rules: Sequence[AdmissionRule], relays: Sequence[str] = ()) -> None:
        self.agents = Addresses(agent for rule in rules for agent in rule.agents)
        self.relays = Addresses(relays)
        # The addresses that may send for an agent which is one of several addresses of a switch.
        self._siblings: dict[bytes, set[bytes]] = {}
        for rule in rules:
            if rule.switch is not None:
                addresses = {ip_address(agent).packed for agent in rule.agents if "/" not in agent}
                for address in addresses:
                    self._siblings.setdefault(address, set()).update(addresses)
        self._admitted: set[tuple[str, str]] = set()

    def check(self, agent: str, sender: str) -> str | None:
        """``None`` if the datagram is heard, else why not: ``unknown_agent`` or ``foreign_sender``."""
        if (agent, sender) in self._admitted:
            return None
        reason = self._refusal(_packed(agent), _packed(sender))
        # A datagram every few microseconds asks again; only pairs that the configuration allows are kept.
        if reason is None and len(self._admitted) < MAX_ADMITTED_KEPT:
            self._admitted.add((agent, sender))
        return reason

    def siblings(self) -> list[tuple[bytes, bytes]]:
        """Agents with each address that may send for them, in order; IPv4 before IPv6."""
        pairs = [(agent, sender) for agent, senders in self._siblings.items() for sender in senders]
        return sorted(pairs, key=lambda pair: (len(pair[0]), pair[0], len(pair[1]), pair[1]))

    def _refusal(self, agent: bytes, sender: bytes) -> str | None:
        if agent not in self.agents:
            return "unknown_agent"
        if agent == sender or sender in self._siblings.get(agent, ()) or sender in self.relays:
            return None
        return "foreign_sender"


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
