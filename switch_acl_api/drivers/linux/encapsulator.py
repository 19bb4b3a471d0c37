# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A process that reads mirrored frames from one end of a veth pair and sends them as ERSPAN type II.

``python -m switch_acl_api.drivers.linux.encapsulator DEVICE SOURCE DESTINATION TTL SESSION UNTIL IP``

The linux driver starts it where the kernel has no ``erspan`` device. It outlives the shim, so that a capture goes on
while the shim is restarted, but not the leases it serves: at UNTIL (CLOCK_BOOTTIME; 0 is never) it removes the device
and ends; without its device it ends too. Root in its network namespace asks it for its counters, and tells it of a
renewal, over a Unix socket in a folder of root's that is named after the device, so that no other user can take its
place. A lock beside the socket keeps a second one from starting.

What it sends is a raw IP packet (protocol 47) of the ERSPAN source: GRE with a sequence number, eight octets of ERSPAN
(draft-foschiano-erspan-03, section 4.2), the frame with its VLAN tag put back. Frames too long for the path are
fragmented rather than lost. It needs nothing but Python's library.
"""

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import stat
import struct
import sys
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from switch_acl_api.limits import (
    CONTROL_TIMEOUT_S,
    CONTROL_WAIT_S,
    IP_TOOL_TIMEOUT_S,
    MAX_CONTROL_BYTES,
    MAX_IP_OUTPUT_BYTES,
    MAX_MIRRORED_BYTES,
    MIRROR_BATCH_FRAMES,
    MIRROR_BUFFER_BYTES,
    MIRROR_SEND_TIMEOUT_S,
)
from switch_acl_api.tools import run_tool
from switch_acl_api.version import VERSION

# linux/if_packet.h, linux/in.h, asm-generic/socket.h: not all of them are in Python's socket module.
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_AUXDATA, _PACKET_IGNORE_OUTGOING = 263, 6, 8, 23
_ETH_P_ALL = 0x0003
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0
_SO_RCVBUFFORCE, _SO_PEERCRED = 33, 17
_VLAN_VALID, _VLAN_TPID_VALID = 0x10, 0x40
# struct tpacket_auxdata: status, length, captured length, mac, net, vlan tci, vlan tpid.
_AUXDATA = struct.Struct("=IIIHHHH")
_CREDENTIALS = struct.Struct("=iII")
_STATISTICS = struct.Struct("=II")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_AUXDATA.size)

GRE_ERSPAN = 0x88BE
_GRE_SEQUENCE = 0x1000
_ERSPAN_II = 1 << 12
# "The VLAN tag is in the frame", field En of the ERSPAN header.
_TAG_KEPT = 3 << 11
_HEADERS = struct.Struct("!HHIHHI")
_TAG = struct.Struct("!HH")
_TAG_BYTES = 4
_MAC_BYTES = 12
# Where a frame is received: room before it for the headers, and for a tag between its addresses and its type.
_ROOM = _HEADERS.size + _TAG_BYTES

_TICK_S = 1.0
_DEVICE_GONE = {errno.ENETDOWN, errno.ENODEV, errno.ENXIO}


CONTROL_FOLDER = "/run/switch-acl-api"
# Of encapsulators that an earlier version has started.
_OLD_ADDRESS = "\0switch-acl-api/encapsulator/"


class Job(NamedTuple):
    device: str
    source: str
    destination: str
    ttl: int
    session: int
    until: float  # CLOCK_BOOTTIME; 0.0: without end
    ip: str


def control_address(device: str) -> str:
    """The socket's path. Devices have their names in a network namespace, and folders are shared among those."""
    namespace = os.stat("/proc/self/ns/net").st_ino
    return "{}/{}-{}".format(CONTROL_FOLDER, namespace, device)


def make_control_folder() -> None:
    """Raises ``OSError`` if the folder is, or could become, another user's."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(CONTROL_FOLDER, 0o700)
    if not _is_ours(CONTROL_FOLDER):
        raise PermissionError(errno.EPERM, "not a folder that only root can write", CONTROL_FOLDER)


def _is_ours(folder: str) -> bool:
    try:
        info = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid in {0, os.geteuid()} and not info.st_mode & 0o022


class Wrapper:
    """Headers and tag into the buffer that holds the frame, in place. Pure."""

    def __init__(self, session: int) -> None:
        self.buffer = bytearray(_ROOM + MAX_MIRRORED_BYTES)
        self.frame = memoryview(self.buffer)[_ROOM:]
        self.sequence = 0
        self._session = session
        self._view = memoryview(self.buffer)

    def wrap(self, size: int, tag: Optional[Tuple[int, int]] = None) -> memoryview:
        """The ``size`` octets received into ``frame``, wrapped; ``tag`` (TPID, TCI) was taken off by the kernel."""
        start = _ROOM - _HEADERS.size
        vlan = bits = 0
        if tag is not None:
            start -= _TAG_BYTES
            self.buffer[_ROOM - _TAG_BYTES : _ROOM - _TAG_BYTES + _MAC_BYTES] = self.buffer[_ROOM : _ROOM + _MAC_BYTES]
            _TAG.pack_into(self.buffer, _ROOM - _TAG_BYTES + _MAC_BYTES, *tag)
            vlan, bits = tag[1] & 0x0FFF, (tag[1] >> 13 << 13) | _TAG_KEPT
        _HEADERS.pack_into(
            self.buffer, start, _GRE_SEQUENCE, GRE_ERSPAN, self.sequence, _ERSPAN_II | vlan, bits | self._session, 0
        )
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF
        return self._view[start : _ROOM + size]


def tag_of(ancillary: List[Any]) -> Optional[Tuple[int, int]]:
    """(TPID, TCI) out of what came with a frame."""
    for level, kind, data in ancillary:
        if level == _SOL_PACKET and kind == _PACKET_AUXDATA and len(data) >= _AUXDATA.size:
            status, _, _, _, _, tci, tpid = _AUXDATA.unpack_from(data)
            if status & _VLAN_VALID:
                return (tpid if status & _VLAN_TPID_VALID else 0x8100), tci
    return None


class Encapsulator:
    """``open`` and ``run`` raise ``OSError``: the address is not ours, the device is gone, there is one already."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._until = job.until
        self._wrapper = Wrapper(job.session)
        self._counters = {"frames": 0, "octets": 0, "send_failed": 0, "lost": 0}
        self._ended = False
        self._frames: socket.socket
        self._out: socket.socket
        self._control: socket.socket
        self._lock = -1

    def open(self) -> None:
        # The name first: two of us would send every frame twice.
        make_control_folder()
        address = control_address(self._job.device)
        self._lock = os.open(address + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address)
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._control.bind(address)
        self._out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE)
        self._out.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        self._out.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, self._job.ttl)
        self._out.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        microseconds = int(MIRROR_SEND_TIMEOUT_S * 1e6)
        self._out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, microseconds))
        # Bound, never connected: on a connected socket an ICMP error makes the next packet fail.
        self._out.bind((self._job.source, 0))
        self._frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self._frames.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, MIRROR_BUFFER_BYTES)
        except PermissionError:
            self._frames.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIRROR_BUFFER_BYTES)
        self._frames.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        with contextlib.suppress(OSError):
            self._frames.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._frames.bind((self._job.device, _ETH_P_ALL))
        # Answering means: every frame from now on is read.
        self._control.listen(8)

    def run(self) -> None:
        """Until the end of the leases, the end of the device, or a signal."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        poll = select.poll()
        poll.register(self._frames, select.POLLIN)
        poll.register(self._control, select.POLLIN)
        while not self._ended:
            if self._until and time.clock_gettime(time.CLOCK_BOOTTIME) >= self._until:
                run_tool([self._job.ip, "link", "del", self._job.device], IP_TOOL_TIMEOUT_S, MAX_IP_OUTPUT_BYTES)
                return
            ready = [descriptor for descriptor, _ in poll.poll(_TICK_S * 1000)]
            if self._frames.fileno() in ready:
                self._drain()
            if self._control.fileno() in ready:
                self._talk()

    def _end(self, *_: object) -> None:
        self._ended = True

    def _drain(self) -> None:
        """One batch of frames. Raises ``OSError`` (ENETDOWN) where the device is gone."""
        receive, send, wrap = self._frames.recvmsg_into, self._out.sendto, self._wrapper.wrap
        buffers = [self._wrapper.frame]
        target = (self._job.destination, 0)
        counters = self._counters
        for _ in range(MIRROR_BATCH_FRAMES):
            try:
                size, ancillary, _, _ = receive(buffers, _ANCILLARY_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            packet = wrap(size, tag_of(ancillary))
            try:
                send(packet, target)
            except OSError:
                # No route, no neighbour, a full queue: the frame is lost and the number in its header shows it.
                counters["send_failed"] += 1
                continue
            counters["frames"] += 1
            counters["octets"] += size

    # --- control -----------------------------------------------------------------------------------

    def _talk(self) -> None:
        try:
            peer, _ = self._control.accept()
        except OSError:
            return
        with peer, contextlib.suppress(OSError, ValueError):
            peer.settimeout(CONTROL_TIMEOUT_S)
            if peer_of(peer)[1] not in {0, os.geteuid()}:
                return
            order = json.loads(_line(peer))
            until = order.get("until") if isinstance(order, dict) else None
            if isinstance(until, (int, float)) and until >= 0:
                self._until = float(until)
            peer.sendall(json.dumps(self._state()).encode("ascii") + b"\n")

    def _state(self) -> Dict[str, Any]:
        # Reading the kernel's counter sets it back to zero.
        raw = self._frames.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        self._counters["lost"] += _STATISTICS.unpack(raw)[1]
        return dict(self._counters, version=VERSION, until=self._until)


def peer_of(connection: socket.socket) -> Tuple[int, int]:
    """(pid, uid) of the other side of a Unix socket, as the kernel knows them."""
    raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return pid, uid


def _line(connection: socket.socket) -> str:
    text = b""
    while not text.endswith(b"\n") and len(text) < MAX_CONTROL_BYTES:
        chunk = connection.recv(MAX_CONTROL_BYTES)
        if not chunk:
            break
        text += chunk
    return text.decode("ascii")


def ask(device: str, until: Optional[float] = None) -> Optional[Dict[str, Any]]:
    """Counters and pid of the encapsulator of ``device``, telling it ``until``; ``None`` where there is none."""
    if not _is_ours(CONTROL_FOLDER):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONTROL_WAIT_S)
        try:
            connection.connect(control_address(device))
            pid, uid = peer_of(connection)
            if uid not in {0, os.geteuid()}:
                return None
            order = {} if until is None else {"until": until}
            connection.sendall(json.dumps(order).encode("ascii") + b"\n")
            state = json.loads(_line(connection))
        except (OSError, ValueError):
            return None
    return dict(state, pid=pid) if isinstance(state, dict) else None


def retire_old(device: str) -> None:
    """End the encapsulator of an earlier version: beside a new one it would send every frame a second time."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, contextlib.suppress(OSError):
        connection.settimeout(CONTROL_TIMEOUT_S)
        connection.connect(_OLD_ADDRESS + device)
        pid, uid = peer_of(connection)
        if uid in {0, os.geteuid()}:
            os.kill(pid, signal.SIGTERM)


def main(argv: Optional[List[str]] = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 7:
        sys.stderr.write("usage: encapsulator DEVICE SOURCE DESTINATION TTL SESSION UNTIL IP\n")
        return 2
    device, source, destination, ttl, session, until, ip = arguments
    encapsulator = Encapsulator(Job(device, source, destination, int(ttl), int(session), float(until), ip))
    try:
        encapsulator.open()
        encapsulator.run()
    except OSError as error:
        if error.errno in _DEVICE_GONE:
            return 0
        sys.stderr.write("encapsulator of {}: {}\n".format(device, error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
