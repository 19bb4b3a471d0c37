# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The section ``[ovs]`` of the settings file."""

from typing import NamedTuple

from switch_acl_api.settings import Section
from switch_acl_api.values import device, number, text


class OvsSettings(NamedTuple):
    """``port`` is the ERSPAN port's name, ``register`` the one of which bit 31 is ours while a packet is looked up."""

    bridge: str = "br0"
    port: str = "erspan-acl"
    erspan_type: int = 2
    session: int = 1
    ttl: int = 64
    register: int = 15
    rundir: str = "/var/run/openvswitch"
    ovs_vsctl: str = "ovs-vsctl"
    ovs_ofctl: str = "ovs-ofctl"
    ovs_appctl: str = "ovs-appctl"
    ip: str = "ip"
    ping: str = "ping"


SECTION = Section(
    OvsSettings,
    {
        "bridge": ("bridge", device),
        "port": ("port", device),
        "erspan_type": ("erspan_type", number(2, 3)),
        "session": ("session", number(0, 1023)),
        "ttl": ("ttl", number(1, 255)),
        "register": ("register", number(0, 15)),
        "rundir": ("rundir", text),
        "ovs_vsctl": ("ovs_vsctl", text),
        "ovs_ofctl": ("ovs_ofctl", text),
        "ovs_appctl": ("ovs_appctl", text),
        "ip": ("ip", text),
        "ping": ("ping", text),
    },
)
