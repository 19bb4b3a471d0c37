# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""No hand that removes a rule needs a resource: disks that are full, read-only or gone, no descriptors, no settings.

Real processes; the disks are tmpfs of a few pages, filled to the last octet or inode.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import cl_acltool
from tests.support.cl_acltool import installed_sources
from tests.support.shim_world import REPO, Shim, acl, rule, wait_until

PROMPTLY_S = 10


def why_no_disks() -> str:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return "mounting needs root"
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        [effective] = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff")]
        if int(effective, 16) >> 21 & 1:
            return ""
    return "mounting needs CAP_SYS_ADMIN"


needs_disks = pytest.mark.skipif(bool(why_no_disks()), reason=why_no_disks() or "-")


class Disk:
    """A tmpfs that can be filled, emptied and set read-only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=24,mode=0755", "tmpfs", str(path))

    def fill(self, what: str) -> None:
        if what == "inodes":
            with contextlib.suppress(OSError):
                for number in range(1000):
                    (self.path / f"filler{number}").touch()
            return
        with contextlib.suppress(OSError), (self.path / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(512))

    def read_only(self, on: bool = True) -> None:
        _run("mount", "-o", "remount," + ("ro" if on else "rw"), str(self.path))

    def close(self) -> None:
        _run("umount", "-l", str(self.path))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextlib.contextmanager
def small_disks(home: Path, driver: str = "cumulus", **settings: Any) -> Iterator[tuple[Shim, list[Disk]]]:
    """A shim whose state and policy folders are disks of their own."""
    with contextlib.ExitStack() as stack:
        disks = [stack.enter_context(contextlib.closing(Disk(home / name))) for name in ("policy.d", "state")]
        shim = Shim(home, driver, settings)
        stack.callback(shim.stop)
        yield shim.start(), disks


def stands(shim: Shim) -> bool:
    return bool(installed_sources(shim.home))


@needs_disks
@pytest.mark.parametrize("what", ["octets", "inodes"])
@pytest.mark.parametrize("hand", ["loop", "delete", "amend", "expire", "boot"])
def test_a_full_disk_keeps_no_rule(tmp_path: Path, what: str, hand: str) -> None:
    with small_disks(tmp_path) as (shim, disks):
        assert shim.put("short", acl("10.0.0.1"), ttl=3 if hand in {"loop", "expire", "boot"} else 60).ok
        assert shim.put("long", acl("10.0.0.2"), ttl=60).ok
        for disk in disks:
            disk.fill(what)
        if hand in {"expire", "boot"}:
            shim.kill()
            time.sleep(3)
            if hand == "boot":
                (shim.home / "state.json").unlink()
            assert shim.expire(*(["--boot"] if hand == "boot" else [])) == 0
        elif hand == "delete":
            assert shim.call("DELETE", "/acl/short").status_code == 204
        elif hand == "amend":
            answer = shim.call("PATCH", "/acl/", json={"short": None, "new": {"lines": acl("10.0.0.3")}}).json()
            assert (answer["removed"], list(answer["failed"])) == (["short"], ["new"])
        else:
            wait_until(lambda: shim.names() == ["long"], PROMPTLY_S)
        assert shim.files() == ["long"]
        assert installed_sources(shim.home) == ([] if hand == "boot" else ["10.0.0.2"])
        if hand not in {"expire", "boot"}:
            assert shim.names() == ["long"]
            assert shim.put("other", acl("10.0.0.4")).status_code in {502, 503}
            assert installed_sources(shim.home) == ["10.0.0.2"]


@needs_disks
def test_a_full_disk_is_said_where_leases_cannot_be_renewed(tmp_path: Path) -> None:
    with small_disks(tmp_path) as (shim, disks):
        shim.put("one", acl("10.0.0.1"), ttl=3)
        for disk in disks:
            disk.fill("octets")
        assert shim.call("POST", "/acl/renew?ttl=60").status_code == 503
        health = shim.call("GET", "/healthz").json()
        assert health["status"] == "degraded"
        assert any("leases cannot be written" in problem for problem in health["problems"])
        wait_until(lambda: not stands(shim), PROMPTLY_S)
        (disks[1].path / "filler").unlink()
        shim.call("POST", "/acl/renew?ttl=60")
        assert "leases" not in shim.call("GET", "/healthz").text


@needs_disks
@pytest.mark.parametrize("hand", ["loop", "delete", "expire"])
def test_what_cannot_be_deleted_is_said_and_goes_when_it_can(tmp_path: Path, hand: str) -> None:
    with small_disks(tmp_path) as (shim, disks):
        shim.put("one", acl("10.0.0.1"), ttl=60 if hand == "delete" else 1)
        disks[0].read_only()
        if hand == "delete":
            assert shim.call("DELETE", "/acl/one").status_code == 503
        if hand == "expire":
            shim.kill()
            time.sleep(1)
            assert shim.expire() == 1
            assert "cannot be deleted" in shim.log()
            disks[0].read_only(False)
            assert shim.expire() == 0
            assert (shim.files(), stands(shim)) == ([], False)
            return
        wait_until(lambda: "cannot be deleted" in shim.call("GET", "/healthz").text, PROMPTLY_S)
        assert shim.call("GET", "/healthz").json()["status"] == "degraded"
        assert shim.names() == ["one"], "it is listed as long as it stands"
        time.sleep(1)
        before = shim.commits()
        time.sleep(2)
        assert shim.commits() - before <= 1, "the tool is not run again and again"
        disks[0].read_only(False)
        wait_until(lambda: shim.names() == [] and not stands(shim), 30)
        wait_until(lambda: "deleted" not in shim.call("GET", "/healthz").text)


@pytest.mark.parametrize("full", [False, True])
def test_a_folder_in_the_place_of_a_rule_keeps_no_other(tmp_path: Path, full: bool) -> None:
    shim = Shim(tmp_path, "cumulus")
    folder = shim.policy_dir / "50rest-aa.rules"
    folder.mkdir()
    if full:
        (folder / "x").touch()
    (shim.policy_dir / "50rest-zz.rules").write_text("[iptables]\n")
    assert shim.expire() == (1 if full else 0)
    assert shim.files() == (["aa"] if full else [])


@pytest.mark.parametrize("kind", ["folder", "link", "unreadable", "rubbish"])
def test_notes_that_cannot_be_read_keep_no_rule(tmp_path: Path, kind: str) -> None:
    shim = Shim(tmp_path, "cumulus").start()
    try:
        shim.put("one", acl("10.0.0.1"), ttl=2)
        notes = tmp_path / "state" / "leases.json"
        if kind == "folder":
            notes.mkdir()
        elif kind == "link":
            notes.symlink_to(notes)
        else:
            notes.write_bytes(b"\xff" if kind == "rubbish" else b"{}")
            notes.chmod(0)
        wait_until(lambda: shim.names() == [] and not stands(shim), PROMPTLY_S)
    finally:
        shim.stop()


def test_no_free_descriptor_keeps_no_rule(tmp_path: Path) -> None:
    """As many clients as may be, in a process that has descriptors for half of them."""
    shim = Shim(tmp_path, "cumulus")
    log = (shim.home / "log").open("ab")
    with log, contextlib.ExitStack() as stack:
        command = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *shim.command()]
        shim.process = subprocess.Popen(command, stderr=log, cwd=REPO)
        stack.callback(shim.stop)
        wait_until(shim._listens, 20)
        shim.put("one", acl("10.0.0.1"), ttl=2)
        for _ in range(80):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", shim.port), 5))
            with contextlib.suppress(OSError):
                sock.sendall(b"GET ")
        wait_until(lambda: not stands(shim), PROMPTLY_S)
        wait_until(lambda: shim.names() == [])


def test_settings_that_cannot_be_read_keep_no_rule(tmp_path: Path) -> None:
    """Driver, tool and folders are those of the last good start, whatever stands in the file now."""
    shim = Shim(tmp_path, "cumulus").start()
    try:
        shim.put("one", acl("10.0.0.1"), ttl=1)
        shim.kill()
        good = shim.config.read_text()
        time.sleep(1)
        shim.config.write_text("driver = [" + good)
        assert shim.expire() == 2
        assert (shim.files(), stands(shim)) == ([], False)
        shim.config.unlink()
        (shim.policy_dir / "50rest-old.rules").write_text("[iptables]\n")
        assert shim.expire("--boot") == 2
        assert shim.files() == []
    finally:
        shim.stop()


def test_systemds_state_directory_keeps_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    shim = Shim(tmp_path, "cumulus").start()
    try:
        shim.put("one", acl("10.0.0.1"), ttl=1)
        shim.kill()
        assert not shim.config.with_name(shim.config.name + ".last-start").exists()
        shim.config.write_text("")
        time.sleep(1)
        assert shim.expire() == 2
        assert (shim.files(), stands(shim)) == ([], False)
    finally:
        shim.stop()


HOLDER = """
import fcntl, os, subprocess, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(fd, fcntl.LOCK_EX)
child = subprocess.Popen(["sleep", "600"], pass_fds=(fd,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(child.pid, flush=True)
"""


def test_the_lock_of_a_dead_process_keeps_no_rule(tmp_path: Path) -> None:
    """Its tool, which has the descriptor, never ends: after 66 s, which this test shortens, the lock counts no more."""
    shim = Shim(tmp_path, "cumulus").start()
    shim.put("one", acl("10.0.0.1"), ttl=1)
    shim.kill()
    time.sleep(1)
    done = subprocess.run(
        [sys.executable, "-c", HOLDER, str(tmp_path / "state" / "lock")], stdout=subprocess.PIPE, check=True, text=True
    )
    try:
        with (tmp_path / "state" / "lock").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        program = (
            "from switch_acl_api import lock, cli; lock.LOCK_OF_THE_DEAD_S = 0.5; import sys; sys.exit(cli.main())"
        )
        hand = [sys.executable, "-c", program, "-c", str(shim.config), "expire"]
        assert subprocess.run(hand, cwd=REPO, timeout=20, check=False, capture_output=True).returncode == 0
        assert (shim.files(), stands(shim)) == ([], False)
    finally:
        os.kill(int(done.stdout), signal.SIGKILL)


def test_a_lock_that_is_kept_by_the_living_keeps_no_file(tmp_path: Path) -> None:
    shim = Shim(tmp_path, "cumulus").start()
    shim.put("one", acl("10.0.0.1"), ttl=1)
    shim.kill()
    time.sleep(1)
    with (tmp_path / "state" / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        program = (
            "from switch_acl_api import expire, cli; expire.EXPIRE_LOCK_WAIT_S = 0.2; import sys; sys.exit(cli.main())"
        )
        hand = [sys.executable, "-c", program, "-c", str(shim.config), "expire"]
        assert subprocess.run(hand, cwd=REPO, timeout=20, check=False, capture_output=True).returncode == 1
        assert shim.files() == []
    assert shim.expire() == 0
    assert not stands(shim)


def test_a_rule_whose_file_went_without_a_mark_is_taken_off_the_switch(tmp_path: Path) -> None:
    shim = Shim(tmp_path, "cumulus").start()
    try:
        shim.put("one", acl("10.0.0.1"), ttl=60)
        shim.kill()
        (shim.policy_dir / "50rest-one.rules").unlink()
        shim.start()
        wait_until(lambda: not stands(shim), PROMPTLY_S)
        before = shim.commits()
        time.sleep(1)
        assert shim.commits() == before
    finally:
        shim.stop()


def test_a_deleted_rule_that_a_foreign_file_half_names_is_missed(tmp_path: Path) -> None:
    """Its addresses stand in somebody's file, in rules of another shape: that explains nothing."""
    shim = Shim(tmp_path, "cumulus").start()
    try:
        shim.put("one", acl("10.0.0.1"), ttl=60)
        theirs = ["[iptables]", "# 10.0.0.1 and 198.51.100.7", rule("10.0.0.11"), rule("10.0.0.11", "198.51.100.70")]
        (shim.policy_dir / "60theirs.rules").write_text("\n".join(theirs) + "\n")
        cl_acltool.behave(shim.home, lies=True)
        assert shim.call("DELETE", "/acl/one").status_code == 503
        assert shim.names() == ["one"]
        (shim.policy_dir / "60theirs.rules").write_text("\n".join(["[iptables]", _spelt("swp+")]) + "\n")
        assert shim.call("DELETE", "/acl/one").status_code == 204
    finally:
        shim.stop()


def _spelt(port: str) -> str:
    """The rule of ``acl("10.0.0.1")`` as somebody else may write it."""
    target = "-j ERSPAN --src-ip 10.0.0.253 --dst-ip 10.0.0.70 --ttl 9"
    return f"-A FORWARD -i {port} -s 10.0.0.1/32 -d 198.51.100.7 {target}"
