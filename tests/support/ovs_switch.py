# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A real Open vSwitch in a namespace of its own: userspace datapath, sFlow agent, real flows. No daemon is detached."""

import os
import re
import subprocess
from pathlib import Path

from tests.support.netns import Namespace, Namespaces, run
from tests.support.running import until

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
OURS = "cookie=0x5e47000000000000/0xffff000000000000"


class OpenVSwitch:
    """``directory`` becomes its run directory, with database, sockets and logs."""

    def __init__(self, namespaces: Namespaces, namespace: Namespace, directory: Path) -> None:
        self.namespace = namespace
        self.rundir = directory
        self.rundir.mkdir(parents=True, exist_ok=True)
        self._namespaces = namespaces
        places = ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR")
        self._env = {**os.environ, **dict.fromkeys(places, str(self.rundir))}
        self.vswitchd: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        database = self.rundir / "conf.db"
        run("ovsdb-tool", "create", str(database), SCHEMA)
        remote = f"--remote=punix:{self.rundir}/db.sock"
        self._start("ovsdb-server", str(database), remote)
        until((self.rundir / "db.sock").exists, 10, "the database answers")
        self.vsctl("--no-wait", "init")
        self.start_vswitchd()

    def start_vswitchd(self) -> None:
        self.vswitchd = self._start("ovs-vswitchd", f"unix:{self.rundir}/db.sock", "--disable-system")

    def kill_vswitchd(self) -> None:
        """As ``kill -9``; the database keeps bridges and ports, the flows are gone."""
        assert self.vswitchd is not None
        self.vswitchd.kill()
        self.vswitchd.wait()

    def _start(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        log = [f"--pidfile={self.rundir}/{program}.pid", "-vconsole:off", f"--log-file={self.rundir}/{program}.log"]
        # A real switch does not share its cores with the hosts; a starved one here would drop frames before they count.
        argv = ["nice", "-n", "-15", program, *arguments, *log]
        return self._namespaces.start(self.namespace, argv, env=self._env)

    def vsctl(self, *words: str) -> str:
        # Without a time limit it waits for a dead ovs-vswitchd for ever.
        return self.namespace.run("ovs-vsctl", f"--db=unix:{self.rundir}/db.sock", "--timeout=10", *words)

    def ofctl(self, command: str, bridge: str, *words: str) -> str:
        target = f"unix:{self.rundir}/{bridge}.mgmt"
        return self.namespace.run("ovs-ofctl", "-O", "OpenFlow14", "--names", command, target, *words)

    def appctl(self, *words: str) -> str:
        pid = (self.rundir / "ovs-vswitchd.pid").read_text().strip()
        return self.namespace.run("ovs-appctl", "-t", f"{self.rundir}/ovs-vswitchd.{pid}.ctl", *words)

    def bridge(self, name: str, *ports: str) -> None:
        words = ["add-br", name, "--", "set", "bridge", name, "datapath_type=netdev"]
        for port in ports:
            words += ["--", "add-port", name, port]
        self.vsctl(*words)

    def sample(self, bridge: str, agent: str, collector: str, one_in: int) -> None:
        """sFlow of all ports of ``bridge``; ``agent`` is a device with an address."""
        words = f'agent={agent} target="{collector}" header=128 sampling={one_in} polling=1'
        self.vsctl("--", "--id=@s", "create", "sflow", *words.split(" "), "--", "set", "bridge", bridge, "sflow=@s")

    def flows(self, bridge: str = "br0", only: str = OURS) -> list[str]:
        """The flows of the shim (or ``only`` others), as ``ovs-ofctl`` prints them."""
        return [line.strip() for line in self.ofctl("dump-flows", bridge, *([only] if only else [])).splitlines()]

    def pairs(self, bridge: str = "br0") -> set[tuple[str, str]]:
        """The address pairs that the shim's flows mirror."""
        found = (re.search(r"(?:nw|ipv6)_src=([^,]+),(?:nw|ipv6)_dst=([^, ]+)", flow) for flow in self.flows(bridge))
        return {(match.group(1), match.group(2)) for match in found if match}

    def packets(self, bridge: str = "br0") -> int:
        """Sum of the packet counters of the shim's flows."""
        return sum(int(n) for flow in self.flows(bridge) for n in re.findall(r"n_packets=(\d+)", flow))

    def seconds_left(self, bridge: str = "br0") -> list[float]:
        """Of each of the shim's flows."""
        left = []
        for flow in self.flows(bridge):
            timeout, age = re.search(r"hard_timeout=(\d+)", flow), re.search(r"duration=([\d.]+)s", flow)
            left.append(float(timeout.group(1)) - float(age.group(1)) if timeout and age else float("inf"))
        return left

    def settled(self, bridge: str = "br0") -> int:
        """The packet counter with all that the datapath has seen; by itself it tells the flows once a second."""
        self.appctl("revalidator/wait")
        return self.packets(bridge)
