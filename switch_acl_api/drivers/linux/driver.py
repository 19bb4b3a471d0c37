# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Any Linux machine that forwards: nftables copies the pairs, an ``erspan`` device or an encapsulator sends them on.

The kernel holds the rules and their leases, so they work, and end, without this process. A thread looks twice a second
whether ports came or went and whether encapsulators live.
"""

import logging
import socket
import threading
import time
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from switch_acl_api.clock import BootClock
from switch_acl_api.drivers.base import Count, Driver, OwnAddresses, Target
from switch_acl_api.drivers.linux.encapsulators import Encapsulators
from switch_acl_api.drivers.linux.links import Links, is_own_address
from switch_acl_api.drivers.linux.nft import Nft
from switch_acl_api.drivers.linux.nft_table import (
    ABSENT,
    FAR_PREFIX,
    Group,
    Mirror,
    Port,
    Table,
    Wanted,
    group_of,
    groups_of,
    is_mirror_device,
    pairs_of,
    plan,
    plan_ports,
    ports_of,
)
from switch_acl_api.drivers.linux.settings import LinuxSettings
from switch_acl_api.drivers.own import OwnAddressBook
from switch_acl_api.errors import CommitError, ListingError, ShimError
from switch_acl_api.grammar import RuleKey
from switch_acl_api.leases import remaining_s
from switch_acl_api.limits import (
    LINUX_LEASE_GRACE_S,
    LINUX_LOSS_SHOWN_S,
    LINUX_WATCH_INTERVAL_S,
    MAX_NFT_TRIES,
    VERIFY_INTERVAL_S,
)
from switch_acl_api.reach import Hop, Reach
from switch_acl_api.settings import Settings

_log = logging.getLogger("switch_acl_api.linux")
_PROBE = Group("lo", Mirror("127.0.0.1", "127.0.0.2", 1))
_DISCARD_PORT = 9
_RESOLVE_S = 0.2


def make(settings: Settings, clock: BootClock) -> Driver:
    return LinuxDriver(settings.own, clock, settings.ports, settings.erspan_destinations)


class LinuxDriver(Driver):
    """``realisation``: ``erspan``, ``veth``, or ``auto`` for the first where the kernel can."""

    name = "linux"
    knows_addresses = True
    ipv6 = True
    keeps_leases = True

    def __init__(
        self, own: LinuxSettings, clock: BootClock, ports: Sequence[str], erspan_destinations: Sequence[str] = ()
    ) -> None:
        self._clock = clock
        self._ports = tuple(ports)
        self._nft = Nft(own.nft)
        self._links = Links(own.ip)
        self._encapsulators = Encapsulators(own.ip)
        self._realisation = own.realisation
        self._own = OwnAddressBook(own.ip)
        self._reach = _LinuxReach(erspan_destinations, own.ip)
        # Serialises what changes the kernel: commits and the watching thread.
        self._mutex = threading.RLock()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="linux", daemon=True)
        self._seen: List[Tuple[int, str]] = []
        self._look_at = 0.0
        self._trouble: Dict[str, str] = {}
        self._losses: Dict[str, Tuple[int, float]] = {}

    def start(self) -> None:
        for program, is_there in (("nft", self._nft.is_there), ("ip", self._links.is_there)):
            if not is_there:
                raise FileNotFoundError("no such program: {}".format(program))
        script = plan({_PROBE: {}}, ABSENT, [Port("lo", 1, ("lo",))], [])
        try:
            self._nft.apply(script.replace(_PROBE.mirror.device, "lo"), check=True)
        except CommitError as error:
            raise OSError("this kernel takes no such rules: {}".format(error)) from error
        _log.info("rules: nftables, table netdev; mirrors: %s", self._choose())
        self._reach.start()
        self._watcher.start()

    def stop(self) -> None:
        """Rules, devices and encapsulators stay as long as their leases."""
        self._stop.set()
        self._reach.stop()
        if self._watcher.is_alive():
            self._watcher.join()

    # --- rules -------------------------------------------------------------------------------------

    def commit(self, targets: Sequence[Target], keep_fds: Tuple[int, ...] = ()) -> None:
        wanted, ends = self._wishes(targets)
        try:
            with self._mutex:
                for mirror, until in sorted(ends.items()):
                    self._ensure(mirror, until)
                self._transact(wanted, keep_fds)
                self._remove_unused(set(ends))
        except ListingError as error:
            raise CommitError("broken", str(error)) from error

    def renew(self, targets: Sequence[Target], keep_fds: Tuple[int, ...] = ()) -> None:
        self.commit(targets, keep_fds)

    def installed(self) -> Dict[RuleKey, Count]:
        table = self._nft.table()
        found: Dict[RuleKey, Count] = {}
        for group, family in ((group, family) for group in groups_of(table) for family in (4, 6)):
            for (source, destination), element in pairs_of(group, family, table).items():
                key = (family, group.port, source, destination, group.mirror.source, group.mirror.destination)
                before = found.get(key, Count(0, 0))
                found[key] = Count(before.packets + element.packets, before.bytes + element.bytes)
        return found

    def _wishes(self, targets: Sequence[Target]) -> Tuple[Wanted, Dict[Mirror, float]]:
        """Pairs with the seconds they have left, and until when (CLOCK_BOOTTIME) each mirror is needed; 0.0: always."""
        now = self._clock.now()
        wanted: Wanted = {}
        ends: Dict[Mirror, float] = {}
        for target in targets:
            lease = target.acl.lease
            left_s = None if lease is None else remaining_s(lease, now)
            until = 0.0 if left_s is None else now.at + left_s + 2 * LINUX_LEASE_GRACE_S
            for rule in target.rules:
                group = group_of(rule)
                pairs = wanted.setdefault(group, {}).setdefault(rule.family, {})
                pair = (rule.source, rule.destination)
                # The same rule in two files lives as long as the longer of the two.
                pairs[pair] = _later(pairs[pair], left_s) if pair in pairs else left_s
                before = ends.get(group.mirror, until)
                ends[group.mirror] = max(before, until) if before and until else 0.0
        return wanted, ends

    def _transact(self, wanted: Optional[Wanted], keep_fds: Tuple[int, ...] = ()) -> None:
        """``None`` leaves the rules as they are and brings the hooks up to date."""
        for attempt in range(MAX_NFT_TRIES):
            table = self._nft.table()
            self._seen = self._links.names()
            script = self._script(wanted, table)
            if not script:
                return
            try:
                self._nft.apply(script, keep_fds)
            except CommitError as error:
                if error.kind != "rejected" or attempt == MAX_NFT_TRIES - 1:
                    raise
            else:
                return

    def _script(self, wanted: Optional[Wanted], table: Table) -> str:
        groups = sorted(wanted) if wanted is not None else groups_of(table)
        try:
            details = self._links.details()
            ports = ports_of(details, [group.port for group in groups])
            self._note_ports(ports_of(details, self._ports))
        except ValueError as error:
            raise CommitError("broken", "the devices cannot be listed: {}".format(error)) from error
        drains = [(name, index) for index, name in self._seen if name.startswith(FAR_PREFIX)]
        if wanted is not None:
            return plan(wanted, table, ports, drains)
        return "".join(line + "\n" for line in plan_ports(groups, table, ports, drains)) if table.exists else ""

    # --- mirrors -----------------------------------------------------------------------------------

    def _choose(self) -> str:
        """Which realisation, in words; decided once. Raises ``OSError`` where what was configured cannot be."""
        if self._realisation in {"auto", "erspan"}:
            lacking = self._links.has_erspan()
            if not lacking:
                self._realisation = "erspan"
                return "erspan devices of the kernel"
            if self._realisation == "erspan":
                raise OSError("this kernel has no erspan device: {}".format(lacking))
            self._realisation = "veth"
            return "veth pairs and encapsulator processes, for this kernel has no erspan device ({})".format(lacking)
        return "veth pairs and encapsulator processes"

    def _ensure(self, mirror: Mirror, until: float) -> None:
        """The mirror's device is there, and sends. Raises ``CommitError``."""
        if not is_own_address(mirror.source):
            raise CommitError("rejected", "error: --src-ip {} is no address of this machine".format(mirror.source))
        names = {name for _, name in self._links.names()}
        if mirror.device not in names:
            try:
                self._choose()
            except OSError as error:
                raise CommitError("broken", str(error)) from error
            if self._realisation == "erspan":
                self._links.make_erspan(mirror)
                return
            self._links.make_pair(mirror)
        elif mirror.far_device not in names:
            return
        self._note_losses(mirror.far_device, self._encapsulators.ensure(mirror, until))

    def _remove_unused(self, mirrors: Set[Mirror]) -> None:
        used = {mirror.device for mirror in mirrors}
        for _, name in self._links.names():
            if is_mirror_device(name) and name not in used:
                self._links.remove(name)

    # --- the watching thread -----------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stop.wait(LINUX_WATCH_INTERVAL_S):
            try:
                with self._mutex:
                    self._watch_ports()
                    self._watch_encapsulators()
                self._trouble.pop("watch", None)
            except (ShimError, OSError) as error:
                if self._trouble.get("watch") != str(error):
                    _log.error("%s", error)
                self._trouble["watch"] = str(error)

    def _watch_ports(self) -> None:
        if self._links.names() != self._seen or time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + VERIFY_INTERVAL_S
            self._transact(None)

    def _watch_encapsulators(self) -> None:
        for _, device in self._links.names():
            if not device.startswith(FAR_PREFIX):
                continue
            state = self._encapsulators.tell(device)
            if state is None:
                self._revive(device)
            else:
                self._note_losses(device, state)

    def _revive(self, device: str) -> None:
        """Nobody reads ``device``, which frames are copied to. One without rules is the next commit's to remove."""
        table = self._nft.table()
        for group in groups_of(table):
            if group.mirror.far_device == device:
                sets = [table.sets.get(group.leases(family), {}) for family in (4, 6)]
                left = [element.left_s for elements in sets for element in elements.values()]
                numbers = [left_s for left_s in left if left_s is not None]
                endless = len(numbers) < len(left)
                until = 0.0 if endless else self._clock.now().at + max(numbers, default=0) + 2 * LINUX_LEASE_GRACE_S
                _log.warning("the encapsulator of %s is gone and is started again", device)
                self._encapsulators.ensure(group.mirror, until)
                return

    # --- what an operator sees ---------------------------------------------------------------------

    def own_addresses(self) -> OwnAddresses:
        return self._own.now()

    def reach(self) -> List[Dict[str, Any]]:
        how = "by the kernel" if self._realisation == "erspan" else "by an encapsulator"
        return [dict(row, detail="{}; ERSPAN {}".format(row["detail"], how)) for row in self._reach.now()]

    def problems(self) -> List[str]:
        now = time.monotonic()
        found = [words for _, words in sorted(self._trouble.items())]
        for device, (count, until) in sorted(self._losses.items()):
            if now < until:
                found.append("{} mirrored frames were lost at {} so far".format(count, device))
        return found

    def _note_ports(self, ports: Sequence[Port]) -> None:
        if ports:
            self._trouble.pop("ports", None)
        else:
            self._trouble["ports"] = "no device here is one of the ports {}".format(", ".join(self._ports))

    def _note_losses(self, device: str, state: Dict[str, Any]) -> None:
        count = int(state.get("lost", 0)) + int(state.get("send_failed", 0))
        before, until = self._losses.get(device, (0, 0.0))
        self._losses[device] = (count, time.monotonic() + LINUX_LOSS_SHOWN_S if count > before else until)


class _LinuxReach(Reach):
    """Linux resolves the next hop when a packet goes there, so one goes: UDP to the discard port."""

    def __init__(self, destinations: Sequence[str], ip: str) -> None:
        super().__init__(destinations, ip, "", ())

    def _poke(self, hop: Hop) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto(b"", (hop.address, _DISCARD_PORT))
            except OSError:
                return
        self._stop.wait(_RESOLVE_S)


def _later(one: Optional[float], other: Optional[float]) -> Optional[float]:
    return None if one is None or other is None else max(one, other)
