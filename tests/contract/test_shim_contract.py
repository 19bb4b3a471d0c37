# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One suite over every driver: what a client of ``openapi.yaml`` may rely on. Real processes, real sockets."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sentinel.capture import actions, events
from sentinel.capture.switches import Access, SwitchClient
from tests.support import cl_acltool
from tests.support.netns import Namespaces, why_no_lab
from tests.support.ovs_switch import OpenVSwitch
from tests.support.shim_world import Shim, acl, rule, running, wait_until

ARTICLE_LINES = (
    '["[iptables]","-A FORWARD --in-interface swp+ -s 10.0.0.10 -d 198.51.100.7 '
    '-j ERSPAN --src-ip 10.0.0.253 --dst-ip 10.0.0.70"]'
)


@pytest.fixture(scope="module", params=["cumulus", "emulated", pytest.param("ovs", marks=pytest.mark.lab)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shim]:
    home = tmp_path_factory.mktemp(request.param)
    with contextlib.ExitStack() as stack:
        settings = {"ovs": {"rundir": str(stack.enter_context(real_switch(home)))}} if request.param == "ovs" else {}
        yield stack.enter_context(running(home, request.param, **settings))


@contextlib.contextmanager
def real_switch(home: Path) -> Iterator[Path]:
    """The run directory of an Open vSwitch in a namespace of its own; the shim reaches it by its sockets."""
    reason = why_no_lab("ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-ofctl")
    if reason:
        pytest.skip(reason)
    with contextlib.closing(Namespaces()) as namespaces:
        switch = OpenVSwitch(namespaces, namespaces.add("sw"), home / "ovs")
        switch.start()
        switch.bridge("br0")
        yield switch.rundir


@pytest.fixture
def shim(world: Shim) -> Iterator[Shim]:
    yield world
    assert world.call("DELETE", "/acl/").status_code == 204


def test_the_articles_two_lines(shim: Shim) -> None:
    put = subprocess.run(
        ["curl", "-sS", "-H", "Content-Type:application/json", "-X", "PUT", "--data", ARTICLE_LINES]  # noqa: RUF005
        + [f"{shim.url}/acl/erspan1", "-w", "%{http_code}", "-o", "/dev/null"],
        capture_output=True,
        check=True,
    )
    assert put.stdout == b"201"
    assert shim.detail()["acls"]["erspan1"]["installed"] is True
    removed = subprocess.run(
        ["curl", "-sS", "-X", "DELETE", f"{shim.url}/acl/erspan1", "-w", "%{http_code}"],
        capture_output=True,
        check=True,
    )
    assert removed.stdout == b"204"
    assert shim.names() == []


def test_put_tells_new_from_replaced_from_unchanged(shim: Shim) -> None:
    first = shim.put("one", acl("10.0.0.10"))
    again = shim.put("one", acl("10.0.0.10"), ttl=20)
    other = shim.put("one", acl("10.0.0.11"))
    assert [(r.status_code, r.json()["changed"]) for r in (first, again, other)] == [
        (201, True),
        (200, False),
        (200, True),
    ]
    assert first.json()["owner"] == "anonymous"
    assert first.json()["name"] == "one"
    assert 3590 < first.json()["expires_in_s"] <= 3600
    assert again.json()["expires_in_s"] == 20


def test_get_gives_back_the_lines_as_sent(shim: Shim) -> None:
    lines = ["# why", "[iptables]", "", f"  {rule('10.0.0.10')}", "# end"]
    assert shim.put("one", lines).status_code == 201
    assert shim.call("GET", "/acl/one").json() == lines
    assert shim.call("GET", "/acl/two").status_code == 404
    assert shim.names() == ["one"]


def test_delete_is_idempotent_and_immediate(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.10"))
    assert shim.call("DELETE", "/acl/one").status_code == 204
    assert shim.files() == []
    assert shim.call("DELETE", "/acl/one").status_code == 204


def test_a_refused_line_is_named(shim: Shim) -> None:
    answer = shim.put("one", ["[iptables]", rule("10.0.0.10"), rule("10.0.0.0/24")])
    assert answer.status_code == 400
    assert answer.json()["line"] == 3
    assert answer.json()["token"] == "10.0.0.0/24"
    assert "one host" in answer.json()["reason"]
    assert shim.names() == []


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("[iptables]", 400),
        ({"a": 1}, 400),
        (["[iptables]", 7], 400),
        (["[iptables]", None], 400),
        (["[iptables]", rule("10.0.0.10") + "\n-A FORWARD -j DROP"], 400),
        (["[iptables]", rule("10.0.0.10") + "\x00"], 400),
        (["#" + "x" * 1000], 400),
        (["#"] * 300, 400),
        (["[ebtables]"], 400),
        (["[iptables]", rule("10.0.0.10", to="10.9.9.9")], 400),
        (["[iptables]", "-A FORWARD -j DROP"], 400),
        (["x" * 200_000], 413),
    ],
)
def test_bodies_that_are_no_rules(shim: Shim, lines: Any, status: int) -> None:
    answer = shim.put("one", lines)
    assert (answer.status_code, "error" in answer.json()) == (status, True)
    assert shim.files() == []


@pytest.mark.parametrize(
    ("path", "body", "content_type", "status"),
    [
        ("/acl/one", b"[]", "text/plain", 415),
        ("/acl/one", b"[", "application/json", 400),
        ("/acl/one", b"\xff\xfe", "application/json", 400),
        ("/acl/one", b"[" * 50_000, "application/json", 400),
        ("/acl/one", b"[" + b"9" * 100_000 + b"]", "application/json", 400),
        ("/acl/one", b"[NaN]", "application/json", 400),
        ("/acl/Not-A-Name", b"[]", "application/json", 404),
        ("/acl/" + "a" * 65, b"[]", "application/json", 404),
        ("/acl/lasterror", b"[]", "application/json", 403),
        ("/acl/renew", b"[]", "application/json", 403),
        ("/acl/one?ttl=0", b"[]", "application/json", 400),
        ("/acl/one?ttl=-1", b"[]", "application/json", 400),
        ("/acl/one?ttl=nan", b"[]", "application/json", 400),
        ("/acl/one?ttl=3601", b"[]", "application/json", 400),
        ("/acl/../../etc/passwd", b"[]", "application/json", 404),
        ("/acl/", b'{"a": []}', "application/json", 400),
        ("/acl/", b'{"a": {"lines": [], "ttl": true}}', "application/json", 400),
        ("/acl/", b'{"a": {"lines": [], "color": 1}}', "application/json", 400),
        ("/acl/", b'{"A!": {"lines": []}}', "application/json", 400),
        ("/acl/", b'{"a": null}', "application/json", 400),
        ("/elsewhere", b"[]", "application/json", 404),
        ("/healthz", b"[]", "application/json", 405),
    ],
)
def test_requests_that_are_refused(shim: Shim, path: str, body: bytes, content_type: str, status: int) -> None:
    request = requests.Request("PUT", shim.url + path, data=body, headers={"Content-Type": content_type}).prepare()
    request.url = shim.url + path  # as it stands, not normalised
    with requests.Session() as session:
        answer = session.send(request, timeout=10)
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["error"]
    assert shim.files() == []


def test_unknown_methods_and_browsers_get_json_errors(shim: Shim) -> None:
    assert shim.call("BREW", "/acl/").json()["error"]
    assert shim.call("POST", "/acl/one").status_code == 405
    assert shim.call("GET", "/acl/", headers={"Origin": "http://evil.example"}).status_code == 403


def test_budget_says_used_and_max(shim: Shim) -> None:
    for half in (1, 2):
        assert shim.put(f"r{half}", acl(*(f"10.0.{half}.{n}" for n in range(1, 11)))).status_code == 201
    answer = shim.put("more", acl("10.0.3.1"))
    assert (answer.status_code, answer.json()["used"], answer.json()["max"]) == (507, 20, 20)
    assert shim.put("r1", acl("10.0.3.1")).status_code == 200


def test_a_third_pair_of_erspan_addresses_does_not_fit(shim: Shim) -> None:
    shim.put("a", ["[iptables]", rule("10.0.1.1", erspan_source="10.0.0.201")])
    shim.put("b", ["[iptables]", rule("10.0.1.2", erspan_source="10.0.0.202")])
    third = ["[iptables]", rule("10.0.1.3", erspan_source="10.0.0.203")]
    assert shim.put("c", third).status_code == 507
    assert shim.put("b", third).status_code == 200
    answer = shim.put("d", ["[iptables]", *(rule("10.0.1.9", erspan_source=f"10.0.0.20{n}") for n in (3, 4, 5))])
    assert (answer.status_code, answer.json()["line"]) == (400, 4)


def test_bulk_replaces_in_one_go_and_reports_each_name(shim: Shim) -> None:
    shim.put("old", acl("10.0.0.1"))
    shim.put("same", acl("10.0.0.2"))
    shim.put("changed", acl("10.0.0.3"))
    before = shim.commits()
    answer = shim.call(
        "PUT",
        "/acl/",
        json={
            "same": {"lines": acl("10.0.0.2"), "ttl": 30},
            "changed": {"lines": acl("10.0.0.4")},
            "new": {"lines": acl("10.0.0.5")},
            "bad": {"lines": ["[iptables]", "-A FORWARD -j DROP"]},
        },
    )
    assert answer.status_code == 200
    result = answer.json()
    assert result["installed"] == ["changed", "new"]
    assert result["unchanged"] == ["same"]
    assert result["removed"] == ["old"]
    assert list(result["failed"]) == ["bad"]
    assert shim.names() == ["changed", "new", "same"]
    assert shim.detail()["acls"]["same"]["expires_in_s"] <= 30
    assert shim.commits() - before == (1 if shim.driver == "cumulus" else 0)


def test_bulk_that_changes_nothing_commits_nothing(shim: Shim) -> None:
    wanted = {"a": {"lines": acl("10.0.0.1"), "ttl": 60}, "b": {"lines": acl("10.0.0.2"), "ttl": 60}}
    shim.call("PUT", "/acl/", json=wanted)
    before = shim.commits()
    again = shim.call("PUT", "/acl/", json=wanted).json()
    assert again == {"installed": [], "unchanged": ["a", "b"], "removed": [], "failed": {}}
    assert shim.commits() == before


def test_amend_changes_what_it_names_in_one_commit_and_nothing_else(shim: Shim) -> None:
    for name, host in (("by_hand", 1), ("orphan", 2), ("same", 3), ("altered", 4)):
        shim.put(name, acl(f"10.0.0.{host}"), ttl=100)
    before = shim.commits()
    answer = shim.call(
        "PATCH",
        "/acl/",
        json={
            "orphan": None,
            "absent": None,
            "same": {"lines": acl("10.0.0.3"), "ttl": 300},
            "altered": {"lines": acl("10.0.0.5"), "ttl": 300},
            "new": {"lines": acl("10.0.0.6"), "ttl": 300},
            "wide": {"lines": ["[iptables]", rule("10.0.0.0/24")], "ttl": 300},
            "long": {"lines": acl("10.0.0.7"), "ttl": 3601},
            "large": {"lines": acl(*(f"10.0.1.{n}" for n in range(1, 20))), "ttl": 300},
        },
    )
    assert answer.status_code == 200
    result = answer.json()
    assert result["installed"] == ["altered", "new"]
    assert result["unchanged"] == ["same"]
    assert result["removed"] == ["absent", "orphan"]
    assert {name: why["status"] for name, why in result["failed"].items()} == {"wide": 400, "long": 400, "large": 507}
    assert "10.0.0.0/24" in result["failed"]["wide"]["error"]
    acls = shim.detail()["acls"]
    assert {name: (found["lines"], found["installed"]) for name, found in acls.items()} == {
        "by_hand": (acl("10.0.0.1"), True),
        "same": (acl("10.0.0.3"), True),
        "altered": (acl("10.0.0.5"), True),
        "new": (acl("10.0.0.6"), True),
    }
    assert acls["by_hand"]["expires_in_s"] <= 100
    assert all(200 < acls[name]["expires_in_s"] <= 300 for name in ("same", "altered", "new"))
    assert shim.commits() - before == (1 if shim.driver == "cumulus" else 0)


def test_amend_that_changes_nothing_commits_nothing(shim: Shim) -> None:
    shim.put("a", acl("10.0.0.1"))
    before = shim.commits()
    again = shim.call("PATCH", "/acl/", json={"a": {"lines": acl("10.0.0.1"), "ttl": 60}, "gone": None}).json()
    assert again == {"installed": [], "unchanged": ["a"], "removed": ["gone"], "failed": {}}
    assert shim.call("PATCH", "/acl/", json={}).json()["failed"] == {}
    assert shim.commits() == before


def test_what_amend_removes_makes_room_for_what_it_puts(shim: Shim) -> None:
    shim.put("old", acl(*(f"10.0.1.{n}" for n in range(1, 21))))
    new = {"lines": acl(*(f"10.0.2.{n}" for n in range(1, 21)))}
    assert shim.call("PATCH", "/acl/", json={"new": new}).json()["failed"]["new"]["status"] == 507
    assert shim.call("PATCH", "/acl/", json={"new": new, "old": None}).json()["installed"] == ["new"]
    assert shim.names() == ["new"]


def test_the_daemons_own_client_repairs_with_one_amendment(shim: Shim) -> None:
    """Both sides of the contract: each change comes back as the outcome that a single request would have had."""
    shim.put("by_hand", acl("10.0.0.1"), ttl=100)
    shim.put("sentinel_orphan", acl("10.0.0.2"), ttl=100)
    client = SwitchClient("sw", shim.url, Access())
    before = shim.commits()
    with contextlib.closing(client):
        outcomes = client.amend(
            [
                actions.Install("sw", "sentinel_missing", tuple(acl("10.0.0.3")), 100),
                actions.Install("sw", "sentinel_wide", ("[iptables]", rule("10.0.0.0/24")), 100),
                actions.Remove("sw", "sentinel_orphan"),
                actions.Remove("sw", "sentinel_absent"),
            ]
        )
        again = client.amend([actions.Install("sw", "sentinel_missing", tuple(acl("10.0.0.3")), 100)])
    missing, wide, *gone = outcomes
    assert missing == events.Installed("sw", "sentinel_missing", changed=True)
    assert isinstance(wide, events.InstallFailed)
    assert (wide.rule, wide.reason, wide.permanent) == ("sentinel_wide", "http_400", True)
    assert gone == [events.Removed("sw", "sentinel_orphan"), events.Removed("sw", "sentinel_absent")]
    assert again == (events.Installed("sw", "sentinel_missing", changed=False),)
    assert shim.names() == ["by_hand", "sentinel_missing"]
    assert shim.commits() - before == (1 if shim.driver == "cumulus" else 0)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"renew": null}', 400),
        ('{"a": []}', 400),
        ('{"a": false}', 400),
        ('{"a": {"lines": [], "color": 1}}', 400),
        ("[]", 400),
        ("{", 400),
    ],
)
def test_amendments_that_are_refused_as_a_whole(shim: Shim, body: str, status: int) -> None:
    shim.put("a", acl("10.0.0.1"))
    answer = shim.call("PATCH", "/acl/", data=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, "error" in answer.json()) == (status, True)
    assert shim.names() == ["a"]


def test_renew_lengthens_every_lease_and_commits_nothing(shim: Shim) -> None:
    shim.put("a", acl("10.0.0.1"), ttl=5)
    shim.put("b", acl("10.0.0.2"), ttl=5)
    before = shim.commits()
    answer = shim.call("POST", "/acl/renew?ttl=100").json()
    assert answer["boot_id"] == "first-boot"
    assert answer["renewed"]["a"] == {"expires_in_s": 100.0, "packets": 0, "bytes": 0}
    assert set(answer["renewed"]) == {"a", "b"}
    assert all(99 < entry["expires_in_s"] <= 100 for entry in shim.detail()["acls"].values())
    assert shim.commits() == before


def test_renew_lengthens_the_leases_it_names(shim: Shim) -> None:
    for number, name in enumerate("abc", 1):
        shim.put(name, acl(f"10.0.0.{number}"), ttl=50)
    answer = shim.call("POST", "/acl/renew?ttl=100", json={"names": ["a", "c", "absent", "a"]}).json()
    assert set(answer["renewed"]) == {"a", "c"}
    left = {name: entry["expires_in_s"] for name, entry in shim.detail()["acls"].items()}
    assert left["a"] > 99
    assert left["b"] <= 50
    assert left["c"] > 99
    assert shim.call("POST", "/acl/renew?ttl=100", json={"names": []}).json()["renewed"] == {}
    assert set(shim.call("POST", "/acl/renew?ttl=100", json={}).json()["renewed"]) == {"a", "b", "c"}


@pytest.mark.parametrize("body", ["[]", '{"names": "a"}', '{"names": [1]}', '{"name": ["a"]}', "{", '"a"'])
def test_renewals_that_are_refused(shim: Shim, body: str) -> None:
    shim.put("a", acl("10.0.0.1"), ttl=50)
    answer = shim.call("POST", "/acl/renew?ttl=100", data=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, "error" in answer.json()) == (400, True)
    assert shim.detail()["acls"]["a"]["expires_in_s"] <= 50


def test_a_rule_goes_when_its_lease_ends(shim: Shim) -> None:
    shim.put("short", acl("10.0.0.1"), ttl=0.6)
    shim.put("long", acl("10.0.0.2"), ttl=60)
    wait_until(lambda: shim.files() == ["long"], 5)
    wait_until(lambda: list(shim.detail()["acls"]) == ["long"], 5)
    wait_until(lambda: any(line["action"] == "expire" and line["name"] == "short" for line in shim.audit()), 5)


def test_respond_async_answers_before_the_commit(shim: Shim) -> None:
    answer = shim.put("one", acl("10.0.0.1"), headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    wait_until(lambda: shim.detail()["acls"].get("one", {}).get("installed"))
    assert shim.call("DELETE", "/acl/one", headers={"Prefer": "respond-async"}).status_code == 202
    wait_until(lambda: shim.names() == [])


def test_detail_has_what_a_controller_needs(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1", "10.0.0.2"), ttl=60)
    detail = shim.detail()
    assert (detail["owner"], detail["boot_id"], detail["driver"]) == ("anonymous", "first-boot", shim.driver)
    assert (detail["max_rules"], detail["rules_used"], detail["ipv6"]) == (20, 2, shim.driver != "cumulus")
    assert {"destination", "reachable", "via", "neighbour", "detail"} == set(detail["erspan"][0])
    one = detail["acls"]["one"]
    assert one["lines"] == acl("10.0.0.1", "10.0.0.2")
    assert (one["installed"], one["packets"], one["bytes"]) == (True, 0, 0)
    assert [row["line"] for row in one["rules"]] == [2, 3]


def test_health_needs_nobody_and_says_who_it_is(shim: Shim) -> None:
    health = shim.call("GET", "/healthz").json()
    assert health["service"] == "switch-acl-api"
    assert set(health) == {"service", "version", "status", "driver", "ipv6", "boot_id", "problems", "erspan"}


def test_metrics_are_prometheus_text(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1"))
    text = shim.call("GET", "/metrics").text
    assert "switch_acl_api_rules 1" in text
    assert 'switch_acl_api_commits_total{result="ok"}' in text


def test_every_change_leaves_an_audit_line(shim: Shim) -> None:
    shim.put("audited", acl("10.0.0.1"))
    shim.call("DELETE", "/acl/audited")
    lines = wait_until(lambda: [line for line in shim.audit() if line["name"] == "audited"][1:] and shim.audit())
    mine = [(line["action"], line["result"], line["peer"]) for line in lines if line["name"] == "audited"]
    assert mine == [("put", 200, "127.0.0.1"), ("delete", 200, "127.0.0.1")]


def test_ipv6_only_where_the_driver_can(shim: Shim) -> None:
    lines = ["[ip6tables]", rule("2001:db8::1", "2001:db8:1::2/128")]
    answer = shim.put("six", lines)
    assert answer.status_code == (400 if shim.driver == "cumulus" else 201)


def test_lasterror_is_empty_after_a_good_commit(shim: Shim) -> None:
    answer = shim.put("one", acl("10.0.0.1"))
    assert "Warning" not in answer.headers
    assert shim.call("GET", "/acl/lasterror").status_code == 204


def test_never_asks_the_tool_for_more_than_install_and_list(shim: Shim, world: Shim) -> None:
    shim.put("one", acl("10.0.0.1"))
    assert set(cl_acltool.calls(Path(world.home))) <= {"-i", "-L all -N -x"}
