# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The devices mirrored frames are copied to: an ``erspan`` tunnel of the kernel, or a veth pair for the encapsulator.

A device is named after its mirror, so whoever finds one knows what it is for, also after a crash.
"""

import array
import contextlib
import errno
import fcntl
import shutil
import socket
import struct
from pathlib import Path
from typing import List, Sequence, Tuple

from switch_acl_api.drivers.linux.nft_table import Mirror
from switch_acl_api.errors import CommitError
from switch_acl_api.limits import IP_TOOL_TIMEOUT_S, MAX_ERSPAN_SESSION, MAX_IP_OUTPUT_BYTES, MIRROR_MTU_BYTES
from switch_acl_api.tools import output_lines, run_tool

# linux/sockios.h and linux/ethtool.h: set one offload, a struct of command and value.
_SIOCETHTOOL = 0x8946
# Checksums, scatter-gather, TSO, UFO, GSO, GRO. Without them the kernel cuts super-packets and fills checksums in when
# it sends a frame out of this device, so the copy is what a wire would carry.
_SET_OFFLOADS = (0x17, 0x19, 0x1F, 0x22, 0x24, 0x2C)
# struct ifreq: a name and a union, whose pointer is the value here.
_IFREQ_BYTES = 40
_IPV6_OFF = "/proc/sys/net/ipv6/conf/{}/disable_ipv6"
_PROBE = Mirror("127.0.0.1", "127.0.0.2", 1)
_SESSION_TRIES = 8


class Links:
    """``ip`` is the program. What fails raises ``CommitError``."""

    def __init__(self, ip: str) -> None:
        self._ip = ip

    @property
    def is_there(self) -> bool:
        return shutil.which(self._ip) is not None

    def names(self) -> List[Tuple[int, str]]:
        """(ifindex, name) of every device of this namespace."""
        return socket.if_nameindex()

    def has_erspan(self) -> str:
        """Why the kernel cannot make ``erspan`` devices; empty when it can."""
        device = _PROBE.device
        self._try("link", "del", device)
        error = self._try(*_erspan_arguments(_PROBE, _PROBE.session))
        self._try("link", "del", device)
        return error

    def make_erspan(self, mirror: Mirror) -> None:
        """The session is the mirror's own, or the next one where another tunnel of these two hosts has that."""
        for step in range(_SESSION_TRIES):
            session = 1 + (mirror.session - 1 + step) % MAX_ERSPAN_SESSION
            error = self._try(*_erspan_arguments(mirror, session))
            if "File exists" not in error:
                break
        if error:
            raise CommitError("rejected", "error: no erspan device for {} to {}: {}".format(*mirror[:2], error))
        self._finish(mirror, [mirror.device])

    def make_pair(self, mirror: Mirror) -> None:
        ends = [mirror.device, mirror.far_device]
        mtu = ["mtu", str(MIRROR_MTU_BYTES)]
        self._must("link", "add", ends[0], *mtu, "type", "veth", "peer", "name", ends[1], *mtu)
        try:
            for name in ends:
                _no_offloads(name)
            self._finish(mirror, ends)
        except OSError as error:
            self.remove(mirror.device)
            raise CommitError("broken", "offloads of {} stay on: {}".format(ends[0], error.strerror)) from error

    def remove(self, device: str) -> None:
        error = self._try("link", "del", device)
        if error and "Cannot find device" not in error:
            raise CommitError("broken", "{} cannot be removed: {}".format(device, error))

    def details(self) -> str:
        """``ip -json -details link show``."""
        try:
            result = run_tool([self._ip, "-json", "-details", "link", "show"], IP_TOOL_TIMEOUT_S, MAX_IP_OUTPUT_BYTES)
        except OSError as error:
            raise CommitError("broken", "{} cannot be run: {}".format(self._ip, error.strerror)) from error
        if result.returncode != 0:
            raise CommitError("broken", "the devices cannot be listed", output_lines(result.text))
        return result.text

    def _finish(self, mirror: Mirror, names: Sequence[str]) -> None:
        for name in names:
            # Neighbour discovery of the device itself would be taken for mirrored frames.
            with contextlib.suppress(FileNotFoundError):
                Path(_IPV6_OFF.format(name)).write_text("1", encoding="ascii")
            self._must("link", "set", name, "up", "alias", "switch-acl-api mirror {} > {} ttl {}".format(*mirror))

    def _must(self, *arguments: str) -> None:
        error = self._try(*arguments)
        if error:
            raise CommitError("broken", "ip {}: {}".format(" ".join(arguments), error))

    def _try(self, *arguments: str) -> str:
        """What went wrong; empty when nothing did."""
        try:
            result = run_tool([self._ip, *arguments], IP_TOOL_TIMEOUT_S, MAX_IP_OUTPUT_BYTES)
        except OSError as error:
            return "{} cannot be run: {}".format(self._ip, error.strerror)
        if result.returncode == 0:
            return ""
        lines = output_lines(result.text)
        return lines[0] if lines else "failed"


def is_own_address(address: str) -> bool:
    """May ERSPAN packets leave with this source?"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _erspan_arguments(mirror: Mirror, session: int) -> List[str]:
    """Frames too long for the path are fragmented.

    Without ``ignore-df`` the kernel would drop those whose own packet must not be fragmented, and tell the host that
    sent it, which has nothing to do with the path of the mirror.
    """
    words = "link add {} mtu {} type erspan seq key {} local {} remote {} ttl {} nopmtudisc ignore-df "
    words += "erspan_ver 1 erspan {}"
    return words.format(
        mirror.device, MIRROR_MTU_BYTES, session, mirror.source, mirror.destination, mirror.ttl, session
    ).split()


def _no_offloads(device: str) -> None:
    """Raises ``OSError``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for command in _SET_OFFLOADS:
            value = array.array("I", [command, 0])
            request = struct.pack("16sP", device.encode("ascii"), value.buffer_info()[0]).ljust(_IFREQ_BYTES, b"\0")
            try:
                fcntl.ioctl(sock.fileno(), _SIOCETHTOOL, request)
            except OSError as error:
                # An offload this kernel has not cannot be on.
                if error.errno != errno.EOPNOTSUPP:
                    raise
