# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The switch's units: no capability without a use, and a system-call filter that shim and tools survive."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.shim_world import REPO, Shim, acl
from tests.unit.deploy.test_units import directives

SWITCH = REPO / "deploy" / "switch"
SERVICES = sorted(path.name for path in SWITCH.glob("*.service"))
# ip and iptables; ping and the ARP it causes; files of other users; "ip vrf exec": a cgroup, a program, locked memory.
CAPABILITIES = {
    "switch-acl-api.service": "CAP_NET_ADMIN CAP_NET_RAW CAP_DAC_OVERRIDE CAP_SYS_ADMIN CAP_SYS_RESOURCE",
    "switch-acl-api-expire.service": "CAP_NET_ADMIN CAP_NET_RAW CAP_DAC_OVERRIDE",
    "switch-acl-api-boot.service": "CAP_DAC_OVERRIDE",
}
# A unit without any hardening has 9.6; what vrf exec needs costs the daemon most.
MOST_EXPOSED = {
    "switch-acl-api.service": 4.5,
    "switch-acl-api-expire.service": 3.8,
    "switch-acl-api-boot.service": 2.0,
}
CALL = re.compile(r"^\d+ +(?:[\d.]+ )?([a-z_0-9]+)\(", re.MULTILINE)


@pytest.mark.parametrize("name", SERVICES)
def test_capabilities_are_the_listed_ones(name: str) -> None:
    assert directives(SWITCH / name)["Service.CapabilityBoundingSet"] == [CAPABILITIES[name]]


@pytest.mark.parametrize("name", SERVICES)
def test_every_unit_has_a_filter_and_writes_to_its_own_folders(name: str) -> None:
    unit = directives(SWITCH / name)
    assert unit["Service.NoNewPrivileges"] == ["yes"]
    assert unit["Service.SystemCallFilter"][0].split()[0] == "@system-service"
    assert unit["Service.SystemCallErrorNumber"] == ["EPERM"]
    assert unit["Service.ReadWritePaths"] == ["-/etc/cumulus/acl"]
    assert unit["Service.StateDirectory"] == ["switch-acl-api"]
    assert unit["Service.ProtectSystem"] == ["strict" if "boot" in name else "full"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("name", SERVICES)
def test_systemd_calls_it_confined(name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(SWITCH / name)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    if found is None:
        pytest.skip("this systemd cannot judge a unit offline")
    assert float(found[1]) <= MOST_EXPOSED[name]


@cache
def members(group: str) -> frozenset[str]:
    """The system calls of a group, as this systemd has it."""
    done = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, timeout=60, check=True
    )
    names = [line.strip() for line in done.stdout.splitlines()[1:] if not line.strip().startswith("#")]
    return frozenset(call for name in names for call in (members(name) if name.startswith("@") else {name}))


def allowed(unit: str) -> frozenset[str]:
    words = directives(SWITCH / unit)["Service.SystemCallFilter"][0].split()
    return frozenset(call for word in words for call in (members(word) if word.startswith("@") else {word}))


def calls_in(trace: Path) -> set[str]:
    found = set(CALL.findall(trace.read_text(errors="replace")))
    assert {"openat", "execve"} <= found
    return found


class Traced(Shim):
    def command(self, *arguments: str) -> list[str]:
        log = self.home / (f"trace-{arguments[-1].strip('-')}" if arguments else "trace")
        return ["strace", "-D", "-f", "-qq", "-o", str(log), *super().command(*arguments)]


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    for tool in ("strace", "systemd-analyze"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not here")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be traced here")
    shim = Traced(tmp_path, "cumulus")
    yield shim
    shim.stop()


def test_shim_and_expire_keep_to_the_filter(traced: Traced) -> None:
    traced.start()
    assert traced.put("one", acl("10.0.0.1"), ttl=60).status_code == 201
    assert traced.call("POST", "/acl/renew?ttl=60").ok
    assert traced.call("DELETE", "/acl/one").status_code == 204
    assert traced.put("two", acl("10.0.0.1"), ttl=1).status_code == 201
    traced.stop()
    traced.boot("second-boot")
    assert traced.expire() == 0
    traced.boot("third-boot")
    assert traced.expire("--boot") == 0
    assert calls_in(traced.home / "trace") - allowed("switch-acl-api.service") == set()
    assert calls_in(traced.home / "trace-expire") - allowed("switch-acl-api-expire.service") == set()
    assert calls_in(traced.home / "trace-boot") - allowed("switch-acl-api-boot.service") == set()


@pytest.mark.parametrize(
    "command", ["ip -json addr show", "ip -json route get 192.0.2.1", "ping -c 1 -W 1 127.0.0.1", "iptables -L -v -x"]
)
def test_the_tools_keep_to_the_filter(traced: Traced, command: str) -> None:
    words = command.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not here")
    trace = traced.home / "tool"
    subprocess.run(["strace", "-f", "-qq", "-o", str(trace), *words], capture_output=True, timeout=30, check=False)
    assert calls_in(trace) - allowed("switch-acl-api-expire.service") == set()
