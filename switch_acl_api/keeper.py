# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that keeps switch and files in agreement: commits, expires, retries, and looks for drift.

What it knows about that agreement is read by ``Engine``; who decides something about rules holds ``mutex``.
"""

import contextlib
import logging
import threading
import time
from typing import Callable, Dict, List, Optional, Sequence, Set, Tuple

from switch_acl_api.audit import audit
from switch_acl_api.budget import rules_of
from switch_acl_api.clock import BootClock
from switch_acl_api.commits import Change, Committer, Outcome, Put, Remove, keys_of, targets_of
from switch_acl_api.counters import Counters
from switch_acl_api.drivers.base import Count, Driver
from switch_acl_api.errors import CommitError, ListingError, LockBusyError, RuleError
from switch_acl_api.grammar import RuleKey, Site, parse_rules
from switch_acl_api.leases import expired
from switch_acl_api.limits import (
    COUNTER_AGE_S,
    DAEMON_LOCK_WAIT_S,
    MAX_REQUEST_WAIT_S,
    RETRY_FIRST_S,
    RETRY_LONGEST_S,
    STUCK_RETRY_S,
    VERIFY_INTERVAL_S,
)
from switch_acl_api.policy import Acl, PolicyDir
from switch_acl_api.tickets import Ticket, TicketQueue

_log = logging.getLogger("switch_acl_api")
_TICK_S = 0.25
_ITSELF = "switch-acl-api"
# Names that one problem may show; the rest is in the log.
_MOST_NAMED = 5


class Keeper:
    """``site`` says what is allowed now; ``heartbeat`` is called at every turn of the loop.

    ``settled``: the last commit that ended left switch and files in agreement (the mark also stands while one runs).
    ``missing``: names whose rules the switch has lost. ``unfinished``: removals that were tried and are not done, be it
    that the file cannot be deleted or that the switch does not commit. ``looked`` is set after the first look at the
    switch, ``renewed`` when leases are written. ``trouble`` is what an operator should know, by topic.
    """

    def __init__(
        self,
        policy: PolicyDir,
        driver: Driver,
        clock: BootClock,
        queue: TicketQueue,
        site: Callable[[], Site],
        counters: Counters,
        heartbeat: Callable[[], None],
    ) -> None:
        self.mutex = threading.RLock()
        self.settled = False
        self.missing: Set[str] = set()
        self.unfinished: Dict[str, Remove] = {}
        self.looked = threading.Event()
        self.renewed = threading.Event()
        self.trouble: Dict[str, str] = {}
        self._policy = policy
        self._driver = driver
        self._clock = clock
        self._queue = queue
        self._site = site
        self._counters = counters
        self._heartbeat = heartbeat
        self._committer = Committer(policy, driver, lambda kind: counters.add("commits", result=kind))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="commits", daemon=True)
        self._retry_at = 0.0
        self._retry_s = RETRY_FIRST_S
        self._verify_at = 0.0
        self._stuck_at = 0.0
        self._strays: Set[RuleKey] = set()
        self._read: Tuple[float, Dict[RuleKey, Count]] = (float("-inf"), {})
        self._read_mutex = threading.Lock()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the commit that runs, if one does."""
        self._stop.set()
        for ticket in self._queue.stop():
            ticket.finish({change.name: Outcome(503, "shutting down") for change in ticket.changes})
        self._thread.join(MAX_REQUEST_WAIT_S)

    @property
    def lasterror(self) -> Optional[CommitError]:
        """Of the last commit, ``None`` when it went well."""
        return self._committer.lasterror

    def live(self) -> Dict[str, Acl]:
        """The files of ours that have not expired."""
        now = self._clock.now()
        return {name: acl for name, acl in self._policy.acls().items() if not expired(acl.lease, now)}

    def leaving(self) -> Set[str]:
        """Rules that may still be in the switch though their files are gone, or are about to be."""
        pending = {change.name for change in self._queue.pending() if isinstance(change, Remove)}
        return pending.union(self.unfinished)

    def counts(self) -> Optional[Dict[RuleKey, Count]]:
        """Counters at most ``COUNTER_AGE_S`` old, asked for once however many ask; ``None`` when there are none."""
        with self._read_mutex:
            read_at, counts = self._read
            if time.monotonic() - read_at <= COUNTER_AGE_S:
                return counts
            try:
                counts = self._driver.installed()
            except ListingError as error:
                self.trouble["listing"] = str(error)
                return None
            self.trouble.pop("listing", None)
            self._read = (time.monotonic(), counts)
            return counts

    def _work(self) -> None:
        while not self._stop.is_set():
            self._heartbeat()
            tickets: List[Ticket] = []
            try:
                tickets = self._queue.take(_TICK_S)
                with self.mutex:
                    # Decided and made known at once, so that nobody renews what is on its way out.
                    expiring = self._expiring(tickets)
                    self._queue.run_also(Ticket(expiring, _ITSELF, ""))
                due = self._is_due(expiring)
                if not self.looked.is_set() or not (tickets or due):
                    self._look_now_and_then()
                if tickets or due or self._needs_commit():
                    self._commit(tickets, expiring)
                elif self.renewed.is_set():
                    self._tell_renewed()
                self.trouble.pop("loop", None)
            except Exception as error:  # noqa: BLE001 -- this thread removes rules; nothing may end it
                self.settled = False
                self._counters.add("loop_errors")
                self.trouble["loop"] = "the background loop failed: {}".format(_reason(error))
                # Without memory or room not even this may work.
                with contextlib.suppress(Exception):
                    _log.exception("the background loop failed")
                self._stop.wait(_TICK_S)
            finally:
                for ticket in tickets:
                    if not ticket.outcomes:
                        ticket.finish({c.name: Outcome(503, "the commit failed unexpectedly") for c in ticket.changes})
                self._queue.done()

    def _expiring(self, tickets: Sequence[Ticket]) -> List[Remove]:
        """Removals of expired rules, and again those that were not done, except names that the batch has itself."""
        named = {change.name for ticket in tickets for change in ticket.changes}
        now = self._clock.now()
        found: List[Remove] = []
        for name, acl in sorted(self._policy.acls().items()):
            if name in named:
                continue
            again = self.unfinished.get(name)
            if again is not None and again.nonce == acl.nonce:
                found.append(again)
            elif expired(acl.lease, now):
                found.append(Remove(name, "expired" if acl.readable else "not written by us", acl.nonce))
        return found

    def _is_due(self, expiring: Sequence[Remove]) -> bool:
        """Whether one of these was not tried yet, or it is time to try files again that could not be deleted."""
        return any(remove != self.unfinished.get(remove.name) for remove in expiring) or (
            bool(expiring) and time.monotonic() >= self._stuck_at
        )

    def _needs_commit(self) -> bool:
        """Something is uncommitted (a crash, a failed commit, another hand), or the switch lost rules."""
        return (self._policy.uncommitted or bool(self.missing)) and time.monotonic() >= self._retry_at

    def _look_now_and_then(self) -> None:
        if time.monotonic() >= self._verify_at:
            self._look_for_drift()
            self._verify_at = time.monotonic() + VERIFY_INTERVAL_S
            self.renewed.set()

    def _look_for_drift(self) -> None:
        """Also what installs the rules after a start: a data plane that died with us has none."""
        self._drop_forbidden()
        self.settled = not self._policy.uncommitted
        try:
            self._find_missing()
        finally:
            self.looked.set()

    def _find_missing(self) -> None:
        if not self._driver.reads_back:
            return
        try:
            installed = self._driver.installed()
        except ListingError as error:
            self.trouble["listing"] = str(error)
            return
        self.trouble.pop("listing", None)
        self.missing = {name for name, acl in self.live().items() if keys_of(acl) - set(installed)}
        self._find_strays(set(installed))

    def _find_strays(self, installed: Set[RuleKey]) -> None:
        """Rules that no file has: their file was deleted by a hand that died before it could leave a mark."""
        known = {key for acl in self._policy.acls().values() for key in keys_of(acl)}
        strays = installed - known
        strays = strays - self._policy.foreign_rules() if strays else strays
        # Tried once: what a commit does not remove is none of ours.
        if strays - self._strays:
            self._policy.mark_uncommitted()
            self.settled = False
        self._strays = strays

    def _drop_forbidden(self) -> None:
        """Files from before a change of the settings: what would be refused today must not stay."""
        site = self._site()
        for name, acl in sorted(self.live().items()):
            try:
                parse_rules(acl.lines, site)
            except RuleError as error:
                _log.warning('removing rule "%s": no longer allowed: %s', name, error)
                self._queue.put(Ticket([Remove(name, "no longer allowed", acl.nonce)], _ITSELF, ""))

    def _commit(self, tickets: Sequence[Ticket], expiring: Sequence[Remove]) -> None:
        changes: List[Change] = [change for ticket in tickets for change in ticket.changes]
        before = self._policy.acls()
        try:
            with self._policy.lock.held(DAEMON_LOCK_WAIT_S) as lock_fd:
                self._policy.sweep()
                outcomes = self._committer.run([*changes, *expiring], lock_fd, lost=bool(self.missing))
        except LockBusyError as error:
            outcomes = [Outcome(503, str(error))] * (len(changes) + len(expiring))
        self._note_unfinished([*changes, *expiring], outcomes, before)
        result = {change.name: outcome for change, outcome in zip([*changes, *expiring], outcomes)}  # noqa: B905 -- 3.7
        self._read = (float("-inf"), {})
        self.missing.difference_update(name for name, outcome in result.items() if outcome.ok)
        if self._committer.lasterror is None:
            self.missing.clear()
        self._schedule_retry()
        # Before anybody is answered: who asks for the same again at once finds it installed, not on its way.
        self._queue.done()
        for ticket in tickets:
            ticket.finish({change.name: result[change.name] for change in ticket.changes})
            self._note(ticket.changes, ticket.owner, ticket.peer, result, before)
        self._note(expiring, _ITSELF, "", result, before)
        for name in self._committer.dropped:
            audit("withdraw", name, _ITSELF, "", 502, 0, "was being installed when the shim died, and is not accepted")

    def _note_unfinished(self, changes: Sequence[Change], outcomes: Sequence[Outcome], before: Dict[str, Acl]) -> None:
        """Remember what must be tried again: a client may have given up, a lease never does."""
        stuck = self._committer.stuck
        for change, outcome in zip(changes, outcomes):  # noqa: B905 -- Python 3.7
            self.unfinished.pop(change.name, None)
            if isinstance(change, Remove) and (not outcome.ok or change.name in stuck):
                nonce = before[change.name].nonce if change.name in before else change.nonce
                self.unfinished[change.name] = change._replace(nonce=nonce)
        if not self._policy.uncommitted:
            self.unfinished = {name: each for name, each in self.unfinished.items() if self._policy.holds(name)}
        self._stuck_at = time.monotonic() + STUCK_RETRY_S
        self.trouble.pop("stuck", None)
        if stuck:
            words = ['"{}" ({})'.format(name, reason) for name, reason in sorted(stuck.items())[:_MOST_NAMED]]
            self.trouble["stuck"] = "files of {} ended rules cannot be deleted: {}".format(len(stuck), ", ".join(words))

    def _tell_renewed(self) -> None:
        """A data plane that keeps leases itself learns the deadlines here, in the thread that commits.

        Otherwise a rule could be renewed there that a commit has just removed.
        """
        self.renewed.clear()
        if not self._driver.keeps_leases:
            return
        try:
            with self._policy.lock.held(DAEMON_LOCK_WAIT_S) as lock_fd:
                self._driver.renew(targets_of(self._policy.acls()), (lock_fd,))
        except (CommitError, LockBusyError) as error:
            _log.warning("leases could not be renewed in the switch: %s", error)
            self._policy.mark_uncommitted()
            self.settled = False

    def _schedule_retry(self) -> None:
        self.settled = not self._policy.uncommitted
        if self.missing or not self.settled:
            self._retry_at = time.monotonic() + self._retry_s
            self._retry_s = min(2 * self._retry_s, RETRY_LONGEST_S)
        else:
            self._retry_at, self._retry_s = 0.0, RETRY_FIRST_S

    def _note(
        self, changes: Sequence[Change], owner: str, peer: str, result: Dict[str, Outcome], before: Dict[str, Acl]
    ) -> None:
        for change in changes:
            outcome = result[change.name]
            if isinstance(change, Put):
                action, acl = "put", change.acl
            else:
                action = "delete" if change.reason == "deleted" else "expire"
                acl = before.get(change.name, Acl(change.name, "", (), None, ""))
                if change.reason.startswith("replaced"):
                    action = "delete"
            self._counters.add("changes", action=action, result="ok" if outcome.ok else "failed")
            audit(action, change.name, owner, peer, outcome.status, len(rules_of(acl.lines)), outcome.error or None)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
