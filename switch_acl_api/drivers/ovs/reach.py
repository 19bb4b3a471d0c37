# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""How ERSPAN packets leave a bridge of the userspace datapath: by Open vSwitch's own copy of the routes and neighbours.

A packet to a neighbour it does not know makes it send ARP and is lost, so the neighbour is kept known: a ping makes the
kernel ask, and the bridge reads the answer in passing; where the kernel knew already, it is told.
"""

import json
import re
from typing import Any, Dict, List, NamedTuple, Optional

from switch_acl_api.drivers.ovs.tools import OvsTools
from switch_acl_api.errors import CommitError
from switch_acl_api.limits import IP_TOOL_TIMEOUT_S, MAX_IP_OUTPUT_BYTES, OVS_ERSPAN_MTU
from switch_acl_api.tools import run_tool

_NEIGHBOUR = re.compile(r"(\S+)\s+((?:[0-9a-f]{2}:){5}[0-9a-f]{2})\s+(\S+)", re.IGNORECASE)
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\Z", re.IGNORECASE)


class Way(NamedTuple):
    """The device and the address of the next hop."""

    device: str
    address: str


def read_way(text: str, destination: str) -> Optional[Way]:
    """``ovs-appctl ovs/route/lookup DESTINATION``; ``None`` where there is no route. Any text is survived."""
    words = dict(line.split(None, 1) for line in text.splitlines() if len(line.split(None, 1)) == 2)
    device = words.get("dev", "").strip()
    gateway = words.get("gateway", "::").strip()
    if not device:
        return None
    return Way(device, destination if gateway in {"::", "0.0.0.0"} else gateway)  # noqa: S104 -- a printed "none"


def read_neighbours(text: str) -> Dict[Way, str]:
    """``ovs-appctl tnl/neigh/show``: MAC addresses by device and address. Any text is survived."""
    found = (_NEIGHBOUR.match(line.strip()) for line in text.splitlines())
    return {Way(match.group(3), match.group(1)): match.group(2) for match in found if match}


class OvsReach:
    """``look`` asks; what it found it also keeps resolved."""

    def __init__(self, tools: OvsTools) -> None:
        self._tools = tools

    def look(self, destination: str) -> Dict[str, Any]:
        try:
            way = read_way(self._tools.appctl("ovs/route/lookup", destination), destination)
        except CommitError as error:
            no_route = "Not found" in " ".join(error.output)
            return row(destination, None, "unknown", "no route" if no_route else error.error)
        if way is None:
            return row(destination, None, "unknown", "no route")
        try:
            return self._look(destination, way)
        except CommitError as error:
            return row(destination, way, "unknown", error.error)

    def _look(self, destination: str, way: Way) -> Dict[str, Any]:
        if way.device == "lo" or self._is_local(destination):
            return row(destination, way, "unknown", "is an address of this machine")
        if not self._tools.table("--columns=type", "find", "Interface", "name=" + way.device):
            return row(destination, way, "unknown", "routed through {}, no port of Open vSwitch".format(way.device))
        mac = self._resolved(way)
        if mac is None:
            words = "next hop {} on {} is not resolved".format(way.address, way.device)
            return row(destination, way, "unknown", words)
        return row(destination, way, mac, "")

    def _is_local(self, destination: str) -> bool:
        text = self._tools.appctl("ovs/route/show")
        return any(" {}/32 ".format(destination) in line and line.endswith(" local") for line in text.splitlines())

    def _resolved(self, way: Way) -> Optional[str]:
        mac = read_neighbours(self._tools.appctl("tnl/neigh/show")).get(way)
        if mac is not None:
            return mac
        settings = self._tools.settings
        self._run([settings.ping, "-c", "1", "-W", "1", "-I", way.device, way.address])
        mac = read_neighbours(self._tools.appctl("tnl/neigh/show")).get(way)
        if mac is None:
            mac = _kernel_mac(self._run([settings.ip, "-json", "neigh", "show", way.address, "dev", way.device]))
            if mac is not None:
                self._tools.appctl("tnl/neigh/set", way.device, way.address, mac)
        return mac

    def _run(self, argv: List[str]) -> str:
        try:
            result = run_tool(argv, IP_TOOL_TIMEOUT_S, MAX_IP_OUTPUT_BYTES)
        except OSError:
            return ""
        return result.text if result.returncode == 0 else ""

    def narrow(self, device: str) -> str:
        """What the smallest MTU behind ``device`` means for full frames; empty when they fit."""
        names = set(self._tools.vsctl("list-ifaces", device).split())
        rows = self._tools.table("--columns=name,mtu", "list", "Interface")
        sizes = [r["mtu"] for r in rows if r.get("name") in names and isinstance(r.get("mtu"), int)]
        if not sizes or min(sizes) >= OVS_ERSPAN_MTU:
            return ""
        words = "mtu {} behind {}: full frames do not fit into ERSPAN and are lost; expected {} or more"
        return words.format(min(sizes), device, OVS_ERSPAN_MTU)


def row(destination: str, way: Optional[Way], neighbour: str, problem: str) -> Dict[str, Any]:
    detail = problem or "next hop {} on {} is resolved".format(way.address if way else "", way.device if way else "")
    return {
        "destination": destination,
        "reachable": not problem,
        "via": way.device if way else None,
        "neighbour": neighbour,
        "detail": detail,
    }


def _kernel_mac(text: str) -> Optional[str]:
    """``ip -json neigh show ADDRESS dev DEVICE``: the MAC address, where there is one."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for entry in entries if isinstance(entries, list) else []:
        mac = entry.get("lladdr") if isinstance(entry, dict) else None
        if isinstance(mac, str) and _MAC.match(mac):
            return mac
    return None
