# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Ports for servers that a test starts: free now, and given to no other test process nor to an outgoing connection."""

import os
import random
import socket
from itertools import count

# Below Linux's ephemeral ports, which any connection of any test may get at any time; a block for each test process.
FIRST, BLOCK, BLOCKS = 10_000, 2_000, 11
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % BLOCKS
# Two runs side by side rarely begin at the same place.
_numbers = count(random.randrange(BLOCK))


def free_port(address: str = "127.0.0.1", kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port that nothing at ``address`` has."""
    for number in _numbers:
        port = FIRST + _worker * BLOCK + number % BLOCK
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
        return port
    raise AssertionError("counting never ends")
