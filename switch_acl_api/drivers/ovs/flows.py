# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Rules as OpenFlow flows, and flows back as rules. Pure.

A rule is one flow of table 0 that copies the frame as it came in to the ERSPAN port and then looks it up again, with
one bit of a register set so that it does not find itself: whatever else the bridge does, NORMAL or a pipeline of
somebody else's, it does as before.

The flows are told by their cookie, 16 bits of ours and 48 of digest, and are added, replaced and deleted by it alone.
"""

import hashlib
import math
import re
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from switch_acl_api.drivers.base import Count, Target
from switch_acl_api.grammar import WILDCARD_PORTS, Rule, RuleKey
from switch_acl_api.leases import Instant, remaining_s
from switch_acl_api.limits import MAX_HARD_TIMEOUT_S

# "^G": what the upper 16 bits of a cookie say. Not configurable: a rule must be found by whatever runs next.
COOKIE_TAG = 0x5E47
OUR_COOKIES = "cookie=0x{:04x}000000000000/0xffff000000000000".format(COOKIE_TAG)
# The highest but one: 65535 stays free for somebody's drop.
TOP_PRIORITY = 65534

# The switch prints milliseconds; its answer may have been on the way for a while.
_CLOCK_ERROR_S = 0.01
_ASKING_S = 1.0

_HEAD = re.compile(r"([a-z0-9_]+)=([^,\s]+)")
_SET = re.compile(r"set_field:([^,()]+)->([a-z0-9_]+)")
_CLONE = re.compile(r'clone\((set_field:[^()]*),output:"?([^,()"]+)"?\)')
_PORT = re.compile(r"\s*([0-9]+)\(([^)]+)\): addr:")


class Look(NamedTuple):
    """How mirrored frames look: ERSPAN type (2 or 3), session, and through which port of the bridge they leave."""

    port: str
    erspan_type: int = 2
    session: int = 1
    register: int = 15


class Shape(NamedTuple):
    """All of a flow but its counters and its age. ``in_port`` is empty for all ports."""

    priority: int
    in_port: str
    family: int
    source: str
    destination: str
    erspan_source: str
    erspan_destination: str
    look: Look


class Wanted(NamedTuple):
    """``lease_s`` is what is left of the lease, infinite where it has no end."""

    key: RuleKey
    cookie: int
    shape: Shape
    lease_s: float

    @property
    def timeout_s(self) -> int:
        """The flow's own hard timeout, in whole seconds and never before the lease's end; 0 is none."""
        return 0 if math.isinf(self.lease_s) else min(math.ceil(self.lease_s), MAX_HARD_TIMEOUT_S)


class Installed(NamedTuple):
    """A flow with our tag. ``shape`` ``None``: nothing we would install. ``left_s`` is infinite without an end."""

    cookie: int
    shape: Optional[Shape]
    counted: Count
    left_s: float


# --- rules to flows -------------------------------------------------------------------------------


def wanted_flows(targets: Sequence[Target], look: Look, now: Instant) -> List[Wanted]:
    """One flow per distinct rule with the longest of its leases; expired ones are left out.

    Rules that match the same packets stand below one another: as with iptables the first one takes them all.
    """
    leases: Dict[RuleKey, float] = {}
    rules: Dict[RuleKey, Rule] = {}
    for target in targets:
        lease_s = math.inf if target.acl.lease is None else remaining_s(target.acl.lease, now)
        if lease_s == 0:
            continue
        for rule in target.rules:
            rules.setdefault(rule.key, rule)
            leases[rule.key] = max(lease_s, leases.get(rule.key, 0.0))
    below: Dict[Tuple[int, str, str], int] = {}
    flows: List[Wanted] = []
    for key, rule in rules.items():
        pair = (rule.family, rule.source, rule.destination)
        rank = below.get(pair, 0)
        below[pair] = rank + 1
        shape = Shape(TOP_PRIORITY - rank, port_of(rule.port), *pair, *rule.erspan_pair, look)
        flows.append(Wanted(key, cookie_of(key, shape.priority), shape, leases[key]))
    return flows


def port_of(name: str) -> str:
    """The port of the bridge that a rule listens on; empty for all of them."""
    return "" if name in WILDCARD_PORTS else name


def cookie_of(key: RuleKey, priority: int) -> int:
    digest = hashlib.sha256(repr((key, priority)).encode("ascii")).digest()
    return (COOKIE_TAG << 48) | int.from_bytes(digest[:6], "big")


def add_line(flow: Wanted, ports: Dict[str, int]) -> str:
    """A line for ``ovs-ofctl --bundle add-flows``. Raises ``KeyError`` for a port the bridge does not have.

    In OpenFlow 1.2 and later an identical flow that is added again starts its timeout anew and keeps its counters.
    """
    shape = flow.shape
    names = ("ip", "nw_src", "nw_dst") if shape.family == 4 else ("ipv6", "ipv6_src", "ipv6_dst")
    words = ["add cookie=0x{:016x}".format(flow.cookie), "table=0", "priority={}".format(shape.priority)]
    if flow.timeout_s:
        words.append("hard_timeout={}".format(flow.timeout_s))
    if shape.in_port:
        words.append("in_port={}".format(ports[shape.in_port]))
    words += ["reg{}=0/0x80000000".format(shape.look.register), names[0]]
    words += ["{}={}".format(names[1], shape.source), "{}={}".format(names[2], shape.destination)]
    fields = ["set_field:{}->{}".format(value, field) for field, value in _tunnel(shape).items()]
    copy = "clone({},output:{})".format(",".join(fields), ports[shape.look.port])
    again = "load:1->NXM_NX_REG{}[31],resubmit(,0)".format(shape.look.register)
    return "{},actions={},{}".format(",".join(words), copy, again)


def delete_line(cookie: int) -> str:
    return "delete cookie=0x{:016x}/0xffffffffffffffff".format(cookie)


def _tunnel(shape: Shape) -> Dict[str, str]:
    """ERSPAN type II carries version 1 and an index, type III version 2 and a direction (0: as it came in)."""
    fields = {
        "tun_src": shape.erspan_source,
        "tun_dst": shape.erspan_destination,
        "tun_id": str(shape.look.session),
        "tun_erspan_ver": str(shape.look.erspan_type - 1),
    }
    if shape.look.erspan_type == 2:
        fields["tun_erspan_idx"] = "0"
    else:
        fields.update(tun_erspan_dir="0", tun_erspan_hwid="0")
    return fields


# --- flows to rules -------------------------------------------------------------------------------


def read_flows(text: str, register: int) -> List[Installed]:
    """``ovs-ofctl -O OpenFlow14 --names dump-flows``: the flows with our tag. Any text is survived."""
    found: List[Installed] = []
    for line in text.splitlines():
        head, separator, actions = line.strip().partition(" actions=")
        words = dict(_HEAD.findall(head))
        try:
            cookie = int(words["cookie"], 16)
            count = Count(int(words["n_packets"]), int(words["n_bytes"]))
            age_s = float(words.get("hard_age", words["duration"].rstrip("s")))
            timeout_s = int(words.get("hard_timeout", "0"))
        except (KeyError, ValueError):
            continue
        if separator and cookie >> 48 == COOKIE_TAG:
            shape = _shape(words, head, actions, register)
            found.append(Installed(cookie, shape, count, timeout_s - age_s if timeout_s else math.inf))
    return found


def _shape(words: Dict[str, str], head: str, actions: str, register: int) -> Optional[Shape]:
    clone = _CLONE.match(actions)
    again = ",load:0x1->NXM_NX_REG{}[31],resubmit(,0)".format(register)
    matched = "reg{}=0/0x80000000".format(register)
    if clone is None or actions[clone.end() :] != again or matched not in head or words.get("table") != "0":
        return None
    fields = {field: value for value, field in _SET.findall(clone.group(1))}
    family = 6 if "ipv6_src" in words else 4
    names = ("nw_src", "nw_dst") if family == 4 else ("ipv6_src", "ipv6_dst")
    try:
        look = Look(clone.group(2), int(fields["tun_erspan_ver"]) + 1, int(fields["tun_id"], 0), register)
        return Shape(
            int(words["priority"]),
            words.get("in_port", "").strip('"'),
            family,
            words[names[0]],
            words[names[1]],
            fields["tun_src"],
            fields["tun_dst"],
            look,
        )
    except (KeyError, ValueError):
        return None


def key_of(flow: Installed) -> Optional[RuleKey]:
    """The rule that this flow is; ``None`` when it is none of ours, or not any more."""
    shape = flow.shape
    if shape is None:
        return None
    for port in [shape.in_port] if shape.in_port else WILDCARD_PORTS:
        key = (shape.family, port, shape.source, shape.destination, shape.erspan_source, shape.erspan_destination)
        if cookie_of(key, shape.priority) == flow.cookie:
            return key
    return None


def read_ports(text: str) -> Dict[str, int]:
    """``ovs-ofctl show``: the ports of the bridge by name."""
    found = (_PORT.match(line) for line in text.splitlines())
    return {match.group(2): int(match.group(1)) for match in found if match}


# --- what is to be done ---------------------------------------------------------------------------


class Difference(NamedTuple):
    """``fresh`` are missing, ``stale`` there with the wrong end, ``gone`` cookies that nobody wants."""

    fresh: List[Wanted]
    stale: List[Wanted]
    gone: List[int]


def difference(wanted: Sequence[Wanted], installed: Sequence[Installed]) -> Difference:
    there = {flow.cookie: flow for flow in installed}
    result = Difference([], [], [])
    for flow in wanted:
        found = there.pop(flow.cookie, None)
        if found is None or found.shape != flow.shape:
            result.fresh.append(flow)
            # The same flow in another shape is another flow to the switch unless its match is the same.
            if found is not None and _match(found.shape) != _match(flow.shape):
                result.gone.append(found.cookie)
        elif not _ends_right(flow.lease_s, found.left_s):
            result.stale.append(flow)
    result.gone.extend(there)
    return result


def _match(shape: Optional[Shape]) -> Optional[Tuple[object, ...]]:
    return None if shape is None else (*shape[:5], shape.look.register)


def _ends_right(lease_s: float, left_s: float) -> bool:
    """Never before the lease, and not much later; what is capped may run down to its half.

    However short the lease, each renewal of it must reach the flow: only one that was not renewed is left alone, whose
    whole seconds end up to one later.
    """
    if math.isinf(lease_s) or math.isinf(left_s):
        return lease_s == left_s
    least = lease_s if lease_s <= MAX_HARD_TIMEOUT_S else MAX_HARD_TIMEOUT_S / 2
    return least - _CLOCK_ERROR_S <= left_s <= min(lease_s, MAX_HARD_TIMEOUT_S) + 1 + _ASKING_S
