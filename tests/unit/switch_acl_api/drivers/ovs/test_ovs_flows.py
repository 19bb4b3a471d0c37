# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Rules to flows and back, and what is to be done about the difference."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switch_acl_api.drivers.base import Count, Target
from switch_acl_api.drivers.ovs.flows import (
    COOKIE_TAG,
    TOP_PRIORITY,
    Installed,
    Look,
    Wanted,
    add_line,
    delete_line,
    difference,
    key_of,
    read_flows,
    read_ports,
    wanted_flows,
)
from switch_acl_api.drivers.ovs.reach import Way, read_neighbours, read_way
from switch_acl_api.drivers.ovs.tools import rows_of
from switch_acl_api.grammar import read_rules
from switch_acl_api.leases import Deadline, Instant
from switch_acl_api.policy import Acl

LOOK = Look("erspan-acl")
NOW = Instant("boot", 1000.0)
PORTS = {"swp1": 1, "swp2": 2, "erspan-acl": 3}
A, B, C = "10.1.0.10", "198.51.100.7", "198.51.100.9"


def line(source: str = A, destination: str = B, port: str = "swp+") -> str:
    return f"-A FORWARD -i {port} -s {source} -d {destination} -j ERSPAN --src-ip 10.9.0.1 --dst-ip 10.9.0.2"


def target(*lines: str, left_s: float | None = 60.0, name: str = "one", section: str = "[iptables]") -> Target:
    lease = None if left_s is None else Deadline("boot", NOW.at + left_s)
    texts = (section, *lines)
    return Target(Acl(name, "me", texts, lease, "nonce"), tuple(read_rules(texts)))


def wanted(*targets: Target, look: Look = LOOK) -> list[Wanted]:
    return wanted_flows(targets, look, NOW)


def printed(flow: Wanted, *, packets: int = 0, age_s: float = 0.0, **changes: Any) -> str:
    """The line as ovs-ofctl 3.1.0 prints it with -O OpenFlow14 --names; taken from a real switch."""
    shape, look = flow.shape, flow.shape.look
    names = ("ip", "nw_src", "nw_dst") if shape.family == 4 else ("ipv6", "ipv6_src", "ipv6_dst")
    in_port = f'in_port="{shape.in_port}",' if shape.in_port else ""
    timeout = f"hard_timeout={flow.timeout_s}, " if flow.timeout_s else ""
    extra = "set_field:0->tun_erspan_idx" if look.erspan_type == 2 else (
        "set_field:0->tun_erspan_dir,set_field:0x0->tun_erspan_hwid"
    )  # fmt: skip
    text = (
        f" cookie=0x{flow.cookie:x}, duration={age_s:g}s, table=0, n_packets={packets}, n_bytes={packets * 98}, "
        f"{timeout}priority={shape.priority},{names[0]},reg{look.register}=0/0x80000000,{in_port}"
        f"{names[1]}={shape.source},{names[2]}={shape.destination} "
        f"actions=clone(set_field:{shape.erspan_source}->tun_src,set_field:{shape.erspan_destination}->tun_dst,"
        f"set_field:0x{look.session:x}->tun_id,set_field:{look.erspan_type - 1}->tun_erspan_ver,{extra},"
        f'output:"{look.port}"),load:0x1->NXM_NX_REG{look.register}[31],resubmit(,0)'
    )
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def there(*flows: Wanted, **options: Any) -> list[Installed]:
    return read_flows("\n".join(printed(flow, **options) for flow in flows), LOOK.register)


def test_a_flow_copies_the_frame_as_it_came_and_leaves_forwarding_as_it_was() -> None:
    [flow] = wanted(target(line()))
    assert add_line(flow, PORTS) == (
        f"add cookie=0x{flow.cookie:016x},table=0,priority=65534,hard_timeout=60,reg15=0/0x80000000,"
        "ip,nw_src=10.1.0.10,nw_dst=198.51.100.7,"
        "actions=clone(set_field:10.9.0.1->tun_src,set_field:10.9.0.2->tun_dst,set_field:1->tun_id,"
        "set_field:1->tun_erspan_ver,set_field:0->tun_erspan_idx,output:3),load:1->NXM_NX_REG15[31],resubmit(,0)"
    )
    assert flow.cookie >> 48 == COOKIE_TAG
    assert delete_line(flow.cookie) == f"delete cookie=0x{flow.cookie:x}/0xffffffffffffffff"


def test_ports_families_types_and_registers() -> None:
    look = Look("erspan-acl", 3, 77, 9)
    [four] = wanted(target(line(port="swp2")), look=look)
    [six] = wanted(target(line("2001:db8::1", "2001:db8::2", "bond+"), section="[ip6tables]"), look=look)
    assert ",in_port=2,reg9=0/0x80000000,ip,nw_src=" in add_line(four, PORTS)
    assert "hard_timeout=60,reg9=0/0x80000000,ipv6,ipv6_src=2001:db8::1,ipv6_dst=2001:db8::2," in add_line(six, PORTS)
    assert "set_field:2->tun_erspan_ver,set_field:0->tun_erspan_dir,set_field:0->tun_erspan_hwid" in add_line(
        six, PORTS
    )
    assert "set_field:77->tun_id" in add_line(six, PORTS)
    with pytest.raises(KeyError):
        add_line(four, {"erspan-acl": 3})


def test_the_lease_is_the_flow_s_own_timeout() -> None:
    def timeouts(*left_s: float | None) -> list[int]:
        targets = [target(line(destination=f"192.0.2.{n}"), left_s=s, name=f"n{n}") for n, s in enumerate(left_s, 1)]
        return [flow.timeout_s for flow in wanted(*targets)]

    assert timeouts(60.0, 0.2, 65_535.0, 70_000.0, 400_000.0, None) == [60, 1, 65_535, 65_535, 65_535, 0]
    assert timeouts(0.0, -5.0) == []
    other_boot = target(line())
    assert wanted(other_boot._replace(acl=other_boot.acl._replace(lease=Deadline("other", 9e9)))) == []


def test_the_same_rule_twice_is_one_flow_with_the_longer_lease() -> None:
    both = wanted(target(line(), left_s=5, name="a"), target(line(), left_s=50, name="b"))
    assert [flow.timeout_s for flow in both] == [50]
    [forever] = wanted(target(line(), left_s=5, name="a"), target(line(), left_s=None, name="b"))
    assert forever.timeout_s == 0


def test_what_matches_the_same_packets_stands_in_the_order_of_the_files() -> None:
    flows = wanted(target(line(port="swp1"), line(port="swp+"), line(destination=C)))
    assert [flow.shape.priority for flow in flows] == [TOP_PRIORITY, TOP_PRIORITY - 1, TOP_PRIORITY]
    assert len({flow.cookie for flow in flows}) == 3


def test_flows_are_read_back_as_the_rules_they_are() -> None:
    flows = [
        *wanted(target(line(port="swp1"), line(port="swp+"), line(B, A, "bond+"))),
        *wanted(target(line("2001:db8::1", "2001:db8::2"), section="[ip6tables]")),
    ]
    found = there(*flows, packets=7, age_s=20.5)
    assert [(flow.shape, key_of(flow)) for flow in found] == [(flow.shape, flow.key) for flow in flows]
    assert {flow.counted for flow in found} == {Count(7, 686)}
    assert {flow.left_s for flow in found} == {39.5}


def test_a_flow_that_does_anything_else_is_no_rule() -> None:
    [flow] = wanted(target(line()))
    for change in (
        {",resubmit(,0)": ""},
        {",resubmit(,0)": ",drop"},
        {"clone(": "clone(output:1,"},
        {"table=0": "table=1"},
        {"reg15=0/0x80000000,": ""},
        {"->tun_dst": "->tun_metadata0"},
        {"nw_src=10.1.0.10,": ""},
        {"nw_src=10.1.0.10": "nw_src=10.1.0.0/24"},
        {"priority=65534": "priority=65533"},
    ):
        [found] = there(flow, **change)
        assert key_of(found) is None, change
        assert difference([flow], [found]).fresh == [flow], change
    assert there(flow, **{f"0x{COOKIE_TAG:x}": "0x1234"}) == []


def test_what_is_as_it_should_be_is_left_alone() -> None:
    flows = wanted(target(line(), line(B, A)))
    assert difference(flows, there(*flows)) == ([], [], [])


@pytest.mark.parametrize("lease_s", [1.0, 3.0, 3.3, 60.0, 59.999])
def test_each_renewal_reaches_the_flow_and_nothing_else_does(lease_s: float) -> None:
    [first] = wanted(target(line(), left_s=lease_s))
    for age_s in (0.1, 0.5, lease_s / 2, lease_s * 0.9):
        found = there(first, age_s=age_s)
        later = target(line(), left_s=lease_s - age_s)
        assert difference(wanted(later), found) == ([], [], []), age_s
        again = target(line(), left_s=lease_s)
        # What the whole second left over is enough still; anything more is wound up.
        enough = first.timeout_s - age_s >= lease_s
        assert bool(difference(wanted(again), found).stale) is not enough, age_s


def test_a_flow_that_would_outlive_its_lease_is_cut() -> None:
    [short] = wanted(target(line(), left_s=10))
    [long] = wanted(target(line(), left_s=600))
    [forever] = wanted(target(line(), left_s=None))
    assert difference([short], there(long)).stale == [short]
    assert difference([short], there(forever)).stale == [short]
    assert difference([forever], there(short)).stale == [forever]
    assert difference([forever], there(forever)) == ([], [], [])


def test_a_lease_beyond_sixteen_bits_runs_down_to_its_half_before_it_is_wound_up() -> None:
    [flow] = wanted(target(line(), left_s=400_000))
    assert difference([flow], there(flow, age_s=30_000)) == ([], [], [])
    assert difference([flow], there(flow, age_s=33_000)).stale == [flow]


def test_what_nobody_wants_goes_and_only_that() -> None:
    [kept, gone] = wanted(target(line(), line(destination=C)))
    assert difference([kept], there(kept, gone)) == ([], [], [gone.cookie])
    moved = wanted(target(line(destination=C)), look=LOOK._replace(session=5))
    # Same match, other actions: adding replaces it, counters and all; nothing is to be deleted.
    assert difference(moved, there(gone)) == (moved, [], [])
    other_register = wanted(target(line(destination=C)), look=LOOK._replace(register=3))
    assert difference(other_register, there(gone)) == (other_register, [], [gone.cookie])


def test_a_rule_that_rises_is_a_new_flow() -> None:
    low = wanted(target(line(port="swp1"), line(port="swp+")))[1]
    [high] = wanted(target(line(port="swp+")))
    assert low.key == high.key
    assert difference([high], there(low)) == ([high], [], [low.cookie])


@given(st.text(max_size=300), st.integers(0, 300))
def test_any_text_is_survived(text: str, cut: int) -> None:
    [flow] = wanted(target(line()))
    for rubbish in (text, printed(flow)[:cut], printed(flow)[:cut] + text, text + printed(flow)):
        for found in read_flows(rubbish, 15):
            key_of(found)
        read_ports(rubbish)
        read_way(rubbish, "10.0.0.1")
        read_neighbours(rubbish)
        rows_of(rubbish)


def test_ports_as_the_switch_names_them() -> None:
    text = " 1(swp1.10-x): addr:26:30:8a:2c:40:5b\n     config:     0\n LOCAL(br0): addr:4a:da:a3:aa:d4:44\n"
    assert read_ports(text) == {"swp1.10-x": 1}


def test_the_way_to_a_destination() -> None:
    assert read_way("src 10.9.0.1\ngateway ::\ndev br-mon\n", "10.9.0.2") == Way("br-mon", "10.9.0.2")
    assert read_way("src 10.9.0.1\ngateway 10.9.0.254\ndev br-mon\n", "10.77.0.3") == Way("br-mon", "10.9.0.254")
    assert read_way("Not found\n", "10.77.0.3") is None
    head = "IP                                            MAC                 Bridge\n" + "=" * 74 + "\n"
    row = "10.9.0.2                                      ca:37:5e:00:13:23   br-mon\n"
    assert read_neighbours(head + row) == {Way("br-mon", "10.9.0.2"): "ca:37:5e:00:13:23"}


def test_rows_of_the_database() -> None:
    text = (
        '{"data":[["erspan",["map",[["owner","switch-acl-api"]]],["set",[]],1500]],'
        '"headings":["type","external_ids","other","mtu"]}'
    )
    assert rows_of(text) == [{"type": "erspan", "external_ids": {"owner": "switch-acl-api"}, "other": [], "mtu": 1500}]
    assert rows_of("") == rows_of("[]") == rows_of('{"data": 7, "headings": []}') == []
