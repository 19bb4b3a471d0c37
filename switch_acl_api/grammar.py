# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Policy lines to rules, strictly: what is not listed here is refused.

A rule reads ``-A FORWARD -i PORT -s HOST -d HOST -j ERSPAN --src-ip S --dst-ip D [--ttl N]``. Everything a line may
contain is spelt out, so that what this parser understood is what cl-acltool will understand: one spelling per option,
printable ASCII, dotted quads without leading zeros, no variables, no quotes, no lists, no negation.
"""

import functools
import ipaddress
import re
from typing import Callable, Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from switch_acl_api.errors import RuleError
from switch_acl_api.limits import MAX_BULK_NAMES, MAX_ERSPAN_PAIRS, MAX_LINE_CHARS, MAX_LINES

FAMILIES = {"[iptables]": 4, "[ip6tables]": 6}
WILDCARD_PORTS = ("swp+", "bond+")

_PRINTABLE = re.compile(r"[\t\x20-\x7e]*\Z")
_NUMBER = re.compile(r"[1-9][0-9]{0,2}\Z")
_IPV6_TEXT = re.compile(r"[0-9A-Fa-f:]{2,39}\Z")
_MATCHES = {"-i": "port", "--in-interface": "port", "-s": "source", "-d": "destination"}
_TARGET = {"--src-ip": "erspan_source", "--dst-ip": "erspan_destination", "--ttl": "ttl"}

RuleKey = Tuple[int, str, str, str, str, str]


class Rule(NamedTuple):
    """One ERSPAN rule. Addresses are in canonical text; ``line`` counts from 1."""

    line: int
    family: int
    port: str
    source: str
    destination: str
    erspan_source: str
    erspan_destination: str
    ttl: Optional[int]

    @property
    def key(self) -> RuleKey:
        """What tells this rule in a listing of the data plane, which says nothing of ttl."""
        return (self.family, self.port, self.source, self.destination, self.erspan_source, self.erspan_destination)

    @property
    def erspan_pair(self) -> Tuple[str, str]:
        return (self.erspan_source, self.erspan_destination)


class Site(NamedTuple):
    """What this switch allows. ``own`` are its addresses, ``broadcasts`` those of its connected networks.

    ``erspan_sources`` ``None``: any. ``objection`` is the data plane's own word: the token at fault and the reason.
    """

    erspan_destinations: FrozenSet[str]
    ports: FrozenSet[str] = frozenset(WILDCARD_PORTS)
    own: FrozenSet[str] = frozenset()
    broadcasts: FrozenSet[str] = frozenset()
    ipv6: bool = False
    loopback_mirror: bool = False
    erspan_sources: Optional[FrozenSet[str]] = None
    objection: Callable[[Rule], Optional[Tuple[str, str]]] = lambda _: None


def parse_rules(lines: Sequence[object], site: Site) -> List[Rule]:
    """Read and judge. Raises ``RuleError`` for the first line that is not allowed."""
    rules = read_rules(lines)
    for rule in rules:
        _judge(rule, site)
    pairs: Dict[Tuple[str, str], None] = {}
    for rule in rules:
        pairs[rule.erspan_pair] = None
        if len(pairs) > MAX_ERSPAN_PAIRS:
            raise RuleError(
                rule.line,
                rule.erspan_destination,
                "a third distinct pair of --src-ip and --dst-ip; hardware has {}".format(MAX_ERSPAN_PAIRS),
            )
    return rules


def read_rules(lines: Sequence[object]) -> List[Rule]:
    """Syntax alone. Raises ``RuleError``."""
    if len(lines) > MAX_LINES:
        raise RuleError(MAX_LINES + 1, "", "more than {} lines".format(MAX_LINES))
    rules: List[Rule] = []
    family: Optional[int] = None
    for number, line in enumerate(lines, 1):
        text = _text_of(number, line)
        if not text or text.startswith("#"):
            continue
        if text.startswith("["):
            if text not in FAMILIES:
                raise RuleError(number, text[:40], "unknown section, expected {}".format(" or ".join(sorted(FAMILIES))))
            family = FAMILIES[text]
            continue
        if family is None:
            raise RuleError(number, text.split()[0][:40], "a rule before any section such as [iptables]")
        rules.append(_read_rule(number, text.split(), family))
    return rules


@functools.lru_cache(maxsize=MAX_BULK_NAMES)
def rules_of_file(lines: Tuple[str, ...]) -> Tuple[Rule, ...]:
    """``read_rules`` of a file that stands: each commit asks for all of them again. Raises ``RuleError``."""
    return tuple(read_rules(lines))


def erspan_pairs(rules: Iterable[Rule]) -> FrozenSet[Tuple[str, str]]:
    return frozenset(rule.erspan_pair for rule in rules)


def _text_of(number: int, line: object) -> str:
    if not isinstance(line, str):
        raise RuleError(number, "", "not a text")
    if len(line) > MAX_LINE_CHARS:
        raise RuleError(number, "", "longer than {} characters".format(MAX_LINE_CHARS))
    if _PRINTABLE.match(line) is None:
        raise RuleError(number, "", "a character that is not printable ASCII")
    return line.strip(" \t")


def _read_rule(number: int, tokens: List[str], family: int) -> Rule:
    if tokens[0] != "-A":
        raise RuleError(number, tokens[0][:40], "a rule begins with -A FORWARD")
    if len(tokens) < 2 or tokens[1] != "FORWARD":
        raise RuleError(number, tokens[1][:40] if len(tokens) > 1 else "-A", "the only chain is FORWARD")
    values = _options(number, tokens[2:])
    missing = [name for name in ("-i", "-s", "-d") if _MATCHES[name] not in values]
    if "target" not in values:
        missing.append("-j ERSPAN")
    missing += [name for name in ("--src-ip", "--dst-ip") if _TARGET[name] not in values]
    if missing:
        raise RuleError(number, missing[0], "missing")
    ttl = values.get("ttl")
    if ttl is not None and (_NUMBER.match(ttl) is None or int(ttl) > 255):
        raise RuleError(number, ttl[:40], "a ttl is 1 to 255")
    return Rule(
        line=number,
        family=family,
        port=values["port"],
        source=_host(number, values["source"], family),
        destination=_host(number, values["destination"], family),
        erspan_source=_address(number, values["erspan_source"], 4),
        erspan_destination=_address(number, values["erspan_destination"], 4),
        ttl=None if ttl is None else int(ttl),
    )


def _options(number: int, tokens: List[str]) -> Dict[str, str]:
    """Each option once, with its value; those of the target only behind ``-j ERSPAN``, matches only before it."""
    values: Dict[str, str] = {}
    position = 0
    while position < len(tokens):
        option = tokens[position]
        known = _TARGET if "target" in values else _MATCHES
        name = "target" if option == "-j" else known.get(option)
        if name is None:
            raise RuleError(number, option[:40], _why_unknown(option, "target" in values))
        if name in values:
            raise RuleError(number, option, "given twice")
        if position + 1 == len(tokens):
            raise RuleError(number, option, "without a value")
        value = tokens[position + 1]
        if name == "target" and value != "ERSPAN":
            raise RuleError(number, value[:40], "the only target is ERSPAN")
        values[name] = value
        position += 2
    return values


def _why_unknown(option: str, behind_target: bool) -> str:
    if option == "!":
        return "negation is not supported"
    if option in _TARGET:
        return "belongs behind -j ERSPAN"
    if option in _MATCHES and behind_target:
        return "belongs before -j ERSPAN"
    return "not allowed; a rule has -i, -s, -d, -j ERSPAN, --src-ip, --dst-ip, --ttl"


def _host(number: int, text: str, family: int) -> str:
    suffix = "/32" if family == 4 else "/128"
    address, slash, length = text.partition("/")
    if slash and "/" + length != suffix:
        raise RuleError(number, text[:60], "one host only: {} or no length".format(suffix))
    return _address(number, address, family)


def _address(number: int, text: str, family: int) -> str:
    """Canonical text. An IPv4 address has one spelling only: tools disagree about leading zeros."""
    try:
        if family == 4:
            canonical = str(ipaddress.IPv4Address(text))
            if canonical == text:
                return canonical
        elif _IPV6_TEXT.match(text) is not None:
            return str(ipaddress.IPv6Address(text))
    except ValueError:
        pass
    raise RuleError(number, text[:60], "not an IPv{} address".format(family))


def _judge(rule: Rule, site: Site) -> None:
    if rule.family == 6 and not site.ipv6:
        raise RuleError(rule.line, "[ip6tables]", "this switch cannot mirror IPv6")
    if rule.port not in site.ports and rule.port not in WILDCARD_PORTS:
        allowed = ", ".join(sorted(site.ports.union(WILDCARD_PORTS)))
        raise RuleError(rule.line, rule.port[:40], "not among the ports: {}".format(allowed[:200]))
    if rule.erspan_destination not in site.erspan_destinations:
        raise RuleError(rule.line, rule.erspan_destination, "not among erspan_destinations")
    reason = _no_unicast(rule.erspan_source, site.loopback_mirror)
    if reason:
        raise RuleError(rule.line, rule.erspan_source, "--src-ip is {}".format(reason))
    if site.erspan_sources is not None and rule.erspan_source not in site.erspan_sources:
        raise RuleError(rule.line, rule.erspan_source, "--src-ip is not among erspan_sources")
    if rule.source == rule.destination:
        raise RuleError(rule.line, rule.destination, "both hosts are the same")
    for host in (rule.source, rule.destination):
        reason = _why_no_host(host, rule, site)
        if reason:
            raise RuleError(rule.line, host, reason)
    objection = site.objection(rule)
    if objection is not None:
        raise RuleError(rule.line, *objection)


def _why_no_host(host: str, rule: Rule, site: Site) -> str:
    if host in site.erspan_destinations:
        return "is an ERSPAN destination: its mirror would mirror itself"
    if host == rule.erspan_source:
        return "is the rule's own --src-ip"
    if host in site.own:
        return "is an address of this switch"
    if host in site.broadcasts:
        return "is a broadcast address"
    reason = _no_unicast(host, loopback_allowed=False)
    return "is {}".format(reason) if reason else ""


def _no_unicast(text: str, loopback_allowed: bool) -> str:
    """Why this is not one host's address; empty when it is."""
    address = ipaddress.ip_address(text)
    if address.is_multicast:
        return "multicast"
    if address.is_loopback and not loopback_allowed:
        return "loopback"
    if isinstance(address, ipaddress.IPv6Address):
        if address.is_unspecified:
            return "unspecified"
        return "an IPv4 address in IPv6 clothes" if address.ipv4_mapped is not None else ""
    if text == "255.255.255.255":
        return "broadcast"
    # RFC 1122, section 3.2.1.3: 0/8 is "this network", never a destination.
    return "unspecified" if address.packed[0] == 0 else ""
