# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Can the switch's ASIC send ERSPAN to its destination? Routed through a front-panel port or SVI, next hop resolved.

ERSPAN triggers no ARP, so the next hop's neighbour entry must exist beforehand; one ping makes the kernel resolve it.
``ping -I DEVICE`` leaves through that device even when this process itself was started in the management VRF.
"""

import json
import threading
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from switch_acl_api.limits import IP_TOOL_TIMEOUT_S, MAX_IP_OUTPUT_BYTES, REACH_INTERVAL_S
from switch_acl_api.tools import run_tool

_RESOLVED = {"REACHABLE", "STALE", "DELAY", "PROBE", "PERMANENT", "NOARP"}


class Hop(NamedTuple):
    """The way to a destination: device, address of the next hop, and why it will not do (empty when it does)."""

    device: str
    address: str
    problem: str


def read_route(text: str, destination: str, management: Sequence[str]) -> Hop:
    """``ip -json route get DESTINATION`` to the next hop. Any text is survived."""
    route = _first(text)
    if route is None:
        return Hop("", "", "no route")
    device = str(route.get("dev", ""))
    via = route.get("via")
    address = str(route.get("gateway") or (via.get("host") if isinstance(via, dict) else None) or destination)
    if route.get("type") in {"unreachable", "blackhole", "prohibit"} or not device:
        return Hop("", "", "no route")
    if route.get("type") == "local" or device == "lo":
        return Hop(device, address, "is an address of this switch")
    if device in management:
        return Hop(
            device, address, "routed through management ({}); ERSPAN leaves by front-panel ports only".format(device)
        )
    return Hop(device, address, "")


def read_neighbour(text: str) -> Tuple[bool, str]:
    """``ip -json neigh show ADDRESS dev DEVICE`` to (resolved, words)."""
    entry = _first(text)
    if entry is None:
        return False, "unknown"
    state = entry.get("state")
    words = [str(word) for word in state] if isinstance(state, list) else []
    resolved = bool(_RESOLVED.intersection(words)) and ("lladdr" in entry or "NOARP" in words)
    return resolved, " ".join([str(entry.get("lladdr", "")), *words]).strip() or "unknown"


def _first(text: str) -> Optional[Dict[str, Any]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        return None
    rows = [row for row in rows if isinstance(row, dict) and row] if isinstance(rows, list) else []
    return rows[0] if rows else None


class Reach:
    """Looks at every destination now and then in a thread of its own; ``now`` answers from memory."""

    def __init__(self, destinations: Sequence[str], ip: str, ping: str, management: Sequence[str]) -> None:
        self._destinations = tuple(destinations)
        self._ip = ip
        self._ping = ping
        self._management = tuple(management)
        self._found: List[Dict[str, Any]] = [
            _row(destination, Hop("", "", "not looked at yet"), False, "unknown") for destination in self._destinations
        ]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="reach", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(3 * IP_TOOL_TIMEOUT_S)

    def now(self) -> List[Dict[str, Any]]:
        return [dict(row) for row in self._found]

    def look(self) -> None:
        """One look at each destination, with one ping where the neighbour is not resolved."""
        self._found = [self._look_at(destination) for destination in self._destinations]

    def _loop(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(REACH_INTERVAL_S)

    def _look_at(self, destination: str) -> Dict[str, Any]:
        hop = read_route(self._run([self._ip, "-json", "route", "get", destination]), destination, self._management)
        if hop.problem:
            return _row(destination, hop, False, "unknown")
        show = [self._ip, "-json", "neigh", "show", hop.address, "dev", hop.device]
        resolved, words = read_neighbour(self._run(show))
        # An entry that is used by the ASIC only goes stale and is collected: a ping keeps it, too.
        if not resolved or "STALE" in words:
            self._poke(hop)
            resolved, words = read_neighbour(self._run(show))
        return _row(destination, hop, resolved, words)

    def _poke(self, hop: Hop) -> None:
        """Make the kernel resolve the next hop."""
        self._run([self._ping, "-c", "1", "-W", "1", "-I", hop.device, hop.address])

    def _run(self, argv: List[str]) -> str:
        try:
            result = run_tool(argv, IP_TOOL_TIMEOUT_S, MAX_IP_OUTPUT_BYTES)
        except OSError:
            return ""
        return result.text if result.returncode == 0 else ""


def _row(destination: str, hop: Hop, resolved: bool, neighbour: str) -> Dict[str, Any]:
    detail = hop.problem
    if not detail:
        detail = "next hop {} on {} is {}".format(hop.address, hop.device, "resolved" if resolved else "not resolved")
    return {
        "destination": destination,
        "reachable": resolved and not hop.problem,
        "via": hop.device or None,
        "neighbour": neighbour,
        "detail": detail,
    }


def own_addresses(text: str) -> Tuple[List[str], List[str]]:
    """``ip -json addr show`` to (addresses, broadcast addresses). Any text is survived."""
    own: List[str] = []
    broadcasts: List[str] = []
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        return own, broadcasts
    for row in rows if isinstance(rows, list) else []:
        for info in row.get("addr_info", []) if isinstance(row, dict) else []:
            if isinstance(info, dict):
                _append(own, info.get("local"))
                _append(broadcasts, info.get("broadcast"))
    return own, broadcasts


def _append(target: List[str], value: object) -> None:
    if isinstance(value, str):
        target.append(value)
