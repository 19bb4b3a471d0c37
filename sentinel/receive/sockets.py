# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Every socket that receives: what the kernel granted it, what it dropped there, and which thread serves it.

A sum would hide that of several threads one is overloaded, as by a single agent, all of whose datagrams go to the same.
"""

from collections.abc import Iterable, Iterator, Sequence

from sentinel.erspan.receiver import Granted
from sentinel.readings import Reading
from sentinel.rows import ReceivingSocket
from sentinel.sflow.listener import ListeningOn

_NAMED = 4


def receiving(sflow: Iterable[ListeningOn], erspan: Iterable[Granted]) -> list[ReceivingSocket]:
    """The sockets of the listener and of the receiver of mirrored packets, which has one thread."""
    found = []
    for each in sflow:
        where = f"[{each.host}]:{each.port}" if ":" in each.host else f"{each.host}:{each.port}"
        found.append(ReceivingSocket("sflow", where, each.reader, each.receive_buffer_bytes, each.kernel_drops))
    found += (ReceivingSocket("erspan", each.name, 0, each.buffer_bytes, each.kernel_drops) for each in erspan)
    return found


def worst(sockets: Sequence[ReceivingSocket], stage: str) -> str:
    """Where a stage's drops are, the most first; empty where there are none."""
    dropping = [each for each in sockets if each.stage == stage and each.kernel_drops]
    dropping.sort(key=lambda each: -(each.kernel_drops or 0))
    named = [f"{each.listener} thread {each.thread}: {each.kernel_drops}" for each in dropping[:_NAMED]]
    return ", ".join([*named, *([f"{len(dropping) - _NAMED} more"] if len(dropping) > _NAMED else [])])


def readings(sockets: Iterable[ReceivingSocket]) -> Iterator[Reading]:
    """One series a socket."""
    for each in sockets:
        if each.kernel_drops is not None:
            name = f"sentinel_{each.stage}_socket_kernel_drops_total"
            labels = {"listener": each.listener, "thread": str(each.thread)}
            yield name, labels, float(each.kernel_drops), "counter", "Dropped for want of receive buffer, by socket"
