# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Rule files: whole or absent whenever the writer dies, and never without an end."""

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from switch_acl_api import atomic
from switch_acl_api import policy as policy_module
from switch_acl_api.errors import LockBusyError
from switch_acl_api.leases import Deadline
from switch_acl_api.limits import MAX_NAME_CHARS, MAX_OWNER_CHARS
from switch_acl_api.policy import Acl, PolicyDir, is_owner, new_nonce

LEASE = Deadline("boot-1", 100.5)
SYSTEM_CALLS = ("open", "fdopen", "fchmod", "fsync", "replace", "unlink", "close")


@pytest.fixture
def policy(tmp_path: Path) -> PolicyDir:
    return make(tmp_path)


def make(folder: Path) -> PolicyDir:
    made = PolicyDir(str(folder / "policy.d"), str(folder / "state"))
    made.prepare()
    return made


def acl(name: str = "one", *lines: str, lease: Deadline | None = LEASE) -> Acl:
    return Acl(name, "alice", lines or ("[iptables]", "# one"), lease, new_nonce())


def test_names_and_owners_are_as_long_as_the_limits_say(policy: PolicyDir) -> None:
    assert is_owner("o" * MAX_OWNER_CHARS)
    assert not is_owner("o" * (MAX_OWNER_CHARS + 1))
    longest = "n" * MAX_NAME_CHARS
    policy.write(acl(longest))
    policy.write(acl(longest + "n"))
    assert list(policy.acls()) == [longest]


@pytest.mark.parametrize("lease", [LEASE, None])
@pytest.mark.parametrize("lines", [(), ("",), ("[iptables]", "", "# x", "")])
def test_what_is_written_is_read(policy: PolicyDir, lines: tuple[str, ...], lease: Deadline | None) -> None:
    written = Acl("one", "alice", lines, lease, new_nonce())
    policy.write(written)
    assert policy.acls() == {"one": written}
    assert oct(policy.file_of("one").stat().st_mode)[-3:] == "644"


def test_renewal_belongs_to_one_file_only(policy: PolicyDir) -> None:
    first = acl()
    policy.write(first)
    policy.renew({"one": (first.nonce, Deadline("boot-1", 900.0))})
    assert policy.acls()["one"].lease == Deadline("boot-1", 900.0)
    policy.write(acl())
    assert policy.acls()["one"].lease == LEASE, "a later file of that name has its own lease"


def test_other_renewals_stay_and_those_of_gone_files_go(policy: PolicyDir) -> None:
    one, two = acl("one"), acl("two")
    policy.write(one)
    policy.write(two)
    policy.renew({"one": (one.nonce, Deadline("boot-1", 900.0)), "gone": ("n", LEASE)})
    policy.renew({"two": (two.nonce, Deadline("boot-1", 800.0))})
    found = policy.acls()
    assert (found["one"].lease, found["two"].lease) == (Deadline("boot-1", 900.0), Deadline("boot-1", 800.0))
    assert "gone" not in (policy.path.parent / "state" / "leases.json").read_text()


@pytest.mark.parametrize("cut", range(0, 120, 7))
def test_a_file_cut_short_is_no_lease_of_ours(policy: PolicyDir, cut: int) -> None:
    policy.write(acl())
    raw = policy.file_of("one").read_bytes()
    policy.file_of("one").write_bytes(raw[:cut])
    found = policy.acls()["one"]
    assert (found.readable, found.lease) == (False, Deadline("", 0.0))


@pytest.mark.parametrize(
    "notes", [b"", b"{", b"[]", b"7", b'{"one": 3}', b'{"one": ["n"]}', b'{"one": ["n", 1, 2]}', b"\xff" * 9]
)
def test_notes_that_are_rubbish_fall_back_to_the_files(policy: PolicyDir, notes: bytes) -> None:
    written = acl()
    policy.write(written)
    (policy.path.parent / "state" / "leases.json").write_bytes(notes)
    assert policy.acls() == {"one": written}


def test_only_files_named_like_ours_are_ours(policy: PolicyDir) -> None:
    for name in (
        "00control_plane.rules",
        "50rest-UPPER.rules",
        "50rest-.rules",
        "50rest-a.rules.bak",
        "50rest-a b.rules",
    ):
        (policy.path / name).write_text("[iptables]\n")
    assert policy.acls() == {}


def test_a_change_of_another_process_is_seen(policy: PolicyDir, tmp_path: Path) -> None:
    policy.write(acl())
    assert set(policy.acls()) == {"one"}
    other = make(tmp_path)
    other.remove("one")
    other.write(acl("two"))
    assert set(policy.acls()) == {"two"}


# --- dying at every step --------------------------------------------------------------------------


class Dying:
    """``os`` with a process that ends at the ``step``-th system call, or that fails there."""

    def __init__(self, step: int, fail: bool = False) -> None:
        self._left = step
        self._fail = fail

    def __getattr__(self, name: str) -> object:
        real: Callable[..., object] = getattr(os, name)
        if name not in SYSTEM_CALLS:
            return real

        def call(*args: object, **options: object) -> object:
            self._left -= 1
            if self._left == 0:
                if self._fail:
                    raise OSError(errno.ENOSPC, "No space left on device")
                os._exit(77)
            return real(*args, **options)

        return call


def die_at(step: int, work: Callable[[], None]) -> bool:
    """True when the child died on the way, false when it came to its end."""
    child = os.fork()
    if child == 0:
        vars(policy_module)["os"] = vars(atomic)["os"] = Dying(step)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 77


@pytest.mark.parametrize("step", range(1, 12))
def test_a_writer_that_dies_leaves_the_old_file_or_the_new_one(tmp_path: Path, step: int) -> None:
    policy = make(tmp_path)
    old, new = acl("one", "[iptables]", "# old"), acl("one", "[iptables]", "# new")
    policy.write(old)
    died = die_at(step, lambda: make(tmp_path).write(new))
    found = make(tmp_path).acls()
    assert found in ({"one": old}, {"one": new})
    assert died or found == {"one": new}
    assert died == (step <= 8)
    fresh = make(tmp_path)
    fresh.sweep()
    assert [path.name for path in fresh.path.iterdir()] == ["50rest-one.rules"]


@pytest.mark.parametrize("step", range(1, 8))
def test_a_renewal_that_dies_leaves_some_deadline(tmp_path: Path, step: int) -> None:
    policy = make(tmp_path)
    one = acl()
    policy.write(one)
    policy.renew({"one": (one.nonce, Deadline("boot-1", 200.0))})
    die_at(step, lambda: make(tmp_path).renew({"one": (one.nonce, Deadline("boot-1", 300.0))}))
    lease = make(tmp_path).acls()["one"].lease
    assert lease in (Deadline("boot-1", 200.0), Deadline("boot-1", 300.0))


@pytest.mark.parametrize("step", range(1, 7))
def test_a_full_disk_leaves_the_old_file_and_no_litter(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make(tmp_path)
    old = acl("one", "# old")
    policy.write(old)
    dying = Dying(step, fail=True)
    monkeypatch.setattr(policy_module, "os", dying)
    monkeypatch.setattr(atomic, "os", dying)
    try:
        policy.write(acl("one", "# new"))
    except OSError as error:
        assert error.errno == errno.ENOSPC
        monkeypatch.undo()
        names = sorted(path.name for path in policy.path.iterdir())
        assert names == ["50rest-one.rules"]


# --- the lock -------------------------------------------------------------------------------------


def test_processes_exclude_one_another_and_threads_do_not(tmp_path: Path) -> None:
    ours, theirs = make(tmp_path).lock, make(tmp_path).lock
    with ours.held(1), ours.held(1), pytest.raises(LockBusyError), theirs.held(0.05):
        pass
    with theirs.held(0.05):
        pass


def test_the_lock_is_free_when_its_holder_is_done(tmp_path: Path) -> None:
    ours, theirs = make(tmp_path).lock, make(tmp_path).lock
    release = threading.Event()

    def hold() -> None:
        with ours.held(1):
            release.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    time.sleep(0.05)
    threading.Timer(0.1, release.set).start()
    with theirs.held(3):
        pass
    thread.join()
