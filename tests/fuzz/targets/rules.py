# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The shim's rule grammar, its files and its tool's words: any text gives rules or an allowed error.

The first octet says what the rest is: lines of a policy, a JSON array of them, output of the tool, a frame, or a file
of ours. A policy that was accepted, spelt out again from what was understood, is understood the same.
Allowed: ``RuleError``, which names a line.
"""

import json

from switch_acl_api.drivers.cumulus.listing import error_text, find_blame, parse_listing
from switch_acl_api.drivers.emulated.frames import addresses_of, split_datagram
from switch_acl_api.errors import RuleError
from switch_acl_api.grammar import Rule, parse_rules
from switch_acl_api.tools import output_lines
from tests.fuzz.test_rule_parser_fuzz import SITE, parse
from tests.fuzz.test_rule_parser_fuzz import WORDS as TEXT_WORDS
from tests.support.mirroring import ethernet
from tests.support.shim_world import rule

_MORE_WORDS = ("-A FORWARD ", " -j ERSPAN ", "2001:db8::1/128", "bond+", "255", "256")
WORDS = [word.encode() for word in (*TEXT_WORDS, *_MORE_WORDS)]
LINES, JSON, OUTPUT, FRAME = range(4)


def one(data: bytes) -> None:
    kind, rest = data[0] & 3 if data else 0, data[1:]
    text = rest.decode("utf-8", "replace")
    if kind == LINES:
        _policy(list(text.split("\n")))
    elif kind == JSON:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return
        _policy(value if isinstance(value, list) else [value])
    elif kind == OUTPUT:
        parse_listing(text)
        lines = output_lines(text)
        find_blame(lines)
        error_text(lines)
        assert all(line.isprintable() for line in lines)
    else:
        split_datagram(rest)
        addresses_of(rest)


def _policy(lines: list[object]) -> None:
    parse(lines)
    try:
        rules = parse_rules(lines, SITE)
    except RuleError:
        return
    for each in rules:
        (again,) = parse_rules(["[iptables]" if each.family == 4 else "[ip6tables]", _spelt(each)], SITE)
        assert again == each._replace(line=2)


def _spelt(each: Rule) -> str:
    ttl = f" --ttl {each.ttl}" if each.ttl is not None else ""
    target = f"--src-ip {each.erspan_source} --dst-ip {each.erspan_destination}{ttl}"
    return f"-A FORWARD -i {each.port} -s {each.source} -d {each.destination} -j ERSPAN {target}"


def seeds() -> list[bytes]:
    good = ["[iptables]", rule("10.0.0.10"), "# a comment", rule("10.0.0.11/32") + " --ttl 64", "[ip6tables]"]
    good.append(rule("2001:db8::5", "2001:db8::9/128", port="bond+"))
    listing = (
        "Chain FORWARD (policy ACCEPT 0 packets, 0 bytes)\n pkts bytes target prot opt in out source destination\n"
    )
    listing += "  12 3400 ERSPAN all -- swp+ any 10.0.0.10 198.51.100.7 ERSPAN src-ip:10.0.0.253 dst-ip:10.0.0.70\n"
    values: list[object] = [good, [good], [1, None, {}], {}]
    return [
        *(bytes((LINES,)) + "\n".join(good[:count]).encode() for count in range(len(good) + 1)),
        *(bytes((JSON,)) + json.dumps(value).encode() for value in values),
        bytes((OUTPUT,)) + listing.encode(),
        bytes((OUTPUT,)) + b"error: line 3 : bad rule\n\x1b[31mfailed\n",
        bytes((FRAME,)) + ethernet(vlans=(5,)),
        bytes((FRAME,)) + ethernet("2001:db8::1", "2001:db8::2"),
    ]
