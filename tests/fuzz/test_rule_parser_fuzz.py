# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Any text gives rules or ``RuleError``; any file is ours or expired; any output of the tool is survived."""

import json
import random
import tempfile

from hypothesis import given
from hypothesis import strategies as st

from switch_acl_api.config import parse_settings
from switch_acl_api.drivers.cumulus.listing import error_text, find_blame, parse_listing
from switch_acl_api.drivers.emulated.frames import addresses_of, split_datagram
from switch_acl_api.errors import RuleError
from switch_acl_api.grammar import Rule, Site, parse_rules
from switch_acl_api.leases import Instant, expired
from switch_acl_api.policy import PolicyDir
from switch_acl_api.tools import output_lines
from tests.support.shim_world import rule

SITE = Site(frozenset({"10.0.0.70"}), ipv6=True)
WORDS = [
    "-A", "FORWARD", "-i", "--in-interface", "swp+", "-s", "-d", "10.0.0.1", "10.0.0.2/32", "0/0", "-j", "ERSPAN",
    "--src-ip", "--dst-ip", "10.0.0.70", "--ttl", "64", "[iptables]", "[ip6tables]", "#", "!", "$X", ";", "`", "\\",
]  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def parse(lines: list[object]) -> None:
    try:
        rules = parse_rules(lines, SITE)
    except RuleError as error:
        assert 1 <= error.line <= max(len(lines), 1)
        assert error.reason
        json.dumps([error.token, error.reason])
    else:
        assert all(isinstance(rule, Rule) for rule in rules)


@given(st.lists(anything))
def test_any_json_array(lines: list[object]) -> None:
    parse(lines)


@given(st.lists(st.text(max_size=400)))
def test_any_text(lines: list[object]) -> None:
    parse(["[iptables]", *lines])


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=18).map(" ".join)))
def test_the_grammars_own_words_in_any_order(lines: list[object]) -> None:
    parse(["[iptables]", *lines])


def test_a_good_line_cut_and_bent_at_every_place() -> None:
    line = rule("10.0.0.10")
    rng = random.Random(1)
    for place in range(len(line) + 1):
        parse(["[iptables]", line[:place]])
        parse(["[iptables]", line[place:]])
        parse(["[iptables]", line[:place] + chr(rng.randrange(1, 0x2000)) + line[place + 1 :]])


@given(st.binary(max_size=400), st.booleans())
def test_any_file_of_ours_has_an_end(content: bytes, headed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        policy = PolicyDir(folder + "/p", folder + "/s")
        policy.prepare()
        policy.file_of("x").write_bytes(b"# switch-acl-api " * headed + content)
        (found,) = policy.acls().values()
        assert found.lease is not None
        assert expired(found.lease, Instant("this boot", 1.0))


@given(st.text())
def test_any_output_of_the_tool(text: str) -> None:
    parse_listing(text)
    lines = output_lines(text)
    find_blame(lines)
    error_text(lines)
    assert all(line.isprintable() for line in lines)


@given(st.binary(max_size=200))
def test_any_frame(data: bytes) -> None:
    split_datagram(data)
    addresses_of(data)


@given(
    st.dictionaries(
        st.sampled_from(["listen", "auth", "driver", "ports", "max_rules", "default_ttl", "cumulus", "x"]), anything
    )
)
def test_any_settings_give_findings(table: dict[str, object]) -> None:
    parse_settings(table)
