# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The section ``[linux]`` of the settings file."""

from typing import NamedTuple

from switch_acl_api.settings import Section
from switch_acl_api.values import choice, text


class LinuxSettings(NamedTuple):
    """``realisation`` makes the ERSPAN: ``erspan`` (devices of the kernel), ``veth`` (with a process), or ``auto``."""

    nft: str = "nft"
    ip: str = "ip"
    realisation: str = "auto"


SECTION = Section(
    LinuxSettings,
    {
        "nft": ("nft", text),
        "ip": ("ip", text),
        "realisation": ("realisation", choice("auto", "erspan", "veth")),
    },
)
