# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Blame, withdrawal and crash at every step, over a data plane in memory that executes what the files say."""

import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from switch_acl_api import grammar
from switch_acl_api.clock import BootClock
from switch_acl_api.commits import Committer, Put, Remove
from switch_acl_api.drivers.base import Count, Driver, Target
from switch_acl_api.errors import CommitError
from switch_acl_api.expire import expire
from switch_acl_api.grammar import RuleKey
from switch_acl_api.leases import Deadline
from switch_acl_api.policy import Acl, PolicyDir, new_nonce
from tests.support.shim_world import acl as lines_of

FOREVER = Deadline("boot-1", 1e7)


class MemoryDriver(Driver):
    """Refuses files that hold a poisoned source; ``broken`` refuses everything; ``room`` is its TCAM."""

    name = "memory"

    def __init__(self, poison: Sequence[str] = (), room: int = 1000) -> None:
        self.poison = set(poison)
        self.room = room
        self.broken = False
        self.commits = 0
        self.rules: dict[RuleKey, Count] = {}

    def commit(self, targets: Sequence[Target], keep_fds: tuple[int, ...] = ()) -> None:
        self.commits += 1
        rules = [rule for target in targets for rule in target.rules]
        if self.broken or len(rules) > self.room or any(rule.source in self.poison for rule in rules):
            raise CommitError("rejected", "error: no", ["error: no"])
        self.rules = {rule.key: Count(0, 0) for rule in rules}

    def installed(self) -> dict[RuleKey, Count]:
        return dict(self.rules)

    @property
    def sources(self) -> set[str]:
        return {key[2] for key in self.rules}


@pytest.fixture
def policy(tmp_path: Path) -> PolicyDir:
    policy = PolicyDir(str(tmp_path / "policy.d"), str(tmp_path / "state"))
    policy.prepare()
    return policy


def put(name: str, source: str, lease: Deadline | None = FOREVER) -> Put:
    return Put(Acl(name, "alice", tuple(lines_of(source)), lease, new_nonce()))


def run(policy: PolicyDir, driver: Driver, *changes: Put | Remove) -> list[int]:
    with policy.lock.held(1) as fd:
        return [outcome.status for outcome in Committer(policy, driver).run(changes, fd)]


def test_a_good_batch_is_one_commit(policy: PolicyDir) -> None:
    driver = MemoryDriver()
    assert run(policy, driver, *(put(f"r{n}", f"10.0.0.{n}") for n in range(1, 9))) == [200] * 8
    assert driver.commits == 1
    assert not policy.uncommitted


@pytest.mark.parametrize("seed", range(12))
def test_exactly_the_poisoned_ones_are_blamed(policy: PolicyDir, seed: int) -> None:
    """Against the obvious reference: a change is good if it commits alone."""
    rng = random.Random(seed)
    sources = [f"10.0.0.{n}" for n in range(1, rng.randint(2, 12))]
    driver = MemoryDriver(rng.sample(sources, rng.randint(1, len(sources))))
    statuses = run(policy, driver, *(put(f"r{n}", source) for n, source in enumerate(sources)))
    assert statuses == [502 if source in driver.poison else 200 for source in sources]
    assert driver.sources == set(sources) - driver.poison
    assert len(policy.acls()) == len(driver.sources)
    assert not policy.uncommitted


def test_removals_stay_done_when_a_neighbour_is_refused(policy: PolicyDir) -> None:
    driver = MemoryDriver(["10.0.0.3"])
    run(policy, driver, put("old", "10.0.0.1"))
    assert run(policy, driver, Remove("old", "expired"), put("bad", "10.0.0.3")) == [200, 502]
    assert (driver.sources, policy.acls()) == (set(), {})


def test_nobody_is_blamed_when_nothing_commits(policy: PolicyDir) -> None:
    driver = MemoryDriver()
    run(policy, driver, put("old", "10.0.0.1"), put("gone", "10.0.0.9"))
    driver.broken = True
    assert run(policy, driver, put("new", "10.0.0.2"), put("old", "10.0.0.3"), Remove("gone", "deleted")) == [503] * 3
    assert {name: acl.lines for name, acl in policy.acls().items()} == {"old": tuple(lines_of("10.0.0.1"))}
    assert policy.uncommitted, "the removal is still to be committed"
    driver.broken = False
    run(policy, driver)
    assert driver.sources == {"10.0.0.1"}
    assert not policy.uncommitted


def test_what_does_not_fit_is_refused_and_what_fits_stays(policy: PolicyDir) -> None:
    driver = MemoryDriver(room=5)
    statuses = run(policy, driver, *(put(f"r{n}", f"10.0.0.{n}") for n in range(1, 9)))
    assert sorted(statuses) == [200] * 5 + [502] * 3
    assert len(driver.sources) == 5


def test_blame_is_bounded(policy: PolicyDir) -> None:
    changes = [put(f"r{n}", f"10.0.{n // 200}.{n % 200 + 1}") for n in range(300)]
    driver = MemoryDriver([change.acl.lines[1].split()[5] for change in changes])
    statuses = run(policy, driver, *changes)
    assert set(statuses) <= {502, 503}
    assert driver.commits < 50
    assert policy.acls() == {}


def test_an_unwritable_folder_is_an_answer_not_a_crash(policy: PolicyDir, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = MemoryDriver()
    run(policy, driver, put("old", "10.0.0.1"))

    def full(acl: Acl) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(policy, "write", full)
    assert run(policy, driver, put("new", "10.0.0.2")) in ([502], [503])
    assert set(policy.acls()) == {"old"}


def test_a_remove_meant_for_an_older_file_spares_the_newer(policy: PolicyDir) -> None:
    driver = MemoryDriver()
    first = put("one", "10.0.0.1")
    run(policy, driver, first)
    run(policy, driver, put("one", "10.0.0.2"))
    run(policy, driver, Remove("one", "expired", first.acl.nonce))
    assert driver.sources == {"10.0.0.2"}


# --- dying between any two steps -------------------------------------------------------------------


class FileDriver(MemoryDriver):
    """A data plane that outlives the process: its rules are in a file, as an ASIC's are in the ASIC."""

    def __init__(self, file: Path, poison: Sequence[str] = ()) -> None:
        super().__init__(poison)
        self._file = file

    def commit(self, targets: Sequence[Target], keep_fds: tuple[int, ...] = ()) -> None:
        super().commit(targets, keep_fds)
        self._file.write_text("\n".join("|".join(map(str, key)) for key in self.rules))

    def installed(self) -> dict[RuleKey, Count]:
        rows = [row.split("|") for row in self._file.read_text().splitlines()] if self._file.exists() else []
        return {(int(r[0]), r[1], r[2], r[3], r[4], r[5]): Count(0, 0) for r in rows}


class Clock(BootClock):
    def __init__(self) -> None:
        self.boot_id = "boot-1"


STEPS = ("write", "remove", "mark_uncommitted", "clear_uncommitted", "commit", "installed")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(1, 9))
def test_dying_between_any_two_steps_leaves_nothing_behind(tmp_path: Path, step: int, after: bool) -> None:
    """Whatever the moment: the other hand makes the switch agree with the files, and the files have ends."""
    hardware = tmp_path / "hardware"

    def fresh() -> tuple[PolicyDir, FileDriver]:
        policy = PolicyDir(str(tmp_path / "policy.d"), str(tmp_path / "state"))
        policy.prepare()
        return policy, FileDriver(hardware, poison=["10.0.0.66"])

    policy, driver = fresh()
    run(policy, driver, put("gone", "10.0.0.1"), put("kept", "10.0.0.2"), put("changed", "10.0.0.3"))
    child = os.fork()
    if child == 0:
        try:
            _die_at(policy, driver, step, after)
            run(policy, driver, Remove("gone", "deleted"), put("changed", "10.0.0.4"), put("bad", "10.0.0.66"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    policy, driver = fresh()
    assert expire(policy, driver, Clock(), boot=False) == 0
    sources = {key[2] for key in driver.installed()}
    on_disk = {line.split()[5] for acl in policy.acls().values() for line in acl.lines if line.startswith("-A")}
    assert sources == on_disk
    assert "10.0.0.2" in sources
    assert "bad" not in policy.acls(), "a bad file does not stay because its writer died"
    assert not policy.uncommitted


def _die_at(policy: PolicyDir, driver: Driver, step: int, after: bool) -> None:
    left = [step]
    for owner in (policy, driver):
        for name in STEPS:
            real = getattr(owner, name, None)
            if real is None:
                continue

            def call(*args: object, real: object = real, **options: object) -> object:
                left[0] -= 1
                if left[0] == 0 and not after:
                    os._exit(77)
                result = real(*args, **options)  # type: ignore[operator]
                if left[0] == 0:
                    os._exit(77)
                return result

            setattr(owner, name, call)


def test_a_commit_reads_only_what_is_new(policy: PolicyDir, monkeypatch: pytest.MonkeyPatch) -> None:
    committer = Committer(policy, MemoryDriver())
    with policy.lock.held(1.0) as fd:
        committer.run([put(f"a{n}", f"10.77.0.{n}") for n in range(20)], fd)
        read: list[str] = []
        one = grammar._read_rule

        def reading(number: int, tokens: list[str], family: int) -> grammar.Rule:
            read.extend(tokens[:1])
            return one(number, tokens, family)

        monkeypatch.setattr(grammar, "_read_rule", reading)
        assert committer.run([put("b", "10.77.1.1")], fd)[0].ok
    assert read == ["-A"] * len([line for line in lines_of("10.77.1.1") if line.startswith("-A")])
