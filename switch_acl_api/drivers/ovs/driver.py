# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch: a rule is a flow that copies its pair to an ERSPAN port and ends by itself when its lease does.

The ERSPAN port is one port of the bridge, made when the first rule comes, whose tunnel addresses are the flow's; it
stays, and takes nothing in: its ``in_key`` is one that no ERSPAN packet can have, or anybody could inject frames into
the bridge. Only flows with our cookie are ever looked at, replaced or deleted.
"""

import logging
import shutil
import threading
from typing import Any, Dict, List, Optional, Sequence, Tuple

from switch_acl_api.clock import BootClock
from switch_acl_api.drivers.base import Count, Driver, OwnAddresses, Target
from switch_acl_api.drivers.ovs.flows import (
    OUR_COOKIES,
    Installed,
    Look,
    Wanted,
    add_line,
    delete_line,
    difference,
    key_of,
    port_of,
    read_flows,
    read_ports,
    wanted_flows,
)
from switch_acl_api.drivers.ovs.reach import OvsReach, row
from switch_acl_api.drivers.ovs.settings import OvsSettings
from switch_acl_api.drivers.ovs.tools import OvsTools
from switch_acl_api.drivers.own import OwnAddressBook
from switch_acl_api.errors import CommitError, ListingError
from switch_acl_api.grammar import Rule, RuleKey
from switch_acl_api.limits import IP_TOOL_TIMEOUT_S, REACH_INTERVAL_S
from switch_acl_api.reach import Reach
from switch_acl_api.settings import Settings

_log = logging.getLogger("switch_acl_api.ovs")

_OWNER = "switch-acl-api"
# ERSPAN session numbers have 10 bits, so nothing that arrives has this one.
_NO_KEY = "4294967295"


def make(settings: Settings, clock: BootClock) -> Driver:
    return OvsDriver(settings.own, clock, settings.commit_timeout_s, settings.erspan_destinations)


class OvsDriver(Driver):
    """``timeout_s`` bounds one run of ovs-ofctl; ``clock`` is the one that leases are counted by."""

    name = "ovs"
    knows_addresses = True
    ipv6 = True
    keeps_leases = True

    def __init__(
        self, own: OvsSettings, clock: BootClock, timeout_s: float, erspan_destinations: Sequence[str] = ()
    ) -> None:
        self._settings = own
        self._clock = clock
        self._look = Look(own.port, own.erspan_type, own.session, own.register)
        self._tools = OvsTools(own, timeout_s)
        self._destinations = tuple(erspan_destinations)
        self._reach = OvsReach(self._tools)
        self._kernel_reach = Reach(self._destinations, own.ip, own.ping, ())
        self._own = OwnAddressBook(own.ip)
        self._mutex = threading.Lock()
        self._carried: Dict[RuleKey, Count] = {}
        self._seen: Dict[RuleKey, Count] = {}
        self._unknown_ports: List[str] = []
        self._lacking: List[str] = []
        self._said = ""
        self._rows: List[Dict[str, Any]] = [row(d, None, "unknown", "not looked at yet") for d in self._destinations]
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._watch, name="ovs", daemon=True)

    def start(self) -> None:
        own = self._settings
        for program in (own.ovs_vsctl, own.ovs_ofctl, own.ovs_appctl):
            if shutil.which(program) is None:
                raise FileNotFoundError("no such program: {}".format(program))
        # Before anybody asks, so that no client is told of a destination that merely was not looked at yet.
        self._look_now()
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(4 * IP_TOOL_TIMEOUT_S)

    # --- rules -----------------------------------------------------------------------------------

    def commit(self, targets: Sequence[Target], keep_fds: Tuple[int, ...] = ()) -> None:
        with self._mutex:
            installed = read_flows(self._tools.flows(OUR_COOKIES), self._look.register)
            wanted = wanted_flows(targets, self._look, self._clock.now())
            todo = difference(wanted, installed)
            lines = [delete_line(cookie) for cookie in todo.gone]
            self._unknown_ports = []
            if todo.fresh or todo.stale:
                lines += self._add_lines(todo.fresh, todo.stale)
            if lines:
                self._tools.bundle(lines, keep_fds)
            self._carry(wanted, todo.fresh, installed)

    def renew(self, targets: Sequence[Target], keep_fds: Tuple[int, ...] = ()) -> None:
        self.commit(targets, keep_fds)

    def installed(self) -> Dict[RuleKey, Count]:
        try:
            flows = read_flows(self._tools.flows(OUR_COOKIES), self._look.register)
        except CommitError as error:
            raise ListingError(error.error) from error
        found: Dict[RuleKey, Count] = {}
        with self._mutex:
            for flow in flows:
                key = key_of(flow)
                if key is not None and flow.shape is not None and flow.shape.look == self._look:
                    found[key] = _sum(flow.counted, self._carried.get(key))
            self._seen.update(found)
        return found

    def objection(self, rule: Rule) -> Optional[Tuple[str, str]]:
        if port_of(rule.port).endswith("+"):
            return rule.port, "expected swp+ or bond+ (all ports of the bridge) or the name of one"
        if rule.ttl not in (None, self._settings.ttl):
            return str(rule.ttl), "ERSPAN leaves this switch with ttl {}".format(self._settings.ttl)
        return None

    def _add_lines(self, fresh: Sequence[Wanted], stale: Sequence[Wanted]) -> List[str]:
        ports = self._make_port() if fresh else read_ports(self._tools.ports())
        lines: List[str] = []
        for flow in [*fresh, *stale]:
            if flow.shape.in_port and flow.shape.in_port not in ports:
                # A virtual machine's port may be gone for now; it must not keep the other rules from being renewed.
                self._unknown_ports.append(flow.shape.in_port)
                continue
            lines.append(add_line(flow, ports))
        return lines

    def _make_port(self) -> Dict[str, int]:
        """The bridge's ports, with our ERSPAN port among them as it should be."""
        name, bridge = self._settings.port, self._settings.bridge
        options = {
            "remote_ip": "flow",
            "local_ip": "flow",
            "out_key": "flow",
            "in_key": _NO_KEY,
            "erspan_ver": "flow",
            "ttl": str(self._settings.ttl),
        }
        found = self._tools.table("--columns=type,external_ids,options", "find", "Interface", "name=" + name)
        if found and found[0].get("external_ids", {}).get("owner") != _OWNER:
            raise CommitError("broken", "port {} of Open vSwitch is not ours".format(name))
        if not found or found[0].get("type") != "erspan" or found[0].get("options") != options:
            make = [] if found else ["add-port", bridge, name, "--"]
            words = ["set", "Interface", name, "type=erspan", "external_ids:owner=" + _OWNER]
            words += ["options:{}={}".format(key, value) for key, value in sorted(options.items())]
            said = self._tools.vsctl(*make, *words)
            _log.info("ERSPAN port %s of bridge %s set up", name, bridge)
        else:
            said = ""
        ports = read_ports(self._tools.ports())
        if name not in ports:
            why = said.strip().splitlines()[-1:] or ["ovs-vswitchd did not take it"]
            raise CommitError("broken", "bridge {} has no port {}: {}".format(bridge, name, why[0]))
        # ovs-vswitchd forgets this when it starts anew.
        self._tools.do_not_flood(name)
        # It has no neighbours then either; a mirror that begins needs its next hop.
        self._wake.set()
        return ports

    def _carry(self, wanted: Sequence[Wanted], fresh: Sequence[Wanted], installed: Sequence[Installed]) -> None:
        """A flow that had to be made anew (the switch was restarted) goes on from the count that was last seen."""
        there = {flow.cookie for flow in installed}
        anew = {flow.key for flow in fresh if flow.cookie not in there}
        keys = {flow.key for flow in wanted}
        for flow in installed:
            key = key_of(flow)
            if key in anew and key is not None:
                self._seen[key] = _sum(flow.counted, self._carried.get(key))
        self._carried.update({key: self._seen[key] for key in anew if key in self._seen})
        self._carried = {key: count for key, count in self._carried.items() if key in keys}
        self._seen = {key: count for key, count in self._seen.items() if key in keys}

    # --- the machine -----------------------------------------------------------------------------

    def own_addresses(self) -> OwnAddresses:
        return self._own.now()

    def reach(self) -> List[Dict[str, Any]]:
        return [dict(found) for found in self._rows]

    def problems(self) -> List[str]:
        gone = sorted(set(self._unknown_ports))
        return self._lacking + ["bridge {} has no port {}".format(self._settings.bridge, port) for port in gone]

    def _watch(self) -> None:
        while not self._stopping:
            self._wake.wait(REACH_INTERVAL_S)
            self._wake.clear()
            if not self._stopping:
                self._look_now()

    def _look_now(self) -> None:
        try:
            self._look_around()
        except CommitError as error:
            self._lacking = [error.error]
            self._rows = [row(destination, None, "unknown", error.error) for destination in self._destinations]
            self._say("problem: " + error.error)

    def _look_around(self) -> None:
        bridge = self._settings.bridge
        rows = self._tools.table("--columns=datapath_type", "find", "Bridge", "name=" + bridge)
        if not rows:
            raise CommitError("broken", "Open vSwitch has no bridge {}".format(bridge))
        lacking: List[str] = []
        known = self._tools.table("--columns=iface_types", "list", "Open_vSwitch", ".")
        if known and "erspan" not in _list(known[0].get("iface_types")):
            lacking.append("this ovs-vswitchd has no ERSPAN")
        version = self._tools.appctl("version").strip().splitlines()[:1]
        # Asked in the protocol that is needed, so it also says when the bridge does not speak it.
        self._tools.ports()
        userspace = rows[0].get("datapath_type") == "netdev"
        if userspace:
            self._rows = [self._reach.look(destination) for destination in self._destinations]
            devices = {str(found["via"]) for found in self._rows if found["reachable"]}
            lacking += [words for words in (self._reach.narrow(device) for device in sorted(devices)) if words]
        else:
            self._kernel_reach.look()
            self._rows = self._kernel_reach.now()
        self._lacking = lacking
        words = "{}; bridge {} ({} datapath), ERSPAN type {} by port {}, session {}, ttl {}{}".format(
            "".join(version) or "Open vSwitch",
            bridge,
            "userspace" if userspace else "kernel",
            self._settings.erspan_type,
            self._settings.port,
            self._settings.session,
            self._settings.ttl,
            "".join("; problem: " + text for text in lacking),
        )
        self._say(words)

    def _say(self, words: str) -> None:
        """Once, until it is something else."""
        if words != self._said:
            self._said = words
            _log.info("%s", words)


def _sum(count: Count, more: Optional[Count]) -> Count:
    return count if more is None else Count(count.packets + more.packets, count.bytes + more.bytes)


def _list(value: object) -> List[object]:
    return value if isinstance(value, list) else [value]
