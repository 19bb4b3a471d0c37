# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What is refused before anything else: pages in browsers, names that are not this switch, and guessed tokens."""

import ipaddress
import logging
import socket
from typing import Callable, FrozenSet, Iterable, Optional

from switch_acl_api.counters import Counters
from switch_acl_api.limits import FAILED_PAUSE_S, FREE_FAILURES, FREE_FAILURES_PER_S, LOGGED_FAILURES_PER_S
from switch_acl_api.rates import Rates

_log = logging.getLogger("switch_acl_api.auth")


class Hosts:
    """The names this switch goes by. A page that made its own name resolve to us sends that name (DNS rebinding)."""

    def __init__(self, more: Iterable[str], own: Callable[[], FrozenSet[str]]) -> None:
        machine = socket.gethostname().lower()
        self._names = {"localhost", machine, machine.partition(".")[0], *(name.lower() for name in more)}
        self._own = own

    def allows(self, host: Optional[str], local: str) -> bool:
        """``host`` is the header, ``local`` the address of ours that the client has reached."""
        if host is None:
            return True  # No browser leaves it out.
        name = _without_port(host.strip().lower())
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or str(address) == local or str(address) in self._own()


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


class Failures:
    """Credentials that were refused: counted, logged now and then without the credential, and slowed."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._free = Rates(FREE_FAILURES_PER_S, FREE_FAILURES)
        self._logged = Rates(LOGGED_FAILURES_PER_S, FREE_FAILURES)
        self._unlogged = 0

    def note(self, peer: str, reason: str, guessed: bool, pause: Optional[Callable[[float], None]]) -> None:
        """``guessed``: there were credentials. ``pause`` waits, and ends at once if the connection must go."""
        self._counters.add("auth_failures")
        if not guessed:
            return
        if self._logged.take(""):
            _log.warning("credentials refused: %s from %s (and %d not logged)", reason, peer, self._unlogged)
            self._unlogged = 0
        else:
            self._unlogged += 1
        if pause is not None and not self._free.take(peer):
            pause(FAILED_PAUSE_S)
