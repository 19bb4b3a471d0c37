# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The linux driver's table: rules to scripts, listings to rules, and nothing but our own table in any script."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switch_acl_api.drivers.linux.nft_table import (
    ABSENT,
    Element,
    Group,
    Mirror,
    Pair,
    Port,
    Table,
    Wanted,
    group_of,
    group_of_set,
    groups_of,
    pairs_of,
    plan,
    plan_ports,
    ports_of,
    read_table,
)
from switch_acl_api.grammar import read_rules
from tests.support.shim_world import rule

MIRROR = Mirror("10.9.0.1", "10.9.0.2", 64)
WIDE, NARROW = Group("swp+", MIRROR), Group("swp1", Mirror("10.9.0.1", "10.9.0.2", 9))
PAIR = ("10.1.1.2", "10.1.2.2")
SWP1, SWP2 = Port("swp1", 7, ("swp1",)), Port("swp2", 8, ("swp2",))


def listing(script: str) -> str:
    """What nft would list after ``script`` on an empty table: enough of its grammar for the scripts we write."""
    sets: dict[str, dict[str, Any]] = {}
    chains: dict[str, list[Any]] = {}
    for line in script.splitlines():
        words = line.split(" netdev switch_acl_api ", 1)
        verb, rest = words[0], words[1] if len(words) == 2 else ""
        name, _, body = rest.partition(" ")
        if verb == "add set":
            sets[name] = {}
        elif verb == "add chain":
            chains[name] = []
        elif verb == "flush chain":
            chains[name].clear()
        elif verb in {"delete chain", "delete set"}:
            (chains if verb == "delete chain" else sets).pop(name)
        elif verb == "add element":
            sets[name].update({text.split(" timeout ")[0]: text for text in body.strip("{ }").split(", ")})
        elif verb == "delete element":
            for text in body.strip("{ }").split(", "):
                del sets[name][text]
        elif verb == "add rule":
            chains[name].append(_rule(body))
        else:
            assert line == "add table netdev switch_acl_api", line
    rows: list[Any] = [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "netdev", "name": "switch_acl_api"}}]
    rows += [{"set": {"name": name, "elem": [_element(t) for t in texts.values()]}} for name, texts in sets.items()]
    rows += [{"chain": {"name": name}} for name in chains]
    rows += [{"rule": {"chain": name, "expr": each}} for name, rules in chains.items() for each in rules]
    return json.dumps({"nftables": rows})


def _rule(body: str) -> list[Any]:
    if body.startswith("jump "):
        return [{"jump": {"target": body[5:]}}]
    sets = [word for word in body.split() if word.startswith("@")]
    device = body.split('"')[1]
    return [*({"match": {"op": "==", "right": name}} for name in sets), {"dup": {"addr": device}}, {"accept": None}]


def _element(text: str) -> Any:
    pair, _, timeout = text.partition(" timeout ")
    value: dict[str, Any] = {"val": {"concat": pair.split(" . ")}}
    if timeout:
        seconds = int(timeout.split("s")[0])
        value.update(timeout=seconds, expires=seconds)
    return {"elem": value}


def after(script: str) -> Table:
    return read_table(listing(script))


def test_names_say_what_they_are_and_fit_the_kernel() -> None:
    assert WIDE.leases(4) == "v4/swp/any/10.9.0.1/10.9.0.2/64"
    assert [group_of_set(g.leases(6)) for g in (WIDE, NARROW)] == [WIDE, NARROW]
    assert group_of_set(NARROW.counters(4)) == NARROW
    assert group_of_set("theirs") is None
    assert len(MIRROR.device) == len(MIRROR.far_device) == 12
    assert MIRROR.device != NARROW.mirror.device
    assert 1 <= MIRROR.session <= 1023


def test_a_rule_without_ttl_has_the_usual_one() -> None:
    (found,) = read_rules(["[iptables]", rule("10.1.1.2")])
    assert group_of(found).mirror.ttl == 64
    assert group_of(found._replace(ttl=9)).mirror.ttl == 9


def test_the_script_for_one_pair() -> None:
    script = plan({WIDE: {4: {PAIR: 60.0}}}, ABSENT, [SWP1], [("sab-1", 9)])
    assert script.splitlines()[0] == "add table netdev switch_acl_api"
    assert (
        "add rule netdev switch_acl_api mirror/swp/any/10.9.0.1/10.9.0.2/64 "
        "ip saddr . ip daddr @v4/swp/any/10.9.0.1/10.9.0.2/64 ip saddr . ip daddr @c4/swp/any/10.9.0.1/10.9.0.2/64 "
        f'dup to "{MIRROR.device}" accept'
    ) in script
    assert 'port/swp1/7 { type filter hook ingress device "swp1" priority -500; policy accept; }' in script
    assert 'drain/sab-1/9 { type filter hook ingress device "sab-1" priority -500; policy drop; }' in script
    assert "{ 10.1.1.2 . 10.1.2.2 timeout 61s0ms }" in script


def test_what_is_there_already_is_left_alone() -> None:
    wanted: Wanted = {WIDE: {4: {PAIR: 60.0}, 6: {("fd00::1", "fd00::2"): None}}}
    table = after(plan(wanted, ABSENT, [SWP1, SWP2], []))
    assert plan(wanted, table, [SWP1, SWP2], []) == ""
    assert set(pairs_of(WIDE, 4, table)) == {PAIR}
    assert pairs_of(WIDE, 6, table)["fd00::1", "fd00::2"].left_s is None


def test_a_renewal_replaces_leases_in_one_transaction_and_nothing_else() -> None:
    table = after(plan({WIDE: {4: {PAIR: 60.0}}}, ABSENT, [SWP1], []))
    assert plan({WIDE: {4: {PAIR: 90.0}}}, table, [SWP1], []).splitlines() == [
        f"delete element netdev switch_acl_api {WIDE.leases(4)} {{ 10.1.1.2 . 10.1.2.2 }}",
        f"add element netdev switch_acl_api {WIDE.leases(4)} {{ 10.1.1.2 . 10.1.2.2 timeout 91s0ms }}",
    ]


def test_a_pair_the_kernel_has_forgotten_is_added_and_keeps_its_counter() -> None:
    table = after(plan({WIDE: {4: {PAIR: 60.0}}}, ABSENT, [SWP1], []))
    table.sets[WIDE.leases(4)].clear()
    table.sets[WIDE.counters(4)][PAIR] = Element(7, 700, None)
    assert pairs_of(WIDE, 4, table) == {}
    assert plan({WIDE: {4: {PAIR: 60.0}}}, table, [SWP1], []).count("element") == 1
    again = Table(True, {**table.sets, WIDE.leases(4): {PAIR: Element(0, 0, 60)}}, table.rules)
    assert pairs_of(WIDE, 4, again) == {PAIR: Element(7, 700, 60)}


def test_nothing_wanted_is_no_table() -> None:
    table = after(plan({WIDE: {4: {PAIR: 60.0}}}, ABSENT, [SWP1], []))
    assert plan({}, table, [SWP1], []) == "delete table netdev switch_acl_api\n"
    assert plan({}, ABSENT, [SWP1], []) == ""


@pytest.mark.parametrize(
    "damage",
    [
        [],
        [[{"match": {"right": "@" + WIDE.leases(4)}}, {"dup": {"addr": "elsewhere"}}, {"accept": None}]],
        [[{"match": {"right": "@" + WIDE.leases(4)}}, {"dup": {"addr": MIRROR.device}}]],
        [[{"accept": None}], [{"weird": [1, 2]}], ["text"]],
    ],
)
def test_a_chain_that_is_not_ours_any_more_mirrors_nothing_and_is_written_anew(damage: list[list[Any]]) -> None:
    wanted: Wanted = {WIDE: {4: {PAIR: 60.0}}}
    table = after(plan(wanted, ABSENT, [SWP1], []))
    table.rules[WIDE.chain][:] = damage
    assert pairs_of(WIDE, 4, table) == {}
    script = plan(wanted, table, [SWP1], [])
    assert script.startswith(f"flush chain netdev switch_acl_api {WIDE.chain}\nadd rule")


def test_a_port_made_anew_gets_a_chain_anew() -> None:
    wanted: Wanted = {WIDE: {4: {PAIR: 60.0}}}
    table = after(plan(wanted, ABSENT, [SWP1, SWP2], []))
    lines = plan_ports([WIDE], table, [SWP1._replace(ifindex=17), SWP2], [])
    assert lines[0].startswith("add chain netdev switch_acl_api port/swp1/17 ")
    assert lines[-1] == "delete chain netdev switch_acl_api port/swp1/7"
    assert not any("swp2" in line for line in lines)


def test_a_port_jumps_to_every_group_that_names_it() -> None:
    table = after(plan({WIDE: {}, NARROW: {}}, ABSENT, [SWP1, SWP2, Port("eth0", 3, ("eth0",))], []))
    jumps = {name: len(rules) for name, rules in table.rules.items() if name.startswith("port/")}
    assert jumps == {"port/swp1/7": 2, "port/swp2/8": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"nftables": 5}',
        '{"nftables": [{"set": {}}]}',
        '{"nftables": [{"set": {"name": "x", "elem": [1]}}]}',
        '{"nftables": [{"set": {"name": "x", "elem": [{"elem": {"val": {"concat": ["a", "b"]}}}]}}]}',
        '{"nftables": [{"rule": {"chain": "x"}}]}',
    ],
)
def test_a_listing_of_something_else_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_table(text)


def test_a_listing_of_nftables_1_0_6_is_read() -> None:
    element = {"val": {"concat": ["10.1.1.2", "10.1.2.2"]}, "timeout": 61, "expires": 59}
    counted = {"val": {"concat": ["10.1.1.2", "10.1.2.2"]}, "counter": {"packets": 7, "bytes": 700}}
    rows = [
        {"set": {"family": "netdev", "name": WIDE.leases(4), "flags": ["timeout"], "elem": [{"elem": element}]}},
        {"set": {"name": WIDE.counters(4), "elem": [{"elem": counted}], "stmt": [{"counter": None}]}},
        {"set": {"name": WIDE.leases(6)}},
    ]
    table = read_table(json.dumps({"nftables": rows}))
    assert table.sets[WIDE.leases(4)] == {PAIR: Element(0, 0, 59)}
    assert table.sets[WIDE.counters(4)] == {PAIR: Element(7, 700, None)}
    assert groups_of(table) == [WIDE]


# --- ports -------------------------------------------------------------------------------------------


def device(index: int, name: str, master: str = "", slave_kind: str = "") -> dict[str, Any]:
    row: dict[str, Any] = {"ifindex": index, "ifname": name}
    if master:
        row.update(master=master, linkinfo={"info_slave_kind": slave_kind})
    return row


def test_ports_are_what_the_patterns_name_and_never_our_own_devices() -> None:
    rows = [device(1, "lo"), device(2, "swp2"), device(3, "swp1"), device(4, "eth0"), device(5, "saa-12345678")]
    assert ports_of(json.dumps(rows), ["swp+"]) == [Port("swp1", 3, ("swp1",)), Port("swp2", 2, ("swp2",))]
    assert [p.device for p in ports_of(json.dumps(rows), ["s+", "l+", "eth0"])] == ["eth0", "swp1", "swp2"]


def test_a_member_of_a_bond_stands_for_the_bond_so_that_no_frame_is_copied_twice() -> None:
    rows = [
        device(2, "swp1", "bond1", "bond"),
        device(3, "swp2", "br0", "bridge"),
        device(4, "bond1"),
        device(5, "br0"),
    ]
    expected = [Port("swp1", 2, ("swp1", "bond1")), Port("swp2", 3, ("swp2",))]
    assert ports_of(json.dumps(rows), ["swp+", "bond+"]) == expected
    assert ports_of(json.dumps(rows), ["bond1"]) == expected[:1]


@pytest.mark.parametrize("text", ["", "{}", "5"])
def test_no_list_of_devices_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ports_of(text, ["swp+"])


def test_devices_with_names_that_could_break_a_script_are_no_ports() -> None:
    rows = [device(2, 'swp"; drop'), device(3, "swp{}"), {"ifname": "swp4", "ifindex": 4}, 5]
    assert [port.device for port in ports_of(json.dumps(rows), ["swp+"])] == ["swp4"]


# --- properties --------------------------------------------------------------------------------------

_addresses = st.ip_addresses(v=4).map(str)
_pairs: st.SearchStrategy[Pair] = st.tuples(_addresses, _addresses)
_leases = st.one_of(st.none(), st.floats(0, 31_622_400))
_wanted = st.dictionaries(
    st.sampled_from([WIDE, NARROW]), st.dictionaries(st.sampled_from([4]), st.dictionaries(_pairs, _leases))
)
_ports = st.lists(st.sampled_from([SWP1, SWP2, Port("swp1", 17, ("swp1",))]), unique_by=lambda port: port.device)


@given(_wanted, _wanted, _ports, _ports)
def test_any_state_is_led_to_any_other_in_one_script(
    before: Wanted, wanted: Wanted, ports: list[Port], new_ports: list[Port]
) -> None:
    """Invariant: after the script the table has exactly what is wanted, and a second one is empty."""
    first = plan(before, ABSENT, ports, [])
    table = after(first) if before else ABSENT
    script = plan(wanted, table, new_ports, [])
    if not wanted:
        assert script == ("delete table netdev switch_acl_api\n" if before else "")
        return
    reached = after(first + script)
    assert plan(wanted, reached, new_ports, []) == ""
    for group, families in wanted.items():
        assert set(pairs_of(group, 4, reached)) == set(families.get(4, {}))
    assert groups_of(reached) == sorted(wanted)
    assert all(" netdev switch_acl_api" in line for line in script.splitlines())
