# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One owner's token against another owner's captures: names, rules, ERSPAN pairs, requests, the state folder."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from switch_acl_api import policy as policy_module
from switch_acl_api.budget import Budget, shares
from switch_acl_api.errors import NoRoomError, Refused
from switch_acl_api.grammar import read_rules
from switch_acl_api.leases import Deadline
from switch_acl_api.policy import Acl, PolicyDir, new_nonce
from switch_acl_api.rates import Rates
from tests.support.shim_world import REPO, Shim, acl, rule, running

OWN = "192.0.2.1"
TOKENS = {"alice": "alices-secret-token", "mallory": "mallorys-secret-token"}


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Shim]:
    tokens = tmp_path / "tokens"
    tokens.write_text("".join(f"{owner} {token}\n" for owner, token in TOKENS.items()))
    tokens.chmod(0o600)
    settings = {"auth": ["token"], "token_file": str(tokens), "max_rules_per_owner": 12, "max_names_per_owner": 10}
    (tmp_path / "ip.json").write_text(json.dumps({"addr": [{"addr_info": [{"local": OWN}]}]}))
    with running(tmp_path, "cumulus", **settings) as shim:
        yield shim


def call(shim: Shim, owner: str, method: str, path: str, body: Any = None) -> requests.Response:
    return shim.call(method, path, json=body, headers={"Authorization": f"Bearer {TOKENS[owner]}"})


def lines(*sources: str, by: str = OWN) -> list[str]:
    return ["[iptables]", *(rule(source, erspan_source=by) for source in sources)]


def test_one_owner_leaves_room_for_another(shim: Shim) -> None:
    many = {f"m{number}": {"lines": lines(f"10.1.0.{number}", f"10.2.0.{number}")} for number in range(1, 10)}
    answer = call(shim, "mallory", "PATCH", "/acl/", many).json()
    assert (len(answer["installed"]), {each["status"] for each in answer["failed"].values()}) == (6, {507})
    refused = call(shim, "mallory", "PUT", "/acl/more", lines("10.3.0.1"))
    assert (refused.status_code, refused.json()["max"]) == (507, 12)
    assert call(shim, "alice", "PUT", "/acl/a", lines("10.0.0.1")).status_code == 201


def test_names_without_rules_are_refused(shim: Shim) -> None:
    for empty in ([], ["[iptables]"], ["# only words", ""]):
        refused = call(shim, "mallory", "PUT", "/acl/m", empty)
        assert (refused.status_code, "no rule" in refused.json()["error"]) == (400, True)
    answer = call(shim, "mallory", "PATCH", "/acl/", {"m": {"lines": ["[iptables]"]}}).json()
    assert answer["failed"]["m"]["status"] == 400
    assert shim.files() == []


def test_a_request_names_no_more_than_an_owner_may_have(shim: Shim) -> None:
    wishes = {f"m{number}": None for number in range(11)}
    for method, body in (("PATCH", wishes), ("PUT", {name: {"lines": []} for name in wishes})):
        refused = call(shim, "mallory", method, "/acl/", body)
        assert (refused.status_code, "at most 10 names" in refused.json()["error"]) == (400, True)


def test_the_switch_mirrors_as_itself_only(shim: Shim) -> None:
    refused = call(shim, "mallory", "PUT", "/acl/m", lines("10.0.0.1", by="203.0.113.9"))
    assert (refused.status_code, refused.json()["token"]) == (400, "203.0.113.9")
    assert call(shim, "alice", "PUT", "/acl/a", lines("10.0.0.1")).status_code == 201


def test_addresses_that_cannot_be_read_allow_none(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice {TOKENS['alice']}\n")
    tokens.chmod(0o600)
    with running(tmp_path, "cumulus", auth=["token"], token_file=str(tokens)) as shim:
        assert call(shim, "alice", "PUT", "/acl/a", lines("10.0.0.1")).status_code == 503


def test_the_configured_sources_are_the_only_ones(tmp_path: Path) -> None:
    with running(tmp_path, "cumulus", erspan_sources=["10.0.0.253"]) as shim:
        assert shim.put("a", acl("10.0.0.1")).status_code == 201
        assert shim.put("b", lines("10.0.0.2")).status_code == 400


def test_without_authentication_any_source_will_do_as_in_2014(tmp_path: Path) -> None:
    with running(tmp_path, "cumulus") as shim:
        assert shim.put("a", lines("10.0.0.1", by="203.0.113.9")).status_code == 201


def test_the_pairs_are_shared_out(shim: Shim) -> None:
    """Mallory has one pair; another destination would be a second, which is left for alice."""
    other = [line.replace("10.0.0.70", "10.0.0.71") for line in lines("10.1.0.2")]
    assert call(shim, "mallory", "PUT", "/acl/m1", lines("10.1.0.1")).status_code == 201
    assert call(shim, "mallory", "PUT", "/acl/m2", other).status_code == 507
    assert call(shim, "alice", "PUT", "/acl/a", other).status_code == 201
    assert call(shim, "alice", "PUT", "/acl/b", lines("10.0.0.2")).status_code == 201, "mallory's pair is there anyway"


def test_requests_a_second_are_bounded_for_each_owner(shim: Shim) -> None:
    shim.stop()
    shim.config.write_text("max_requests_per_second = 5\n" + shim.config.read_text())
    shim.start()
    answers = [call(shim, "mallory", "GET", "/acl/") for _ in range(20)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert refused[0].headers["Retry-After"] == "1"
    assert call(shim, "alice", "GET", "/acl/").status_code == 200
    assert shim.call("GET", "/healthz").status_code == 200


def test_rates_refill_and_forget() -> None:
    now = [0.0]
    rates = Rates(2, clock=lambda: now[0])
    assert [rates.take("a") for _ in range(5)] == [True] * 4 + [False]
    now[0] = 0.5
    assert [rates.take("a"), rates.take("a")] == [True, False]
    for number in range(5000):
        assert rates.take(number)
    assert len(rates._buckets) <= 1024


def test_a_second_shim_on_the_same_state_does_not_start(tmp_path: Path) -> None:
    with running(tmp_path / "one", "emulated") as shim:
        other = Shim(tmp_path / "two", "emulated", {"state_dir": str(tmp_path / "one" / "state")})
        done = subprocess.run(other.command(), cwd=REPO, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 2
        assert "is in use by process" in done.stderr
        assert shim.call("GET", "/healthz").ok
        shim.kill()
        other.start()
        other.stop()


def test_notes_that_would_not_be_read_again_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = PolicyDir(str(tmp_path / "policy.d"), str(tmp_path / "state"))
    policy.prepare()
    for name in ("one", "two"):
        policy.write(Acl(name, "alice", ("[iptables]",), Deadline("b", 1.0), name))
    policy.renew({"one": ("one", Deadline("b", 2.0))})
    monkeypatch.setattr(policy_module, "MAX_STATE_FILE_BYTES", 40)
    with pytest.raises(NoRoomError):
        policy.renew({"two": ("two", Deadline("b", 2.0))})
    monkeypatch.undo()
    assert policy.acls()["one"].lease == Deadline("b", 2.0)


@pytest.mark.parametrize(("owners", "fit"), [(1, 2), (2, 1), (3, 1)])
def test_every_owner_has_a_pair_at_least(owners: int, fit: int) -> None:
    budget = Budget(shares(100, 100, 400, owners), "alice", {})
    taken = 0
    for number, to in enumerate(("10.0.0.70", "10.0.0.71", "10.0.0.72")):
        try:
            budget.take(f"n{number}", read_rules(["[iptables]", rule("10.0.0.1", to=to)]))
            taken += 1
        except Refused as error:
            assert error.status == 507
    assert taken == fit


def test_what_others_have_is_no_part_of_mine() -> None:
    planned = {"b": Acl("b", "bob", tuple(acl("10.0.0.1", "10.0.0.2")), None, new_nonce())}
    Budget(shares(4, 2, 1, 1), "alice", planned).take("a", read_rules(acl("10.0.0.3", "10.0.0.4")))
    with pytest.raises(Refused):
        Budget(shares(4, 2, 1, 1), "bob", planned).take("c", read_rules(acl("10.0.0.3")))
