# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Only configured agents are heard, and only from their own addresses."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.limits import MAX_REFUSALS_SHOWN
from sentinel.sflow.admission import Addresses, Admission, AdmissionRule, Refusal, Refusals, plain_address

LEAF = AdmissionRule(("10.0.0.253", "192.0.2.253", "fd00::253"), switch="leaf1")
FABRIC = AdmissionRule(("10.1.0.0/16", "fd01::/64"))
ADMISSION = (LEAF, FABRIC)


@pytest.mark.parametrize(
    ("agent", "sender", "reason"),
    [
        pytest.param("10.0.0.253", "10.0.0.253", None, id="itself"),
        pytest.param("10.0.0.253", "192.0.2.253", None, id="another-address-of-the-switch"),
        pytest.param("fd00::253", "10.0.0.253", None, id="another-family"),
        pytest.param("10.1.2.3", "10.1.2.3", None, id="in-a-network"),
        pytest.param("fd01::7", "fd01:0:0::7", None, id="another-spelling"),
        pytest.param("10.1.2.3", "::ffff:10.1.2.3", None, id="mapped"),
        pytest.param("10.1.2.3", "172.16.0.9", None, id="relay"),
        pytest.param("10.1.2.3", "10.1.2.4", "foreign_sender", id="neighbour-in-the-network"),
        pytest.param("10.0.0.253", "10.1.2.3", "foreign_sender", id="another-switch"),
        pytest.param("10.2.0.1", "10.2.0.1", "unknown_agent", id="unknown"),
        pytest.param("10.2.0.1", "172.16.0.9", "unknown_agent", id="unknown-by-relay"),
        pytest.param("fd02::1", "fd02::1", "unknown_agent", id="unknown-ipv6"),
    ],
)
def test_who_is_heard(agent: str, sender: str, reason: str | None) -> None:
    admission = Admission(ADMISSION, ["172.16.0.0/24"])
    assert [admission.check(agent, sender) for _ in range(2)] == [reason, reason]


def test_nobody_is_heard_without_rules() -> None:
    assert Admission([]).check("10.0.0.1", "10.0.0.1") == "unknown_agent"


def test_the_latest_refusals_are_kept_and_no_more() -> None:
    refusals = Refusals()
    for number in range(1000):
        refusals.note("unknown_agent", f"198.51.{number // 250}.{number % 250}", "203.0.113.1")
    refusals.note("unknown_agent", "198.51.3.240", "203.0.113.1")
    shown = refusals.latest()
    assert shown[0] == Refusal("unknown_agent", "198.51.3.240", "203.0.113.1", 2)
    assert shown[1].agent == "198.51.3.249"
    assert len(shown) == MAX_REFUSALS_SHOWN


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(24, 32)), max_size=12), st.integers(0, 255))
def test_addresses_are_those_of_the_networks(networks: list[tuple[int, int]], last: int) -> None:
    texts = [f"192.0.2.{low}/{length}" for low, length in networks]
    among = Addresses([*texts, "2001:db8::/32"])
    address = ip_address(f"192.0.2.{last}")
    assert (address.packed in among) == any(address in ip_network(text, strict=False) for text in texts)
    firsts = [first for first, _ in among.ranges()]
    assert firsts == sorted(firsts, key=lambda packed: (len(packed), packed))


def test_a_forger_cannot_crowd_out_the_true_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel.sflow.admission.MAX_ADMITTED_KEPT", 2)
    admission = Admission(ADMISSION)
    assert {admission.check(f"10.1.0.{number}", f"10.1.0.{number}") for number in range(200)} == {None}


def test_bad_configuration_raises() -> None:
    with pytest.raises(ValueError, match="leaf"):
        Admission([AdmissionRule(("leaf1",))])


def test_plain_addresses() -> None:
    assert [plain_address(text) for text in ("10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "FD00:0::1")] == [
        *("10.0.0.1", "10.0.0.1", "fe80::1", "fd00::1"),
    ]
