# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""This machine's own addresses, asked for now and then."""

import threading
import time

from switch_acl_api.drivers.base import OwnAddresses
from switch_acl_api.limits import IP_TOOL_TIMEOUT_S, MAX_IP_OUTPUT_BYTES, REACH_INTERVAL_S
from switch_acl_api.reach import own_addresses
from switch_acl_api.tools import run_tool


class OwnAddressBook:
    """From any thread. What cannot be read stays as it was."""

    def __init__(self, ip: str) -> None:
        self._ip = ip
        self._found = OwnAddresses()
        self._until = 0.0
        self._mutex = threading.Lock()

    def now(self) -> OwnAddresses:
        with self._mutex:
            if time.monotonic() >= self._until:
                self._found = self._read()
                self._until = time.monotonic() + REACH_INTERVAL_S
            return self._found

    def _read(self) -> OwnAddresses:
        try:
            result = run_tool([self._ip, "-json", "addr", "show"], IP_TOOL_TIMEOUT_S, MAX_IP_OUTPUT_BYTES)
        except OSError:
            return self._found
        if result.returncode != 0:
            return self._found
        own, broadcasts = own_addresses(result.text)
        return OwnAddresses(frozenset(own), frozenset(broadcasts))
