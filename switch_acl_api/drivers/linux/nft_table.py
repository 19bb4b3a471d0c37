# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The nftables table of the linux driver: rules to a script for ``nft -f``, the kernel's listing back to rules. Pure.

One ``netdev`` table is ours; no other is ever named in a script. Its parts, all named so that a listing alone says
what they are (``swp/any`` is the wildcard ``swp+``; a port's number is its ifindex, so a chain of a device that was
made anew is a new chain)::

    set v4/swp/any/10.9.0.1/10.9.0.2/64     pairs of hosts: family, in-interface, ERSPAN source, destination, ttl
    set c4/swp/any/10.9.0.1/10.9.0.2/64     the same pairs, for ever and with counters
    chain mirror/swp/any/10.9.0.1/…/64      a frame of such a pair is copied to the mirror's device, once
    chain port/swp1/7                       the ingress hook of a port, which jumps to what its name matches
    chain drain/sab-1a2b3c4d/9              drops what comes out of the veth pair, behind the encapsulator's ears

``ip saddr`` at ingress also finds frames with one VLAN tag: the kernel has taken it off before, and ``dup`` sends it
along. ``accept`` ends our own hook only; whatever else filters the port sees the frame as before.

The lease is the element's timeout. Before Linux 6.12 adding an element that is there keeps its old timeout, so it is
deleted and added in one transaction, which is one step for every frame. Its counters would lose what passes between
reading and writing them; therefore they are kept in a set of their own, which no renewal touches.
"""

import hashlib
import ipaddress
import json
import math
import re
import zlib
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from switch_acl_api.grammar import Rule
from switch_acl_api.limits import LINUX_LEASE_GRACE_S, LINUX_LEASE_SLACK_S, MAX_ERSPAN_SESSION

TABLE = "switch_acl_api"
# In front of everything else at ingress, so that a frame another table drops is mirrored all the same.
_PRIORITY = -500
_DEFAULT_TTL = 64
NEAR_PREFIX, FAR_PREFIX = "saa-", "sab-"
_MIRROR_DEVICE = re.compile(NEAR_PREFIX + r"[0-9a-f]{8}\Z")

_PORT = r"[A-Za-z0-9_.-]{1,15}"
_IPV4 = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
_SET = re.compile(r"([vc])(4|6)/({0})(/any)?/({1})/({1})/([0-9]{{1,3}})\Z".format(_PORT, _IPV4))
_DEVICE = re.compile(_PORT + r"\Z")

Pair = Tuple[str, str]


class Mirror(NamedTuple):
    """One stream of ERSPAN packets; it has a device of its own."""

    source: str
    destination: str
    ttl: int

    @property
    def tag(self) -> str:
        return hashlib.sha256("{} {} {}".format(*self).encode("ascii")).hexdigest()[:8]

    @property
    def device(self) -> str:
        """What frames are copied to; never ``erspan0``, which the kernel makes for itself in every namespace."""
        return NEAR_PREFIX + self.tag

    @property
    def far_device(self) -> str:
        """The other end of the veth pair, which the encapsulator reads."""
        return FAR_PREFIX + self.tag

    @property
    def session(self) -> int:
        """ERSPAN session (10 bits) and GRE key."""
        return 1 + zlib.crc32(self.tag.encode("ascii")) % MAX_ERSPAN_SESSION


class Group(NamedTuple):
    """Rules that differ in their hosts only."""

    port: str
    mirror: Mirror

    @property
    def name(self) -> str:
        port = self.port[:-1] + "/any" if self.port.endswith("+") else self.port
        return "{}/{}/{}/{}".format(port, *self.mirror)

    @property
    def chain(self) -> str:
        return "mirror/" + self.name

    def leases(self, family: int) -> str:
        return "v{}/{}".format(family, self.name)

    def counters(self, family: int) -> str:
        return "c{}/{}".format(family, self.name)


class Element(NamedTuple):
    """``left_s``: whole seconds until the kernel forgets it; ``None`` never."""

    packets: int
    bytes: int
    left_s: Optional[int]


class Port(NamedTuple):
    """A device with a hook. ``names`` are those that rules may call it by: its own, and its bond's."""

    device: str
    ifindex: int
    names: Tuple[str, ...]

    @property
    def chain(self) -> str:
        return "port/{}/{}".format(self.device, self.ifindex)


class Table(NamedTuple):
    """What the kernel has of ours. ``rules`` are per chain, as ``nft`` wrote them in JSON; ``sets`` by name."""

    exists: bool
    sets: Dict[str, Dict[Pair, Element]]
    rules: Dict[str, List[List[Any]]]


ABSENT = Table(False, {}, {})
# What is to be: per group and family, pairs with the seconds they have left (None: without end).
Wanted = Dict[Group, Dict[int, Dict[Pair, Optional[float]]]]


def group_of(rule: Rule) -> Group:
    mirror = Mirror(rule.erspan_source, rule.erspan_destination, rule.ttl or _DEFAULT_TTL)
    return Group(rule.port, mirror)


def group_of_set(name: str) -> Optional[Group]:
    """The group that a set's name tells, ``None`` where it is no name of ours."""
    found = _SET.match(name)
    if found is None:
        return None
    _, _, port, wildcard, source, destination, ttl = found.groups()
    return Group(port + ("+" if wildcard else ""), Mirror(source, destination, int(ttl)))


def groups_of(table: Table) -> List[Group]:
    found = {group_of_set(name) for name in table.sets}
    return sorted(group for group in found if group is not None)


def is_mirror_device(name: str) -> bool:
    return _MIRROR_DEVICE.match(name) is not None


def port_matches(pattern: str, name: str) -> bool:
    """iptables' own wildcard: a ``+`` at the end stands for any rest."""
    return name.startswith(pattern[:-1]) if pattern.endswith("+") else name == pattern


# --- reading ---------------------------------------------------------------------------------------


def read_table(text: str) -> Table:
    """The output of ``nft -j list table netdev switch_acl_api``. Raises ``ValueError`` where it is something else."""
    try:
        rows = json.loads(text)["nftables"]
        sets: Dict[str, Dict[Pair, Element]] = {}
        rules: Dict[str, List[List[Any]]] = {}
        for row in rows:
            if "set" in row:
                sets[row["set"]["name"]] = dict(_element(entry) for entry in row["set"].get("elem", []))
            elif "chain" in row:
                rules.setdefault(row["chain"]["name"], [])
            elif "rule" in row:
                rules.setdefault(row["rule"]["chain"], []).append(row["rule"]["expr"])
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError("not the listing of our table: {!r}".format(error)) from None
    return Table(True, sets, rules)


def _element(entry: Any) -> Tuple[Pair, Element]:
    """``{"elem": {"val": {"concat": [source, destination]}, "expires": s, "counter": {…}}}``."""
    inner = entry.get("elem", entry)
    source, destination = inner.get("val", inner)["concat"]
    counter = inner.get("counter") or {}
    left_s = inner.get("expires") if "timeout" in inner else None
    pair = str(ipaddress.ip_address(source)), str(ipaddress.ip_address(destination))
    return pair, Element(int(counter.get("packets", 0)), int(counter.get("bytes", 0)), left_s)


def pairs_of(group: Group, family: int, table: Table) -> Dict[Pair, Element]:
    """What the kernel mirrors for the group now, with counters; nothing where the group's chain is not as it was."""
    if _signature(table.rules.get(group.chain, [])) != _mirror_signature(group):
        return {}
    counters = table.sets.get(group.counters(family), {})
    leases = table.sets.get(group.leases(family), {})
    return {pair: counters[pair]._replace(left_s=leases[pair].left_s) for pair in leases if pair in counters}


def _signature(rules: Sequence[Sequence[Any]]) -> List[Tuple[str, ...]]:
    """What matters of rules as nft lists them, in the words of ``_mirror_signature`` and of jumps."""
    found: List[Tuple[str, ...]] = []
    for rule in rules:
        words: List[str] = []
        for part in rule:
            for name, value in part.items() if isinstance(part, dict) else ():
                words.append(str(name))
                inner = value if isinstance(value, dict) else {}
                words += [str(inner[key]) for key in ("right", "addr", "target") if key in inner]
        found.append(tuple(words))
    return found


def _mirror_signature(group: Group) -> List[Tuple[str, ...]]:
    device = group.mirror.device
    sets = [("@" + group.leases(family), "@" + group.counters(family)) for family in (4, 6)]
    return [("match", leases, "match", counters, "dup", device, "accept") for leases, counters in sets]


# --- writing ---------------------------------------------------------------------------------------


def plan(wanted: Wanted, table: Table, ports: Sequence[Port], drains: Sequence[Tuple[str, int]]) -> str:
    """The script that makes the table have exactly ``wanted``; empty when it already has.

    ``drains`` are the far ends of veth pairs with their ifindex.
    """
    if not wanted:
        return "delete table netdev {}\n".format(TABLE) if table.exists else ""
    lines: List[str] = []
    for group in sorted(wanted):
        lines += _mirror_lines(group, table)
    lines += plan_ports(sorted(wanted), table, ports, drains)
    lines += _leftover_lines(wanted, table)
    for group, families in sorted(wanted.items()):
        for family in (4, 6):
            pairs = families.get(family, {})
            lines += _lease_lines(group.leases(family), pairs, table)
            lines += _counter_lines(group.counters(family), pairs, table)
    if lines and not table.exists:
        lines.insert(0, "add table netdev {}".format(TABLE))
    return "".join(line + "\n" for line in lines)


def plan_ports(
    groups: Sequence[Group], table: Table, ports: Sequence[Port], drains: Sequence[Tuple[str, int]]
) -> List[str]:
    """Hooks for the ports there are, none for those that went."""
    lines: List[str] = []
    named: List[str] = []
    for port in ports:
        targets = [group.chain for group in groups if any(port_matches(group.port, name) for name in port.names)]
        if not targets:
            continue
        named.append(port.chain)
        if _signature(table.rules.get(port.chain, [])) == [("jump", target) for target in targets]:
            continue
        hook = 'type filter hook ingress device "{}" priority {}; policy accept;'.format(port.device, _PRIORITY)
        lines += _chain_lines(port.chain, table, hook)
        lines += ["add rule netdev {} {} jump {}".format(TABLE, port.chain, target) for target in targets]
    for device, index in drains:
        name = "drain/{}/{}".format(device, index)
        named.append(name)
        if name not in table.rules:
            hook = 'type filter hook ingress device "{}" priority {}; policy drop;'.format(device, _PRIORITY)
            lines += _chain_lines(name, table, hook)
    for name in sorted(table.rules):
        if not name.startswith("mirror/") and name not in named:
            lines += _delete_chain_lines(name)
    return lines


def _mirror_lines(group: Group, table: Table) -> List[str]:
    lines = []
    for family, type_name in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        for name, how in ((group.leases(family), "flags timeout"), (group.counters(family), "counter")):
            if name not in table.sets:
                definition = "{{ type {0} . {0}; {1}; }}".format(type_name, how)
                lines.append("add set netdev {} {} {}".format(TABLE, name, definition))
    if _signature(table.rules.get(group.chain, [])) != _mirror_signature(group):
        lines += _chain_lines(group.chain, table)
        for family, header in ((4, "ip"), (6, "ip6")):
            pair = "{0} saddr . {0} daddr".format(header)
            words = (TABLE, group.chain, pair, group.leases(family), pair, group.counters(family), group.mirror.device)
            lines.append('add rule netdev {} {} {} @{} {} @{} dup to "{}" accept'.format(*words))
    return lines


def _chain_lines(name: str, table: Table, hook: str = "") -> List[str]:
    """An empty chain of that name, also where there is one."""
    if name in table.rules:
        return ["flush chain netdev {} {}".format(TABLE, name)]
    return ["add chain netdev {} {}{}".format(TABLE, name, " {{ {} }}".format(hook) if hook else "")]


def _delete_chain_lines(name: str) -> List[str]:
    return ["flush chain netdev {} {}".format(TABLE, name), "delete chain netdev {} {}".format(TABLE, name)]


def _leftover_lines(wanted: Wanted, table: Table) -> List[str]:
    lines: List[str] = []
    chains = {group.chain for group in wanted}
    sets = {name for group in wanted for family in (4, 6) for name in (group.leases(family), group.counters(family))}
    for name in sorted(table.rules):
        if name.startswith("mirror/") and name not in chains:
            lines += _delete_chain_lines(name)
    return lines + ["delete set netdev {} {}".format(TABLE, name) for name in sorted(table.sets) if name not in sets]


def _lease_lines(name: str, wanted: Dict[Pair, Optional[float]], table: Table) -> List[str]:
    present = table.sets.get(name, {})
    made = {p: s for p, s in wanted.items() if p not in present or not _as_wished(present[p].left_s, s)}
    gone = [pair for pair in present if pair not in wanted or pair in made]
    return _element_lines(name, gone, [_lease_text(pair, left_s) for pair, left_s in sorted(made.items())])


def _counter_lines(name: str, wanted: Dict[Pair, Optional[float]], table: Table) -> List[str]:
    present = table.sets.get(name, {})
    made = [_pair_text(pair) for pair in sorted(wanted) if pair not in present]
    return _element_lines(name, [pair for pair in present if pair not in wanted], made)


def _element_lines(name: str, gone: List[Pair], made: List[str]) -> List[str]:
    lines = []
    if gone:
        texts = ", ".join(_pair_text(pair) for pair in sorted(gone))
        lines.append("delete element netdev {} {} {{ {} }}".format(TABLE, name, texts))
    if made:
        lines.append("add element netdev {} {} {{ {} }}".format(TABLE, name, ", ".join(made)))
    return lines


def _as_wished(has_s: Optional[int], wanted_s: Optional[float]) -> bool:
    if has_s is None or wanted_s is None:
        return has_s is None and wanted_s is None
    return abs(has_s - (wanted_s + LINUX_LEASE_GRACE_S)) <= LINUX_LEASE_SLACK_S


def _pair_text(pair: Pair) -> str:
    return "{} . {}".format(*pair)


def _lease_text(pair: Pair, left_s: Optional[float]) -> str:
    if left_s is None:
        return _pair_text(pair)
    whole, milliseconds = divmod(math.ceil((left_s + LINUX_LEASE_GRACE_S) * 1000), 1000)
    return "{} timeout {}s{}ms".format(_pair_text(pair), whole, milliseconds)


# --- which devices are ports -----------------------------------------------------------------------


def ports_of(text: str, patterns: Sequence[str]) -> List[Port]:
    """``ip -json -details link show`` to the ports that ``patterns`` name. Raises ``ValueError``.

    A frame that enters a bond's member passes the member's hook and then the bond's: the hook is the member's alone,
    for rules of either name, so that one frame gives one copy.
    """
    rows = json.loads(text)
    if not isinstance(rows, list):
        raise ValueError("no list of devices")  # noqa: TRY004 -- of text, not of an argument
    rows = [row for row in rows if isinstance(row, dict) and _DEVICE.match(str(row.get("ifname", "")))]
    members = {str(row["ifname"]): str(row["master"]) for row in rows if "master" in row and _is_member(row)}
    ports: List[Port] = []
    for row in sorted(rows, key=lambda row: str(row["ifname"])):
        name = str(row["ifname"])
        if name.startswith((NEAR_PREFIX, FAR_PREFIX)) or name in members.values() or name == "lo":
            continue
        names = (name, members[name]) if name in members else (name,)
        if any(port_matches(pattern, each) for pattern in patterns for each in names):
            ports.append(Port(name, int(row["ifindex"]), names))
    return ports


def _is_member(row: Dict[str, Any]) -> bool:
    info = row.get("linkinfo")
    return isinstance(info, dict) and info.get("info_slave_kind") in {"bond", "team"}
