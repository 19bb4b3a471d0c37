# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What clients may do, without HTTP: who may change which rule, budgets, leases, and waiting for the commit.

Requests come from many threads; ``Keeper`` commits in one of its own. The mutex they share guards deciding (reading the
files, what is pending, writing leases); nothing slow happens under it but waiting for the expire process, which holds
the file lock for one commit at most.
"""

import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from switch_acl_api.budget import Budget, Shares, rules_of, shares
from switch_acl_api.clock import BootClock
from switch_acl_api.commits import Change, Outcome, Put, Remove
from switch_acl_api.counters import Counters
from switch_acl_api.drivers.base import Driver
from switch_acl_api.errors import LockBusyError, NoRoomError, Refused, RuleError
from switch_acl_api.grammar import Rule, Site, parse_rules
from switch_acl_api.keeper import Keeper
from switch_acl_api.leases import Deadline, deadline_after
from switch_acl_api.limits import (
    DAEMON_LOCK_WAIT_S,
    FIRST_LOOK_WAIT_S,
    MAX_REQUEST_WAIT_S,
    MAX_WAITING_REQUESTS,
)
from switch_acl_api.policy import Acl, PolicyDir, new_nonce
from switch_acl_api.tickets import Ticket, TicketQueue
from switch_acl_api.views import Views, total

# Lines, and seconds to live.
Wish = Tuple[Any, Optional[float]]


class Rulebook(NamedTuple):
    """The part of the settings that decides about requests. ``default_ttl_s`` ``None``: without end.

    ``erspan_sources`` ``None``: the switch's own addresses if ``own_sources``, else any.
    """

    erspan_destinations: Tuple[str, ...]
    ports: Tuple[str, ...]
    max_rules: int
    default_ttl_s: Optional[float]
    max_ttl_s: float
    erspan_sources: Optional[Tuple[str, ...]] = None
    own_sources: bool = False
    max_rules_per_owner: int = 100
    max_names_per_owner: int = 400


class PutResult(NamedTuple):
    created: bool
    changed: bool
    expires_in_s: Optional[float]
    committed: bool


class Engine:
    def __init__(
        self,
        policy: PolicyDir,
        driver: Driver,
        clock: BootClock,
        book: Rulebook,
        commit_interval_s: float,
        counters: Counters,
        heartbeat: Callable[[], None] = lambda: None,
        owners: Callable[[], int] = lambda: 1,
    ) -> None:
        self.driver = driver
        self.clock = clock
        self.book = book
        self._policy = policy
        self._owners = owners
        self._queue = TicketQueue(commit_interval_s)
        self._keeper = Keeper(policy, driver, clock, self._queue, self._standing_site, counters, heartbeat)
        self.views = Views(policy, driver, clock, self._keeper, book.max_rules)
        self._mutex = self._keeper.mutex
        self._waiting = 0
        self._claim = -1

    def start(self) -> None:
        """Raises ``OSError``, and ``AlreadyRunningError`` if another shim has the state folder."""
        self._policy.prepare()
        self._claim = self._policy.claim()
        self.driver.start()
        self._keeper.start()

    def stop(self) -> None:
        """Ends after the commit that runs, if one does; rules keep their leases."""
        self._keeper.stop()
        self.driver.stop()
        os.close(self._claim)

    # --- requests that change --------------------------------------------------------------------

    def put(
        self, owner: str, peer: str, name: str, lines: Sequence[object], ttl_s: Optional[float], wait: bool
    ) -> PutResult:
        """Raises ``RuleError`` or ``Refused``."""
        ttl_s = self._ttl(ttl_s)
        rules = _some_rules(lines, self._site())
        texts = tuple(str(line) for line in lines)
        self._keeper.looked.wait(FIRST_LOOK_WAIT_S)
        with self._mutex:
            planned = self._planned()
            current = planned.get(name)
            self._check_owner(current, owner)
            if current is not None and self._is_installed(current, texts, ttl_s):
                if not self._renew([(current, ttl_s)]):
                    raise Refused(503, "expired at this moment")
                return PutResult(False, False, ttl_s, True)
            Budget(self.shares, owner, planned).take(name, rules)
            ticket = self._enqueue([Put(self._new_acl(owner, name, texts, ttl_s))], owner, peer, wait)
        created = current is None
        if not wait:
            return PutResult(created, True, ttl_s, False)
        self._answer(ticket, name)
        acl = self._policy.acls().get(name)
        return PutResult(created, True, None if acl is None else self.views.left(acl), True)

    def delete(self, owner: str, peer: str, names: Optional[Sequence[str]], wait: bool) -> bool:
        """Removes ``names``, or all of this owner's; true when committed. Raises ``Refused``."""
        with self._mutex:
            planned = self._planned()
            pending = {change.name for change in self._queue.pending() if isinstance(change, Remove)}
            if names is None:
                names = [name for name in sorted(planned) if planned[name].owner == owner]
            else:
                pending.intersection_update(names)
            for name in names:
                self._check_owner(planned.get(name), owner)
            on_disk = self._policy.acls()
            wanted = [name for name in names if name in planned or name in on_disk]
            # Absent from the files, but the switch may still have it: its removal was not committed yet.
            if not wanted and not pending and self._keeper.settled:
                return True
            ticket = self._enqueue([Remove(name, "deleted") for name in wanted], owner, peer, wait)
        if not wait:
            return False
        self._wait(ticket)
        failed = next((outcome for outcome in ticket.outcomes.values() if not outcome.ok), None)
        if failed is None and not wanted and not self._keeper.settled:
            failed = Outcome(503, "a removal is not committed yet")
        if failed is not None:
            raise _refusal(failed)
        return True

    def replace(self, owner: str, peer: str, wanted: Dict[str, Wish]) -> Dict[str, Any]:
        """``{name: (lines, ttl_s)}`` in the place of this owner's leased rules, in one commit."""
        answer, failed = self._bulk(owner, peer, wanted, None)
        return dict(answer, failed={name: error.error for name, error in failed.items()})

    def amend(self, owner: str, peer: str, changes: Dict[str, Optional[Wish]]) -> Dict[str, Any]:
        """Puts and, where the wish is ``None``, removals in one commit; what is not named stays as it is."""
        wanted = {name: wish for name, wish in changes.items() if wish is not None}
        answer, failed = self._bulk(owner, peer, wanted, [name for name in sorted(changes) if name not in wanted])
        return dict(answer, failed={n: {"status": error.status, "error": error.error} for n, error in failed.items()})

    def _bulk(
        self, owner: str, peer: str, wanted: Dict[str, Wish], unwanted: Optional[Sequence[str]]
    ) -> Tuple[Dict[str, Any], Dict[str, Refused]]:
        """What became of each name, and why not. ``unwanted`` ``None``: every leased rule that is not wanted."""
        failed: Dict[str, Refused] = {}
        parsed: Dict[str, Tuple[Tuple[str, ...], List[Rule], Optional[float]]] = {}
        site = self._site()
        for name, (lines, asked_s) in wanted.items():
            try:
                rules = _some_rules(lines, site)
                parsed[name] = (tuple(str(line) for line in lines), rules, self._ttl(asked_s))
            except RuleError as error:
                failed[name] = Refused(400, str(error))
            except Refused as error:
                failed[name] = error
        self._keeper.looked.wait(FIRST_LOOK_WAIT_S)
        with self._mutex:
            planned = self._planned()
            gone, removes = self._removes(owner, planned, wanted, unwanted, failed)
            leaving = {remove.name for remove in removes}
            budget = Budget(self.shares, owner, {n: acl for n, acl in planned.items() if n not in leaving})
            unchanged: Dict[str, Optional[float]] = {}
            puts: List[Change] = []
            for name, (texts, rules, ttl_s) in sorted(parsed.items()):
                current = planned.get(name)
                try:
                    self._check_owner(current, owner)
                    if current is not None and self._is_installed(current, texts, ttl_s):
                        unchanged[name] = ttl_s
                        continue
                    budget.take(name, rules)
                except Refused as error:
                    failed[name] = error
                    continue
                puts.append(Put(self._new_acl(owner, name, texts, ttl_s)))
            kept = self._renew([(planned[name], ttl_s) for name, ttl_s in unchanged.items()])
            failed.update({name: Refused(503, "expired at this moment") for name in unchanged if name not in kept})
            if not puts and not removes:
                return {"installed": [], "unchanged": sorted(kept), "removed": gone}, failed
            ticket = self._enqueue([*puts, *removes], owner, peer, wait=True)
        self._wait(ticket)
        failed.update({name: _refusal(outcome) for name, outcome in ticket.outcomes.items() if not outcome.ok})
        answer = {
            "installed": [put.name for put in puts if put.name not in failed],
            "unchanged": sorted(kept),
            "removed": sorted(gone + [remove.name for remove in removes if remove.name not in failed]),
        }
        return answer, failed

    def _removes(
        self,
        owner: str,
        planned: Dict[str, Acl],
        wanted: Dict[str, Wish],
        unwanted: Optional[Sequence[str]],
        failed: Dict[str, Refused],
    ) -> Tuple[List[str], List[Remove]]:
        """The names of a bulk request that are gone already, and those to remove. Refusals go to ``failed``."""
        if unwanted is None:
            mine = [name for name, acl in sorted(planned.items()) if acl.owner == owner and acl.lease is not None]
            return [], [Remove(name, "replaced by a list without it") for name in mine if name not in wanted]
        gone: List[str] = []
        removes: List[Remove] = []
        on_disk = self._policy.acls()
        pending = {change.name for change in self._queue.pending()}
        for name in unwanted:
            try:
                self._check_owner(planned.get(name), owner)
            except Refused as error:
                failed[name] = error
                continue
            # Absent from the files, but the switch may still have it while a removal is not committed.
            if name in planned or name in on_disk or name in pending or not self._keeper.settled:
                removes.append(Remove(name, "deleted"))
            else:
                gone.append(name)
        return gone, removes

    def renew(self, owner: str, ttl_s: Optional[float], names: Optional[Sequence[str]] = None) -> Dict[str, Any]:
        """All leases of this owner, or those of ``names`` that are its own; commits nothing. Raises ``Refused``."""
        ttl_s = self._ttl(ttl_s)
        counts = self._keeper.counts()
        wanted = None if names is None else set(names)
        with self._mutex:
            going = {change.name for change in self._queue.pending() if isinstance(change, Remove)}
            mine = [
                acl
                for name, acl in sorted(self._keeper.live().items())
                if acl.owner == owner and acl.lease is not None and name not in going
                if wanted is None or name in wanted
            ]
            kept = self._renew([(acl, ttl_s) for acl in mine])
        renewed: Dict[str, Any] = {}
        for acl in (acl for acl in mine if acl.name in kept):
            counted = total([None if counts is None else counts.get(rule.key) for rule in rules_of(acl.lines)])
            renewed[acl.name] = {
                "expires_in_s": ttl_s,
                "packets": counted.packets if counted else None,
                "bytes": counted.bytes if counted else None,
            }
        return {"boot_id": self.clock.boot_id, "renewed": renewed}

    # --- deciding --------------------------------------------------------------------------------

    def _ttl(self, asked_s: Optional[float]) -> Optional[float]:
        if asked_s is None:
            return self.book.default_ttl_s
        if not 0.0 < asked_s <= self.book.max_ttl_s:
            raise Refused(400, "ttl: expected more than 0 and at most {:g} seconds".format(self.book.max_ttl_s))
        return asked_s

    @property
    def shares(self) -> Shares:
        """What one owner may take now; tokens come and go."""
        book = self.book
        return shares(book.max_rules, book.max_rules_per_owner, book.max_names_per_owner, self._owners())

    def _site(self) -> Site:
        """What is allowed now. Raises ``Refused`` if the switch's addresses are needed and cannot be read."""
        site = self._standing_site()
        if site.erspan_sources is None and self.book.own_sources and self.driver.knows_addresses:
            if not site.own:
                raise Refused(503, "the switch's own addresses cannot be read; erspan_sources would name them")
            return site._replace(erspan_sources=site.own)
        return site

    def _standing_site(self) -> Site:
        """What standing rules must keep to: an address that goes for a moment ends none of them."""
        mine = self.driver.own_addresses()
        sources = self.book.erspan_sources
        return Site(
            erspan_sources=None if sources is None else frozenset(sources),
            erspan_destinations=frozenset(self.book.erspan_destinations),
            ports=frozenset(self.book.ports),
            own=mine.own,
            broadcasts=mine.broadcasts,
            ipv6=self.driver.ipv6,
            loopback_mirror=self.driver.loopback_mirror,
            objection=self.driver.objection,
        )

    def _planned(self) -> Dict[str, Acl]:
        """The files as they will be when everything pending has been committed."""
        planned = self._keeper.live()
        for change in self._queue.pending():
            if isinstance(change, Put):
                planned[change.name] = change.acl
            elif change.nonce is None or (change.name in planned and planned[change.name].nonce == change.nonce):
                planned.pop(change.name, None)
        return planned

    def _check_owner(self, current: Optional[Acl], owner: str) -> None:
        if current is not None and current.owner != owner:
            raise Refused(409, 'belongs to another owner, "{}"'.format(current.owner))

    def _is_installed(self, current: Acl, texts: Tuple[str, ...], ttl_s: Optional[float]) -> bool:
        """Is this very content in the files, committed, seen in the switch, and is only its lease to be renewed?"""
        pending = any(change.name == current.name for change in self._queue.pending())
        return (
            current.lines == texts
            and (current.lease is None) == (ttl_s is None)
            and self._keeper.looked.is_set()
            and not pending
            and self._keeper.settled
            and current.name not in self._keeper.missing
        )

    def _new_acl(self, owner: str, name: str, texts: Tuple[str, ...], ttl_s: Optional[float]) -> Acl:
        return Acl(name, owner, texts, self._deadline(ttl_s), new_nonce())

    def _deadline(self, ttl_s: Optional[float]) -> Optional[Deadline]:
        return None if ttl_s is None else deadline_after(ttl_s, self.clock.now())

    def _renew(self, wishes: Sequence[Tuple[Acl, Optional[float]]]) -> Set[str]:
        """The names whose lease now runs ``ttl_s`` from now; the others have just been removed.

        Under the file lock, or the expire process could remove a rule between its look and ours.
        """
        if all(acl.lease is None for acl, _ in wishes):
            self._keeper.trouble.pop("leases", None)
            return {acl.name for acl, _ in wishes}
        try:
            with self._policy.lock.held(DAEMON_LOCK_WAIT_S):
                live = self._keeper.live()
                kept = [(acl, ttl_s) for acl, ttl_s in wishes if _nonce(live.get(acl.name)) == acl.nonce]
                self._policy.renew(
                    {
                        acl.name: (acl.nonce, deadline_after(ttl_s, self.clock.now()))
                        for acl, ttl_s in kept
                        if ttl_s is not None and acl.lease is not None
                    }
                )
        except LockBusyError as error:
            raise Refused(503, str(error)) from error
        except NoRoomError as error:
            raise Refused(507, str(error)) from error
        except OSError as error:
            self._keeper.trouble["leases"] = "leases cannot be written: {}".format(error.strerror)
            raise Refused(503, self._keeper.trouble["leases"]) from error
        self._keeper.trouble.pop("leases", None)
        self._keeper.renewed.set()
        return {acl.name for acl, _ in kept}

    # --- waiting for a commit --------------------------------------------------------------------

    def _enqueue(self, changes: Sequence[Change], owner: str, peer: str, wait: bool) -> Ticket:
        if wait and self._waiting >= MAX_WAITING_REQUESTS:
            raise Refused(503, "too many requests wait for a commit")
        ticket = Ticket(changes, owner, peer)
        self._queue.put(ticket)
        return ticket

    def _wait(self, ticket: Ticket) -> None:
        with self._mutex:
            self._waiting += 1
        try:
            if not ticket.wait(MAX_REQUEST_WAIT_S):
                raise Refused(503, "the commit has not ended yet; the change is queued")
        finally:
            with self._mutex:
                self._waiting -= 1

    def _answer(self, ticket: Ticket, name: str) -> None:
        self._wait(ticket)
        outcome = ticket.outcomes[name]
        if not outcome.ok:
            raise _refusal(outcome)


def _some_rules(lines: Sequence[object], site: Site) -> List[Rule]:
    """Read and judge, as ``parse_rules``; a name that is only taken, without a rule, is refused."""
    rules = parse_rules(lines, site)
    if not rules:
        raise RuleError(max(1, len(lines)), "", "no rule among the lines")
    return rules


def _nonce(acl: Optional[Acl]) -> Optional[str]:
    return None if acl is None else acl.nonce


def _refusal(outcome: Outcome) -> Refused:
    fields: Dict[str, Any] = {"output": list(outcome.output)}
    if outcome.status == 503:
        fields.update(file=outcome.file, line=outcome.line)
    return Refused(outcome.status, outcome.error, **fields)
