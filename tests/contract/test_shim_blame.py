# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""When cl-acltool fails: who is blamed, what stays installed, what stays on disk. A real shim, the stand-in tool."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support import cl_acltool
from tests.support.cl_acltool import behave, installed_sources
from tests.support.shim_world import Shim, acl, rule, running, wait_until


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shim]:
    with running(tmp_path_factory.mktemp("blame"), "cumulus", commit_timeout="1s") as shim:
        yield shim


@pytest.fixture
def shim(world: Shim) -> Iterator[Shim]:
    yield world
    behave(world.home)
    for foreign in world.policy_dir.glob("[!5]*.rules"):
        foreign.unlink()
    assert wait_until(lambda: world.call("DELETE", "/acl/").status_code == 204)
    wait_until(lambda: world.call("GET", "/acl/lasterror").status_code == 204 or world.put("clear", acl("10.9.9.9")).ok)
    world.call("DELETE", "/acl/")
    assert "OVERLAP" not in cl_acltool.calls(world.home)


def together(shim: Shim, *puts: tuple[str, list[str]]) -> dict[str, requests.Response]:
    """These requests at once, so that they share a commit."""
    answers: dict[str, requests.Response] = {}
    # A slow commit is running while they arrive.
    behaviour = cl_acltool._load(shim.home / "behaviour.json", {})
    behave(shim.home, **behaviour, sleep=0.4)
    first = threading.Thread(target=shim.put, args=("warm_up", acl("10.9.9.9")))
    first.start()
    wait_until((shim.home / "busy").exists)

    def put(name: str, lines: list[str]) -> None:
        answers[name] = shim.put(name, lines)

    threads = [threading.Thread(target=put, args=one) for one in puts]
    for thread in threads:
        thread.start()
    first.join()
    behave(shim.home, **behaviour)
    for thread in threads:
        thread.join()
    return answers


def test_requests_that_arrive_during_a_commit_share_the_next(shim: Shim) -> None:
    before = shim.commits()
    answers = together(shim, *((f"r{n}", acl(f"10.0.0.{n}")) for n in range(1, 6)))
    assert {answer.status_code for answer in answers.values()} == {201}
    assert shim.commits() - before == 2


def test_only_the_bad_change_of_a_merged_commit_is_refused(shim: Shim) -> None:
    behave(shim.home, poison=["10.0.0.3"])
    answers = together(shim, *((f"r{n}", acl(f"10.0.0.{n}")) for n in range(1, 6)))
    statuses = {name: answer.status_code for name, answer in sorted(answers.items())}
    assert statuses == {"r1": 201, "r2": 201, "r3": 502, "r4": 201, "r5": 201}
    blamed = answers["r3"].json()
    assert "Bad rule" in blamed["error"]
    assert any("50rest-r3.rules" in line for line in blamed["output"])
    assert "r3" not in shim.files()
    assert "10.0.0.3" not in installed_sources(shim.home)
    assert "10.0.0.5" in installed_sources(shim.home)


def test_a_bad_file_does_not_poison_the_next_commit(shim: Shim) -> None:
    behave(shim.home, poison=["10.0.0.3"])
    assert shim.put("bad", acl("10.0.0.3")).status_code == 502
    assert shim.call("GET", "/acl/bad").status_code == 404
    assert shim.put("good", acl("10.0.0.4")).status_code == 201


def test_a_refused_replacement_leaves_the_old_rule_in_force(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1"), ttl=100)
    behave(shim.home, poison=["10.0.0.3"])
    assert shim.put("one", acl("10.0.0.3"), ttl=900).status_code == 502
    assert shim.call("GET", "/acl/one").json() == acl("10.0.0.1")
    entry = shim.detail()["acls"]["one"]
    assert entry["installed"]
    assert entry["expires_in_s"] <= 100


def test_lasterror_and_warning_as_in_2014(shim: Shim) -> None:
    behave(shim.home, poison=["10.0.0.3"])
    answer = shim.put("bad", acl("10.0.0.3"))
    assert answer.headers["Warning"] == '199 - "check lasterror"'
    last = shim.call("GET", "/acl/lasterror").json()
    assert last["returncode"] == 1
    assert any("Bad rule" in line for line in last["lines"])
    shim.put("good", acl("10.0.0.4"))
    assert shim.call("GET", "/acl/lasterror").status_code == 204


def test_somebody_elses_broken_file_blames_nobody_of_ours(shim: Shim) -> None:
    shim.put("ours", acl("10.0.0.1"))
    foreign = shim.policy_dir / "60foreign.rules"
    foreign.write_text("[iptables]\n-A FORWARD -j NONSENSE\n")
    answer = shim.put("new", acl("10.0.0.2"))
    assert answer.status_code == 503
    assert "foreign policy error" in answer.json()["error"]
    assert (answer.json()["file"], answer.json()["line"]) == (str(foreign), 2)
    assert answer.json()["output"]
    assert shim.files() == ["ours"]
    assert shim.call("GET", "/healthz").json()["status"] == "degraded"
    foreign.unlink()
    assert shim.put("new", acl("10.0.0.2")).status_code == 201
    assert foreign.name not in [path.name for path in shim.policy_dir.iterdir()]


def test_removals_happen_as_soon_as_the_foreign_file_is_mended(shim: Shim) -> None:
    shim.put("short", acl("10.0.0.1"), ttl=1)
    foreign = shim.policy_dir / "60foreign.rules"
    foreign.write_text("[iptables]\n-A FORWARD -j NONSENSE\n")
    wait_until(lambda: shim.files() == [])
    assert "10.0.0.1" in installed_sources(shim.home)
    assert shim.call("DELETE", "/acl/short").status_code == 503, "gone from disk, not yet from the switch"
    amended = shim.call("PATCH", "/acl/", json={"short": None}).json()
    assert (amended["removed"], amended["failed"]["short"]["status"]) == ([], 503)
    foreign.unlink()
    wait_until(lambda: "10.0.0.1" not in installed_sources(shim.home))


def test_other_peoples_rules_stay(shim: Shim) -> None:
    foreign = shim.policy_dir / "40theirs.rules"
    foreign.write_text("[iptables]\n" + rule("10.5.5.5") + "\n")
    shim.put("one", acl("10.0.0.1"))
    shim.call("DELETE", "/acl/")
    assert installed_sources(shim.home) == ["10.5.5.5"]
    assert foreign.exists()


def test_a_full_tcam_refuses_what_does_not_fit(shim: Shim) -> None:
    behave(shim.home, tcam=cl_acltool.DEFAULT_ENTRIES + 2)
    result = shim.call("PUT", "/acl/", json={f"r{n}": {"lines": acl(f"10.0.0.{n}")} for n in range(1, 5)}).json()
    assert (len(result["installed"]), len(result["failed"])) == (2, 2)
    assert all("hw sync failed" in reason for reason in result["failed"].values())
    assert sorted(installed_sources(shim.home)) == sorted(f"10.0.0.{name[1:]}" for name in result["installed"])
    assert sorted(result["installed"]) == shim.files()


def test_one_amendment_to_blame_does_not_hold_up_the_others(shim: Shim) -> None:
    shim.put("orphan", acl("10.0.0.9"))
    behave(shim.home, tcam=cl_acltool.DEFAULT_ENTRIES + 2)
    changes = {f"r{n}": {"lines": acl(f"10.0.0.{n}")} for n in range(1, 4)}
    result = shim.call("PATCH", "/acl/", json={**changes, "orphan": None}).json()
    assert (len(result["installed"]), result["removed"]) == (2, ["orphan"])
    assert [why["status"] for why in result["failed"].values()] == [502]
    assert sorted(result["installed"]) == shim.files()


@pytest.mark.parametrize(
    "behaviour", [{"hw_sync": True}, {"hw_sync": True, "half": True}, {"hw_sync": True, "exit_zero": True}]
)
def test_a_failing_hardware_sync_is_noticed_and_mended(shim: Shim, behaviour: dict[str, bool]) -> None:
    shim.put("kept", acl("10.0.0.1"))
    behave(shim.home, **behaviour)
    answer = shim.put("new", acl("10.0.0.2"))
    assert answer.status_code == 503, "even without it nothing can be committed"
    assert shim.files() == ["kept"]
    behave(shim.home)
    wait_until(lambda: installed_sources(shim.home) == ["10.0.0.1"])
    wait_until(lambda: shim.call("GET", "/acl/lasterror").status_code == 204)


def test_a_tool_that_lies_is_found_out(shim: Shim) -> None:
    shim.put("kept", acl("10.0.0.1"))
    behave(shim.home, lies=True)
    answer = shim.put("new", acl("10.0.0.2"))
    assert answer.status_code == 502
    assert "not installed" in answer.json()["error"]
    assert shim.files() == ["kept"]


@pytest.mark.parametrize("code", [0, 1])
def test_garbage_from_the_tool_is_survived(shim: Shim, code: int) -> None:
    behave(shim.home, garbage=code)
    answer = shim.put("new", acl("10.0.0.2"))
    assert answer.status_code == (502 if code == 0 else 503)
    assert all(line.isprintable() for line in answer.json()["output"])
    assert len(answer.content) < 100_000
    assert shim.files() == []


def test_a_hanging_tool_is_ended(shim: Shim) -> None:
    behave(shim.home, sleep=60)
    answer = shim.put("new", acl("10.0.0.2"))
    assert answer.status_code == 503
    assert "did not end within 1s" in answer.json()["error"]
    assert shim.files() == []
    (shim.home / "busy").unlink(missing_ok=True)
    behave(shim.home)
    assert wait_until(lambda: shim.put("new", acl("10.0.0.2")).status_code == 201)


def test_while_the_tool_hangs_health_and_lists_are_answered(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1"), ttl=100)
    behave(shim.home, sleep=0.8)
    waiting = threading.Thread(target=shim.put, args=("new", acl("10.0.0.2")))
    waiting.start()
    wait_until((shim.home / "busy").exists)
    assert shim.call("GET", "/healthz", timeout=0.5).ok
    assert shim.call("POST", "/acl/renew?ttl=200", timeout=0.5).json()["renewed"]["one"]
    assert (shim.home / "busy").exists(), "the commit still runs"
    waiting.join()


def test_a_listing_that_fails_is_no_verified_installation(shim: Shim) -> None:
    behave(shim.home, list_fails=True)
    answer = shim.put("new", acl("10.0.0.2"))
    assert answer.status_code in {502, 503}
    assert "not verified" in answer.json()["error"]


def test_counters_come_from_the_switch(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1", "10.0.0.2"))
    cl_acltool.count(shim.home, "10.0.0.1", 123_456_789, 98_765_432_100)
    cl_acltool.count(shim.home, "10.0.0.2", 1, 64)
    entry = wait_until(lambda: (found := shim.detail()["acls"]["one"])["packets"] and found)
    assert (entry["packets"], entry["bytes"]) == (123_456_790, 98_765_432_164)
    assert entry["rules"][0] == {"line": 2, "packets": 123_456_789, "bytes": 98_765_432_100}
    assert shim.call("POST", "/acl/renew").json()["renewed"]["one"]["packets"] == 123_456_790
    shim.put("two", acl("10.0.0.3"))
    assert shim.detail()["acls"]["one"]["packets"] == 123_456_790, "another commit does not reset them"


def test_a_tool_without_numeric_output_still_serves(tmp_path: Path) -> None:
    shim = Shim(tmp_path, "cumulus")
    behave(shim.home, no_numeric=True)
    try:
        shim.start()
        assert shim.put("one", acl("10.0.0.1")).status_code == 201
        assert "-L all" in cl_acltool.calls(shim.home)
    finally:
        shim.stop()
