# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Nothing is left behind: killed daemons, other boots, crashed writers, both hands at once. Real processes."""

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import cl_acltool
from tests.support.cl_acltool import behave, installed_sources
from tests.support.shim_world import REPO, Shim, acl, rule, running, wait_until


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Shim]:
    with running(tmp_path, "cumulus") as shim:
        yield shim


def test_a_killed_daemon_leaves_removal_to_the_timer(shim: Shim) -> None:
    shim.put("short", acl("10.0.0.1"), ttl=0.5)
    shim.put("long", acl("10.0.0.2"), ttl=60)
    shim.kill()
    time.sleep(0.5)
    assert shim.expire() == 0
    assert shim.files() == ["long"]
    assert installed_sources(shim.home) == ["10.0.0.2"]
    before = shim.commits()
    assert shim.expire() == 0
    assert shim.commits() == before, "nothing to do, nothing committed"


def test_renewed_leases_are_known_to_the_timer(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1"), ttl=0.5)
    shim.call("POST", "/acl/renew?ttl=60")
    shim.kill()
    time.sleep(0.6)
    assert shim.expire() == 0
    assert shim.files() == ["one"]


def test_without_its_notes_a_rule_ends_at_its_first_deadline(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1"), ttl=0.5)
    shim.call("POST", "/acl/renew?ttl=60")
    shim.kill()
    (shim.home / "state" / "leases.json").write_bytes(b"\xff{{{")
    time.sleep(0.6)
    assert shim.expire() == 0
    assert shim.files() == []


def test_another_boot_is_expired_and_the_oneshot_commits_nothing(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1"), ttl=60)
    foreign = shim.policy_dir / "60theirs.rules"
    foreign.write_text("[iptables]\n" + rule("10.5.5.5") + "\n")
    shim.kill()
    shim.boot("second-boot")
    (shim.home / "state.json").unlink()
    before = shim.commits()
    assert shim.expire("--boot") == 0
    assert (shim.files(), shim.commits()) == ([], before)
    assert foreign.exists()


def test_a_shim_that_starts_after_a_reboot_drops_what_it_had(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1"), ttl=60)
    shim.kill()
    shim.boot("second-boot")
    shim.start()
    wait_until(lambda: shim.files() == [])
    wait_until(lambda: installed_sources(shim.home) == [])


@pytest.mark.parametrize("driver", ["cumulus", "emulated"])
def test_a_restarted_shim_keeps_what_is_leased_and_drops_the_rest(tmp_path: Path, driver: str) -> None:
    with running(tmp_path, driver) as shim:
        # Long enough to outlive the second request on a busy machine: the restart shall find it, run out.
        shim.put("short", acl("10.0.0.1"), ttl=3)
        shim.put("long", acl("10.0.0.2"), ttl=60)
        shim.kill()
        time.sleep(3)
        commits = shim.commits()
        shim.start()
        wait_until(lambda: shim.files() == ["long"])
        wait_until(lambda: shim.detail()["acls"]["long"]["installed"])
        assert shim.put("long", acl("10.0.0.2"), ttl=60).json()["changed"] is False
        assert shim.commits() - commits == (1 if driver == "cumulus" else 0)


def test_a_restart_with_nothing_expired_commits_nothing(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1"), ttl=60)
    commits = shim.commits()
    shim.kill()
    shim.start()
    assert shim.put("one", acl("10.0.0.1"), ttl=60).json()["changed"] is False
    assert shim.commits() == commits


def test_renewing_by_put_during_somebody_elses_commit_adds_no_commit(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1"), ttl=60)
    behave(shim.home, sleep=0.5)
    commits = shim.commits()
    other = threading.Thread(target=shim.put, args=("other", acl("10.0.0.2")))
    other.start()
    wait_until((shim.home / "busy").exists)
    assert shim.put("one", acl("10.0.0.1"), ttl=60).json()["changed"] is False
    other.join()
    assert shim.commits() == commits + 1


def test_a_switch_that_forgot_its_rules_gets_them_again(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1"), ttl=60)
    shim.kill()
    (shim.home / "state.json").unlink()
    shim.start()
    wait_until(lambda: installed_sources(shim.home) == ["10.0.0.1"])


def test_killed_between_files_and_commit(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1"), ttl=60)
    behave(shim.home, sleep=1.0)
    threading.Thread(target=lambda: _ignore(shim), daemon=True).start()
    wait_until((shim.home / "busy").exists)
    shim.kill()
    # The tool outlives its caller; the next hand waits for it instead of committing beside it.
    assert shim.expire() == 0
    assert "OVERLAP" not in cl_acltool.calls(shim.home)
    assert installed_sources(shim.home) == []
    assert not (shim.home / "state" / "uncommitted").exists()


def _ignore(shim: Shim) -> None:
    try:
        shim.call("DELETE", "/acl/one")
    except OSError:
        return


def test_the_hands_never_commit_at_once(shim: Shim) -> None:
    behave(shim.home, sleep=0.3)
    for number in range(3):
        shim.put(f"r{number}", acl(f"10.0.0.{number + 1}"), ttl=1)
    hands = [subprocess.Popen(shim.command("expire"), cwd=REPO, stderr=subprocess.DEVNULL) for _ in range(3)]
    shim.put("other", acl("10.0.1.1"), ttl=60)
    assert [hand.wait(30) for hand in hands] == [0, 0, 0]
    wait_until(lambda: shim.files() == ["other"])
    wait_until(lambda: installed_sources(shim.home) == ["10.0.1.1"])
    assert "OVERLAP" not in cl_acltool.calls(shim.home)


def test_the_wall_clock_means_nothing(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1"), ttl=0.5)
    shim.put("two", acl("10.0.0.2"), ttl=60)
    shim.kill()
    time.sleep(0.5)
    if shutil.which("faketime"):
        prefix = ["faketime", "1970-01-02 00:00:00"]
        # Else it would set the clock of leases too, which no operator can.
        wall_alone = {**os.environ, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        done = subprocess.run(prefix + shim.command("expire"), cwd=REPO, env=wall_alone, check=False)
        assert done.returncode == 0
    else:
        # No way to set the clock here: file times are the only wall clock a file carries.
        for path in shim.policy_dir.iterdir():
            os.utime(path, (0, 0))
        assert shim.expire() == 0
    assert shim.files() == ["two"]


@pytest.mark.parametrize(
    "content",
    [
        b"[iptables]\n-A FORWARD -j DROP\n",
        b"",
        b"\xff\xfe\x00",
        b"# switch-acl-api {}\n[iptables]\n",
        b"# switch-acl-api [1]\n",
        b'# switch-acl-api {"lease": ["first-boot", 1e999], "nonce": "x", "owner": "o"}\n',
        b'# switch-acl-api {"lease": ["first-boot", NaN], "nonce": "x", "owner": "o"}\n',
        b'# switch-acl-api {"lease": ["first-boot", 99999999999], "nonce": "x", "owner": "o"}\n',
        b'# switch-acl-api {"lease": ["first-boot", true], "nonce": "x", "owner": "o"}\n',
    ],
)
def test_a_file_of_ours_without_a_readable_lease_is_not_kept(tmp_path: Path, content: bytes) -> None:
    shim = Shim(tmp_path, "cumulus")
    path = shim.policy_dir / "50rest-odd.rules"
    path.write_bytes(content)
    assert shim.expire() == 0
    assert not path.exists()


def test_a_link_in_the_place_of_a_rule_goes_and_its_target_stays(tmp_path: Path) -> None:
    shim = Shim(tmp_path, "cumulus")
    target = tmp_path / "target"
    target.write_text("precious")
    (shim.policy_dir / "50rest-link.rules").symlink_to(target)
    assert shim.expire() == 0
    assert shim.files() == []
    assert target.read_text() == "precious"


def test_a_broken_configuration_does_not_stop_removal(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1"), ttl=0.3)
    shim.kill()
    shim.config.write_text('max_rules = "many"\nmax_ruls = 3\n' + shim.config.read_text().replace("max_rules = 20", ""))
    time.sleep(0.3)
    assert shim.expire() == 2, "says so"
    assert shim.files() == []
    assert installed_sources(shim.home) == []


def test_a_setting_that_forbids_an_old_rule_removes_it(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1"), ttl=60)
    shim.stop()
    shim.config.write_text(shim.config.read_text().replace('"10.0.0.70"', '"10.0.0.72"'))
    shim.start()
    wait_until(lambda: shim.files() == [])
    wait_until(lambda: installed_sources(shim.home) == [])


def test_ending_the_daemon_keeps_rules_and_leases(shim: Shim) -> None:
    shim.put("one", acl("10.0.0.1"), ttl=60)
    assert shim.stop() == 0
    assert shim.files() == ["one"]
    assert installed_sources(shim.home) == ["10.0.0.1"]


def test_leases_survive_a_killed_writer_at_every_moment(shim: Shim) -> None:
    """Killed again and again while it writes: afterwards every file is whole and every rule has an end."""
    for round_ in range(4):
        stop = threading.Event()

        def hammer(stop: threading.Event = stop) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    shim.put(f"r{number % 5}", acl(f"10.0.0.{number % 200 + 1}"), ttl=30)
                    shim.call("POST", "/acl/renew?ttl=30")
                except OSError:
                    return

        thread = threading.Thread(target=hammer)
        thread.start()
        time.sleep(0.15 + 0.07 * round_)
        shim.kill()
        stop.set()
        thread.join()
        for path in shim.policy_dir.glob("50rest-*.rules"):
            head = json.loads(path.read_text().splitlines()[0].partition("api ")[2])
            assert head["lease"][0] == "first-boot"
        shim.start()
    wait_until(lambda: all(entry["installed"] for entry in shim.detail()["acls"].values()))
    assert not list(shim.policy_dir.glob("*.tmp"))
    assert "OVERLAP" not in cl_acltool.calls(shim.home)
