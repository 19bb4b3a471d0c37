# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A switch that is a process: frames come in by UDP; those that a rule matches go out as ERSPAN in GRE-in-UDP.

GRE-in-UDP is RFC 8086: the GRE header is the UDP payload's beginning.

It executes the rules, so a test can ask what arrives at the ERSPAN destination. Its rules die with the process, as a
switch's do at power-off.
"""

import ipaddress
import socket
import threading
from typing import Any, Dict, List, Optional, Sequence, Tuple

from switch_acl_api.clock import BootClock
from switch_acl_api.drivers.base import Count, Driver, Target
from switch_acl_api.drivers.emulated.frames import addresses_of, erspan, split_datagram
from switch_acl_api.drivers.emulated.settings import EmulatedSettings
from switch_acl_api.errors import CommitError
from switch_acl_api.grammar import Rule, RuleKey
from switch_acl_api.limits import MAX_ERSPAN_PAIRS, MAX_ERSPAN_SOCKETS, MAX_FRAME_DATAGRAM_BYTES
from switch_acl_api.settings import Settings

_POLL_S = 0.2
_Match = Tuple[int, bytes, bytes]


def make(settings: Settings, clock: BootClock) -> Driver:  # noqa: ARG001 -- it forgets its rules when it ends
    return EmulatedDriver(settings.own, settings.erspan_destinations)


class EmulatedDriver(Driver):
    """Without ``frames``, the address to receive frames at, it has rules only; ``tcam`` is how many entries fit."""

    name = "emulated"
    outlives_process = False
    loopback_mirror = True

    def __init__(self, own: EmulatedSettings, erspan_destinations: Sequence[str] = ()) -> None:
        self.ipv6 = own.ipv6
        self._frames = own.frames
        self._erspan_port = own.erspan_port
        self._erspan_version = own.erspan_version
        self._tcam = own.tcam
        self._destinations = tuple(erspan_destinations)
        self._mutex = threading.Lock()
        self._rules: Dict[_Match, List[Rule]] = {}
        self._counts: Dict[RuleKey, Count] = {}
        self._sockets: Dict[str, socket.socket] = {}
        self._sequence = 0
        self._stop = threading.Event()
        self._socket: Optional[socket.socket] = None
        self._thread: Optional[threading.Thread] = None
        self.dropped: Dict[str, int] = {"malformed": 0, "send_failed": 0}

    # --- the control side ------------------------------------------------------------------------

    def start(self) -> None:
        if self._frames is None:
            return
        family = socket.AF_INET6 if ":" in self._frames[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            self._socket.bind(self._frames)
            self._socket.settimeout(_POLL_S)
        except OSError:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._receive, args=(self._socket,), name="data-plane", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._socket is not None:
            self._socket.close()
        with self._mutex:
            for sender in self._sockets.values():
                sender.close()
            self._sockets.clear()

    @property
    def frames_address(self) -> Optional[Tuple[str, int]]:
        """Where frames are received; the port is known when it was 0."""
        return self._socket.getsockname()[:2] if self._socket else None

    def commit(self, targets: Sequence[Target], keep_fds: Tuple[int, ...] = ()) -> None:  # noqa: ARG002 -- no child
        rules = [rule for target in targets for rule in target.rules]
        if len({rule.erspan_pair for rule in rules}) > MAX_ERSPAN_PAIRS:
            raise CommitError("rejected", "error: more than {} ERSPAN sessions".format(MAX_ERSPAN_PAIRS))
        if self._tcam is not None and len(rules) > self._tcam:
            raise CommitError("rejected", "error: hw sync failed ({} entries, {} fit)".format(len(rules), self._tcam))
        table: Dict[_Match, List[Rule]] = {}
        for rule in rules:
            table.setdefault(_match_of(rule), []).append(rule)
        with self._mutex:
            self._rules = table
            self._counts = {rule.key: self._counts.get(rule.key, Count(0, 0)) for rule in rules}

    def installed(self) -> Dict[RuleKey, Count]:
        with self._mutex:
            return dict(self._counts)

    def reach(self) -> List[Dict[str, Any]]:
        return [
            {"destination": d, "reachable": True, "via": "emulated", "neighbour": "none needed", "detail": "GRE-in-UDP"}
            for d in self._destinations
        ]

    def tcam_free(self) -> Optional[int]:
        return None if self._tcam is None else self._tcam - len(self._counts)

    # --- the data side ---------------------------------------------------------------------------

    def _receive(self, source: socket.socket) -> None:
        while not self._stop.is_set():
            try:
                data = source.recv(MAX_FRAME_DATAGRAM_BYTES)
            except socket.timeout:
                continue
            except OSError:
                return
            self._forward(data)

    def _forward(self, data: bytes) -> None:
        parts = split_datagram(data)
        if parts is None:
            self.dropped["malformed"] += 1
            return
        port, frame = parts
        found = addresses_of(frame)
        if found is None:
            return
        with self._mutex:
            # Rules are terminating: the first that matches mirrors, the others see nothing.
            rule = next(
                (
                    r
                    for r in self._rules.get((found.family, found.source, found.destination), ())
                    if _port_matches(r.port, port)
                ),
                None,
            )
            if rule is None:
                return
            self._mirror(rule, frame)
            before = self._counts[rule.key]
            self._counts[rule.key] = Count(before.packets + 1, before.bytes + len(frame))

    def _mirror(self, rule: Rule, frame: bytes) -> None:
        packet = erspan(frame, self._erspan_version, self._sequence)
        self._sequence += 1
        try:
            self._sender(rule.erspan_source).sendto(packet, (rule.erspan_destination, self._erspan_port))
        except OSError:
            self.dropped["send_failed"] += 1

    def _sender(self, source: str) -> socket.socket:
        sender = self._sockets.get(source)
        if sender is None:
            if len(self._sockets) >= MAX_ERSPAN_SOCKETS:
                self._sockets.pop(next(iter(self._sockets))).close()
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                sender.bind((source, 0))
            except OSError:
                sender.close()
                raise
            self._sockets[source] = sender
        return sender


def _match_of(rule: Rule) -> _Match:
    return rule.family, ipaddress.ip_address(rule.source).packed, ipaddress.ip_address(rule.destination).packed


def _port_matches(pattern: str, port: str) -> bool:
    """iptables' own wildcard: a ``+`` at the end stands for any rest."""
    return port.startswith(pattern[:-1]) if pattern.endswith("+") else port == pattern
