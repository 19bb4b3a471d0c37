# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A file layer that fails as disks do: whatever fails besides deleting itself, an ended rule leaves the switch."""

import errno
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from switch_acl_api import atomic
from switch_acl_api import policy as policy_module
from switch_acl_api.commits import Committer, Remove
from switch_acl_api.drivers.base import Target
from switch_acl_api.foreign import foreign_keys
from switch_acl_api.policy import PolicyDir
from tests.unit.switch_acl_api.test_shim_commits import MemoryDriver, put

FAULTS = [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EPERM, errno.EDQUOT]
# What a removal does besides deleting: none of it may be needed.
NEEDLESS = ("fsync", "replace", "fdopen", "fchmod", "rmdir", "ftruncate", "fstat")


class FailingFiles:
    """``os`` whose ``calls`` fail with ``code``; ``open`` fails for writing and for folders."""

    def __init__(self, code: int, calls: Sequence[str], name: str = "") -> None:
        self._code = code
        self._calls = set(calls)
        self._name = name

    def __getattr__(self, name: str) -> object:
        real: Callable[..., object] = getattr(os, name)
        if name not in self._calls:
            return real

        def call(*args: object, **options: object) -> object:
            reading = name == "open" and args[1] == os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            if reading or (self._name and self._name not in str(args[0])):
                return real(*args, **options)
            raise OSError(self._code, os.strerror(self._code))

        return call


class ToolDriver(MemoryDriver):
    """Installs what the folder has, as cl-acltool does."""

    reads_files = True

    def __init__(self, policy: PolicyDir) -> None:
        super().__init__()
        self._policy = policy

    def commit(self, targets: Sequence[Target], keep_fds: tuple[int, ...] = ()) -> None:
        acls = self._policy.acls()
        super().commit([target for target in targets if target.acl.name in acls], keep_fds)


@pytest.fixture
def policy(tmp_path: Path) -> PolicyDir:
    policy = PolicyDir(str(tmp_path / "policy.d"), str(tmp_path / "state"))
    policy.prepare()
    return policy


def run(policy: PolicyDir, committer: Committer, *changes: object) -> list[int]:
    with policy.lock.held(1) as fd:
        return [outcome.status for outcome in committer.run(changes, fd)]  # type: ignore[arg-type]


def broken(monkeypatch: pytest.MonkeyPatch, files: FailingFiles) -> None:
    for module in (policy_module, atomic):
        monkeypatch.setattr(module, "os", files)


@pytest.mark.parametrize("code", FAULTS, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("seed", range(6))
def test_deleting_is_all_that_removal_needs(
    policy: PolicyDir, code: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    driver = ToolDriver(policy)
    committer = Committer(policy, driver)
    assert run(policy, committer, put("a", "10.0.0.1"), put("b", "10.0.0.2")) == [200, 200]
    fails = ["open", *(call for call in NEEDLESS if rng.random() < 0.8)]
    with monkeypatch.context() as patch:
        broken(patch, FailingFiles(code, fails))
        assert run(policy, committer, Remove("a", "expired")) == [200]
        refused = run(policy, committer, put("c", "10.0.0.3"), Remove("b", "expired"))
        assert refused[0] in {502, 503}
        assert refused[1] == 200
    assert driver.sources == set()
    assert policy.acls() == {}
    assert run(policy, committer, put("c", "10.0.0.3")) == [200]
    assert not policy.uncommitted


@pytest.mark.parametrize("code", FAULTS, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("reads_files", [True, False])
def test_what_cannot_be_deleted_keeps_no_other(
    policy: PolicyDir, code: int, reads_files: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = ToolDriver(policy)
    driver.reads_files = reads_files
    committer = Committer(policy, driver)
    assert run(policy, committer, *(put(name, f"10.0.0.{n}") for n, name in enumerate("abc", 1))) == [200] * 3
    removes = [Remove(name, "expired") for name in "abc"]
    with monkeypatch.context() as patch:
        broken(patch, FailingFiles(code, ["unlink", "rmdir", "open", "ftruncate"], "50rest-b"))
        assert run(policy, committer, *removes) == [200, 503, 200]
        assert set(committer.stuck) == {"b"}
        # A data plane of our own takes the rule off all the same.
        assert driver.sources == ({"10.0.0.2"} if reads_files else set())
        commits = driver.commits
        assert run(policy, committer, *removes[1:2]) == [503]
        assert driver.commits == commits, "nothing changed, and nothing is committed"
        assert run(policy, committer, put("d", "10.0.0.4"), removes[1]) == [200, 503]
        assert driver.sources == {"10.0.0.4"} | ({"10.0.0.2"} if reads_files else set())
    assert run(policy, committer, removes[1]) == [200]
    assert driver.sources == {"10.0.0.4"}
    assert committer.stuck == {}


def test_a_file_that_its_folder_does_not_let_go_is_emptied(policy: PolicyDir, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = ToolDriver(policy)
    committer = Committer(policy, driver)
    run(policy, committer, put("a", "10.0.0.1"))
    with monkeypatch.context() as patch:
        broken(patch, FailingFiles(errno.EPERM, ["unlink", "rmdir"]))
        assert run(policy, committer, Remove("a", "expired")) == [200]
    assert driver.sources == set()
    assert policy.file_of("a").read_bytes() == b""
    assert run(policy, committer, Remove("a", "not written by us")) == [200]
    assert policy.acls() == {}


def test_without_room_a_withdrawn_rule_ends_and_a_bad_file_does_not_stay(
    policy: PolicyDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = MemoryDriver(poison=["10.0.0.66"])
    committer = Committer(policy, driver)
    run(policy, committer, put("a", "10.0.0.1"))
    write = policy.write
    writes: list[str] = []

    def full_after_one(acl: object) -> None:
        writes.append("")
        if len(writes) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(acl)  # type: ignore[arg-type]

    monkeypatch.setattr(policy, "write", full_after_one)
    assert run(policy, committer, put("a", "10.0.0.66")) == [502]
    assert (driver.sources, policy.acls()) == (set(), {})


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_lack_of_ours_ends_no_rule_of_others(policy: PolicyDir, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that could not be opened for want of descriptors is not one without a lease."""
    policy.write(put("a", "10.0.0.1").acl)

    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match=os.strerror(code)):
        policy.acls()


def test_a_mark_that_was_only_renamed_names_nothing(policy: PolicyDir) -> None:
    policy.mark_uncommitted(["nonce"])
    policy.clear_uncommitted()
    policy.mark_uncommitted()
    assert policy.uncommitted
    assert policy.unproved() == set()


def test_foreign_rules_are_read_as_iptables_reads_them() -> None:
    text = """
UP = "swp1,swp2"
[iptables]
-A FORWARD --in-interface $UP --source 10.0.0.1/32 --dst 10.0.0.2 -j ERSPAN --src-ip 10.9.9.1 --dst-ip 10.9.9.2 --ttl 5
# -A FORWARD -i swp9 -s 10.0.0.3 -d 10.0.0.4 -j ERSPAN --src-ip 10.9.9.1 --dst-ip 10.9.9.2
-A FORWARD -i swp+ -s 10.0.0.5 -j ERSPAN --src-ip 10.9.9.1 --dst-ip 10.9.9.2
[ip6tables]
-A FORWARD -i swp+ -s fd00:0::1 -d fd00::2/128 -j ERSPAN --src-ip 10.9.9.1 --dst-ip 10.9.9.2
[ebtables]
-A FORWARD -i swp+ -s 10.0.0.7 -d 10.0.0.8 -j ERSPAN --src-ip 10.9.9.1 --dst-ip 10.9.9.2
"""
    mirror = ("10.9.9.1", "10.9.9.2")
    assert foreign_keys(text) == {
        (4, "swp1", "10.0.0.1", "10.0.0.2", *mirror),
        (4, "swp2", "10.0.0.1", "10.0.0.2", *mirror),
        (6, "swp+", "fd00::1", "fd00::2", *mirror),
    }
    assert foreign_keys("[iptables]\nERSPAN" + " -s" * 5 + " " + "1," * 10_000) == set()
