# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The section ``[emulated]`` of the settings file."""

from typing import NamedTuple, Optional

from switch_acl_api.settings import Section
from switch_acl_api.values import Address, address, flag, number


class EmulatedSettings(NamedTuple):
    """``frames`` is where frames arrive, ``erspan_port`` where GRE-in-UDP goes (RFC 8086: 4754)."""

    frames: Optional[Address] = None
    erspan_port: int = 4754
    erspan_version: int = 1
    ipv6: bool = True
    tcam: Optional[int] = None


SECTION = Section(
    EmulatedSettings,
    {
        "frames": ("frames", address),
        "erspan_port": ("erspan_port", number(1, 65535)),
        "erspan_version": ("erspan_version", number(1, 2)),
        "ipv6": ("ipv6", flag),
        "tcam": ("tcam", number(0, 100_000)),
    },
)
