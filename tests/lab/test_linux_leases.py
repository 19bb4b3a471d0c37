# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The kernel keeps the leases: what happens while the shim is dead, while it renews, and when another hand expires."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.linux_lab import H1, H2, PACE, Ear, Sender, Switch, linux_switch, mirror_rules, until
from tests.support.netns import require_lab

require_lab("nft", "ethtool")
pytestmark = pytest.mark.lab


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[Switch]:
    with linux_switch(tmp_path) as switch:
        yield switch


@pytest.fixture
def ear(switch: Switch) -> Iterator[Ear]:
    ear = Ear(switch.mon)
    yield ear
    ear.close()


@pytest.fixture
def h1(switch: Switch) -> Iterator[Sender]:
    sender = Sender(switch.h1, switch.mac("swp1"))
    yield sender
    sender.close()


def mirrored(h1: Sender, ear: Ear) -> bool:
    h1.send(h1.frame(H1, H2))
    return bool(ear.hear(0.2, count=1))


def test_without_the_shim_a_capture_goes_on_until_its_lease_ends(switch: Switch, ear: Ear, h1: Sender) -> None:
    begin = time.monotonic()
    switch.put("m", mirror_rules(), ttl=4 * PACE)
    own_process = bool(switch.encapsulators())
    switch.kill()
    assert mirrored(h1, ear)
    until(lambda: not mirrored(h1, ear), 8, "no mirror after the lease")
    assert 3.5 * PACE < time.monotonic() - begin < 7 * PACE
    if not own_process:
        # A device of the kernel waits, idle, for the next hand.
        switch.expire()
    until(lambda: not switch.encapsulators() and not switch.devices(), 5, "nothing left running")


def test_without_shim_and_encapsulator_the_rule_ends_all_the_same(switch: Switch) -> None:
    switch.put("m", mirror_rules(), ttl=2 * PACE)
    switch.kill()
    for pid in switch.encapsulators():
        switch.router.run("kill", "-9", str(pid))
    assert " timeout " in switch.table()
    until(lambda: " timeout " not in switch.table(), 6, "the kernel forgets it")


def test_the_expire_hand_takes_everything_away(switch: Switch) -> None:
    switch.put("short", mirror_rules(), ttl=PACE)
    switch.put("long", mirror_rules(other="10.1.2.9"), ttl=300)
    switch.kill()
    time.sleep(PACE + 0.1)
    switch.expire()
    assert "10.1.2.2" not in switch.table()
    assert "10.1.2.9" in switch.table()
    assert len(switch.devices()) > 0


def test_the_last_rule_takes_table_and_devices_along(switch: Switch) -> None:
    switch.put("short", mirror_rules(), ttl=PACE)
    switch.kill()
    time.sleep(PACE + 0.1)
    switch.expire()
    assert (switch.table(), switch.devices()) == ("", [])
    until(lambda: not switch.encapsulators(), 5, "its encapsulator ends")


def test_a_shim_that_comes_back_finds_its_rule_mirroring(switch: Switch, ear: Ear, h1: Sender) -> None:
    switch.put("m", mirror_rules(), ttl=300)
    before = switch.encapsulators()
    switch.kill()
    assert mirrored(h1, ear)
    switch.start()
    assert mirrored(h1, ear)
    assert switch.encapsulators() == before
    until(lambda: switch.detail()["acls"]["m"]["packets"] == 2, 5, "the counters go on")
    assert 'result="ok"' not in switch.call("GET", "/metrics").text, "something was committed"


def test_a_renewal_mirrors_on_without_a_gap_and_counts_on(switch: Switch, ear: Ear, h1: Sender) -> None:
    switch.put("m", mirror_rules(), ttl=3 * PACE)
    rate, seconds = 1_000 / PACE, 5 * PACE
    frames = [h1.frame(H1, H2, number.to_bytes(4, "big") + bytes(60)) for number in range(round(rate * seconds))]

    def send() -> None:
        begin = time.monotonic()
        for number, frame in enumerate(frames):
            h1.send(frame)
            time.sleep(max(0.0, begin + number / rate - time.monotonic()))

    sending = threading.Thread(target=send)
    sending.start()
    while sending.is_alive():
        assert switch.call("POST", f"/acl/renew?ttl={3 * PACE:g}").status_code == 200
        sending.join(0.3 * PACE)
    assert [m.frame for m in ear.hear(0.5)] == frames
    packets, _ = switch.counts()
    assert packets == len(frames)
    until(lambda: not mirrored(h1, ear), 8, "the last lease ends too")
