# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The daemon's settings file for the emulated fabric, and the ports everything listens on."""

import socket
from dataclasses import dataclass
from pathlib import Path

from sentinel.demo.shims import Shim, free_port
from sentinel.demo.topology import LOCAL_PREFIX

COLLECTOR = "127.0.1.70"
_GRE_IN_UDP = 4754
_WEB_PORT = 8008


@dataclass(frozen=True, slots=True)
class Ports:
    """What the demo listens on, all on loopback."""

    sflow: int
    erspan: int
    web: int


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the host talks, how long quiet ends the capture, and the switch's lease, in seconds."""

    talk_s: float = 14.0
    quiet_s: int = 6
    lease_s: int = 6


def choose_ports() -> Ports:
    """The usual ones where they are free."""
    return Ports(
        free_port("127.0.0.1", socket.SOCK_DGRAM),
        preferred_port(COLLECTOR, _GRE_IN_UDP, socket.SOCK_DGRAM),
        preferred_port("127.0.0.1", _WEB_PORT, socket.SOCK_STREAM),
    )


def settings_text(directory: Path, ports: Ports, shims: list[Shim], pace: Pace) -> str:
    """The daemon's real settings file for this fabric."""
    switches = "".join(
        f"""
[[switch]]
name = "{shim.node.name}"
agents = ["{shim.node.agent}"]
url = "{shim.endpoints.url}"
role = "{shim.node.role}"
erspan_source = "{shim.node.agent}"
"""
        for shim in shims
    )
    return f"""\
state_dir = '{directory / "state"}'

[network]
local = ["{LOCAL_PREFIX}"]

[capture]
mode = "automatic"
erspan_destination = "{COLLECTOR}"
quiet = "{pace.quiet_s}s"
longest = "10m"
switch_lease = "{pace.lease_s}s"

[sflow]
listen = ["127.0.0.1:{ports.sflow}"]

[switches]
insecure = true

[feeds]
enabled = ["demo"]

[erspan]
gre_in_udp = "{COLLECTOR}:{ports.erspan}"
directory = '{directory / "pcap"}'

[web]
listen = "127.0.0.1:{ports.web}"
{switches}"""


def preferred_port(address: str, port: int, kind: socket.SocketKind) -> int:
    """``port`` where it is free, else another."""
    try:
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.bind((address, port))
            return port
    except OSError:
        return free_port(address, kind)
