# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The encapsulators of this namespace: started, asked, told of leases. They outlive the shim."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Optional

import switch_acl_api
from switch_acl_api.drivers.linux.encapsulator import ask, retire_old
from switch_acl_api.drivers.linux.nft_table import Mirror
from switch_acl_api.errors import CommitError
from switch_acl_api.limits import ENCAPSULATOR_START_S

# Isolated, without site-packages: this package (a folder, or a zipapp) is all that it imports.
_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from switch_acl_api.drivers.linux.encapsulator import main; sys.exit(main())"
)
_POLL_S = 0.01


class Encapsulators:
    """Used by one thread at a time. ``until`` is CLOCK_BOOTTIME, 0.0 without end."""

    def __init__(self, ip: str) -> None:
        self._ip = ip
        self._children: Dict[str, "subprocess.Popen[bytes]"] = {}

    def ensure(self, mirror: Mirror, until: float) -> Dict[str, Any]:
        """One reads this mirror's device and knows its leases; its counters. Raises ``CommitError``."""
        return self.tell(mirror.far_device, until) or self._start(mirror, until)

    def tell(self, device: str, until: Optional[float] = None) -> Optional[Dict[str, Any]]:
        """Counters and pid; ``None`` where none reads ``device``."""
        self._reap()
        return ask(device, until)

    def _start(self, mirror: Mirror, until: float) -> Dict[str, Any]:
        device = mirror.far_device
        old = self._children.pop(device, None)
        if old is not None:
            # It lives but does not answer.
            old.kill()
            old.wait()
        retire_old(device)
        root = str(Path(str(switch_acl_api.__file__)).parent.parent)
        job = [device, mirror.source, mirror.destination, mirror.ttl, mirror.session, repr(until), self._ip]
        command = [sys.executable, "-I", "-S", "-c", _START, root, *(str(word) for word in job)]
        try:
            child = subprocess.Popen(  # noqa: S603 -- a list of arguments, no shell; addresses were parsed
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True, cwd="/"
            )
        except OSError as error:
            raise CommitError("broken", "no encapsulator: {}".format(error.strerror)) from error
        self._children[device] = child
        deadline = time.monotonic() + ENCAPSULATOR_START_S
        while time.monotonic() < deadline:
            state = ask(device)
            if state is not None:
                return state
            if child.poll() is not None:
                break
            time.sleep(_POLL_S)
        raise CommitError("broken", "the encapsulator for {} to {} does not start".format(*mirror[:2]))

    def _reap(self) -> None:
        self._children = {device: child for device, child in self._children.items() if child.poll() is None}
