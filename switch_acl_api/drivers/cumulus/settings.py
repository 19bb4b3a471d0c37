# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The section ``[cumulus]`` of the settings file."""

import ipaddress
from typing import List, NamedTuple, Tuple

from switch_acl_api.settings import Section, Settings
from switch_acl_api.values import flag, list_of, port, text


class CumulusSettings(NamedTuple):
    """``management`` are the devices that do not carry ERSPAN; ``verify`` reads back what was installed."""

    cl_acltool: str = "/usr/cumulus/bin/cl-acltool"
    ip: str = "ip"
    ping: str = "ping"
    management: Tuple[str, ...] = ("eth0", "mgmt")
    verify: bool = True


def _check(settings: Settings) -> List[str]:
    """ERSPAN is made by the ASIC, whose packets leave by front-panel ports only."""
    return [
        "erspan_destinations = {}: expected an address that a front-panel port leads to".format(address)
        for address in settings.erspan_destinations
        if ipaddress.ip_address(address).is_loopback
    ]


SECTION = Section(
    CumulusSettings,
    {
        "cl_acltool": ("cl_acltool", text),
        "ip": ("ip", text),
        "ping": ("ping", text),
        "management": ("management", list_of(port)),
        "verify": ("verify", flag),
    },
    check=_check,
    policy_dir="/etc/cumulus/acl/policy.d",
)
