# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One batch of changes to the data plane, all or blamed.

1. Mark the state as uncommitted, remove files, write files, commit, read back. Removing comes first and needs no room
   on any disk; a file that cannot be deleted keeps neither the others nor, in a data plane of our own, its rules.
2. If that fails: withdraw the batch (what it added goes, what it removed stays removed: no rule may outlive its lease
   because a neighbour was bad) and commit again. If that fails too, the trouble is not ours: somebody else's file, or
   the tool. Everybody gets 503 and nobody is blamed.
3. Otherwise the changes are tried in halves, and halves of halves, until those to blame stand alone.

No clock, no threads; files through ``PolicyDir``, the data plane through ``Driver``.
"""

import contextlib
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

from switch_acl_api.drivers.base import Driver, Target
from switch_acl_api.errors import CommitError, ListingError, RuleError
from switch_acl_api.grammar import RuleKey, rules_of_file
from switch_acl_api.limits import MAX_BLAME_COMMITS
from switch_acl_api.policy import Acl, PolicyDir


class Put(NamedTuple):
    acl: Acl

    @property
    def name(self) -> str:
        return self.acl.name


class Remove(NamedTuple):
    """``reason`` is for the audit log. With a ``nonce``, only the file that had it is meant."""

    name: str
    reason: str
    nonce: Optional[str] = None


Change = Union[Put, Remove]


class Outcome(NamedTuple):
    """``status`` is that of the answer; 200 means done and verified."""

    status: int
    error: str = ""
    output: Sequence[str] = ()
    file: Optional[str] = None
    line: Optional[int] = None

    @property
    def ok(self) -> bool:
        return self.status == 200


DONE = Outcome(200)


class Committer:
    """Its caller holds the policy's lock.

    ``lasterror`` is that of the last batch, ``None`` when it went well. ``dropped`` are rules that an earlier, dead
    hand was trying to install and that were withdrawn in the last batch. ``stuck`` are removals of the last batch whose
    files are still there, and why.
    """

    def __init__(self, policy: PolicyDir, driver: Driver, observe: Optional[Callable[[str], None]] = None) -> None:
        self._policy = policy
        self._driver = driver
        self._observe = observe or (lambda _: None)
        self._budget = 0
        self._last: Optional[CommitError] = None
        self._keep_fds: Sequence[int] = ()
        self.lasterror: Optional[CommitError] = None
        self.dropped: List[str] = []
        self.stuck: Dict[str, str] = {}
        self._left_out: Set[Optional[str]] = set()
        self._owed: Set[RuleKey] = set()

    def run(self, changes: Sequence[Change], lock_fd: int, lost: bool = False) -> List[Outcome]:
        """One outcome per change. Each name occurs once. ``lost``: commit even if no file changes."""
        self._keep_fds = (lock_fd,)
        self.dropped = []
        self.stuck = {}
        try:
            return self._run(changes, lost or not changes)
        except OSError as error:
            # The mark is left; what was written is either whole or not there, and the next commit installs what is.
            self.lasterror = CommitError("broken", "policy files cannot be read: {}".format(error.strerror))
            return [Outcome(503, self.lasterror.error)] * len(changes)

    def _run(self, changes: Sequence[Change], anyway: bool) -> List[Outcome]:
        before = self._policy.acls()
        unproved = self._policy.unproved()
        marked = self._policy.uncommitted
        self._policy.mark_uncommitted()
        changed, gone, refused = self._remove([change for change in changes if isinstance(change, Remove)], before)
        named = {change.name for change in changes}
        tried = [before.pop(name) for name in sorted(before) if before[name].nonce in unproved]
        # What a dead hand was trying is tried again, and is withdrawn if it is to blame.
        puts = [Put(acl) for acl in tried if acl.name not in named]
        puts += [change for change in changes if isinstance(change, Put)]
        if not (puts or changed or marked or anyway):
            self._policy.clear_uncommitted()
            return [refused.get(change.name, DONE) for change in changes]
        try:
            self._policy.mark_uncommitted(put.acl.nonce for put in puts)
        except OSError as error:
            full = Outcome(503, "policy files cannot be written: {}".format(error.strerror))
            refused.update({put.name: full for put in puts})
            puts = []
        outcomes = self._commit_batch(puts, before, gone, [acl.name for acl in tried], named)
        return [refused.get(change.name) or outcomes.get(change.name, DONE) for change in changes]

    def _commit_batch(
        self, puts: List[Put], before: Dict[str, Acl], gone: Set[RuleKey], tried: List[str], named: Set[str]
    ) -> Dict[str, Outcome]:
        """The outcomes that are not ``DONE``, by name; files have been removed, none was written yet."""
        failure = self._try(puts, before, gone)
        self.lasterror = failure
        if failure is None:
            self._policy.clear_uncommitted()
            return {}
        self._withdraw(puts, before)
        base = self._commit([], gone)
        if base is not None:
            self.lasterror = base
            self.dropped = tried
            return dict.fromkeys(named, _not_ours(base))
        outcomes = self._blame(puts, before, failure) if puts else {}
        self.dropped = [name for name, outcome in outcomes.items() if name not in named and not outcome.ok]
        if self._last is None:
            self._policy.clear_uncommitted()
        return outcomes

    def _blame(self, puts: List[Put], before: Dict[str, Acl], failure: CommitError) -> Dict[str, Outcome]:
        """Precondition: ``puts`` failed together, are withdrawn, and the rest is committed."""
        outcomes: Dict[str, Outcome] = {}
        self._budget = MAX_BLAME_COMMITS
        self._split(puts, before, failure, outcomes)
        if self._last is not None:
            # The last attempt failed: make the data plane agree with the files again.
            base = self._commit([], set())
            if base is not None:
                self.lasterror = base
                outcomes = {name: found if found.ok else _not_ours(base) for name, found in outcomes.items()}
        return outcomes

    def _split(
        self, puts: List[Put], before: Dict[str, Acl], failure: CommitError, outcomes: Dict[str, Outcome]
    ) -> None:
        if len(puts) == 1:
            outcomes[puts[0].name] = _blamed(failure)
            return
        middle = len(puts) // 2
        for half in (puts[:middle], puts[middle:]):
            if not half:
                continue
            if self._budget <= 0:
                outcomes.update({put.name: Outcome(503, "not tried: too many changes failed together") for put in half})
                continue
            self._budget -= 1
            again = self._try(half, before, set())
            if again is None:
                outcomes.update({put.name: DONE for put in half})
            else:
                self._withdraw(half, before)
                self._split(half, before, again, outcomes)

    def _try(self, puts: Sequence[Put], before: Dict[str, Acl], gone: Set[RuleKey]) -> Optional[CommitError]:
        written: List[Put] = []
        try:
            for put in puts:
                written.append(put)
                self._policy.write(put.acl)
        except OSError as error:
            self._withdraw(written, before)
            self._last = CommitError("broken", "policy files cannot be written: {}".format(error.strerror))
            return self._last
        replaced = {key for put in puts if put.name in before for key in keys_of(before[put.name])}
        return self._commit(puts, gone | replaced)

    def _remove(
        self, removes: Sequence[Remove], before: Dict[str, Acl]
    ) -> Tuple[bool, Set[RuleKey], Dict[str, Outcome]]:
        """Whether there is something to commit, the rules that are to be gone, and what became of stuck files."""
        changed = False
        gone: Set[RuleKey] = set()
        refused: Dict[str, Outcome] = {}
        left_out: Set[Optional[str]] = set()
        for change in removes:
            found = before.get(change.name)
            if found is None or (change.nonce is not None and found.nonce != change.nonce):
                continue
            try:
                changed = self._policy.remove(change.name) or changed
                reason = "the folder does not let it go" if self._policy.holds(change.name) else ""
            except OSError as error:
                reason = error.strerror or str(error)
                refused[change.name] = Outcome(503, "the rule's file cannot be deleted: {}".format(reason))
            if reason:
                self.stuck[change.name] = reason
                left_out.add(found.nonce)
            if change.name not in refused or not self._driver.reads_files:
                gone |= keys_of(found)
        if not self._driver.reads_files:
            changed = changed or left_out != self._left_out
            self._left_out = left_out
        return changed, gone, refused

    def _withdraw(self, puts: Sequence[Put], before: Dict[str, Acl]) -> None:
        """Bring back what there was; without room for that, the rule ends rather than that a bad file stays."""
        for put in puts:
            old = before.get(put.name)
            if old is not None and old.readable:
                with contextlib.suppress(OSError):
                    self._policy.write(old)
                    continue
            with contextlib.suppress(OSError):
                self._policy.remove(put.name)

    def _commit(self, puts: Sequence[Put], gone: Set[RuleKey]) -> Optional[CommitError]:
        """Commit what the files say, then see that the rules of ``puts`` are there and ``gone`` ones are not.

        What was to be gone in an earlier commit that failed is looked for again.
        """
        self._owed |= gone
        acls = self._policy.acls()
        targets = targets_of({name: acl for name, acl in acls.items() if acl.nonce not in self._left_out})
        try:
            self._driver.commit(targets, tuple(self._keep_fds))
            if self._driver.reads_back:
                self._read_back(targets, puts, self._owed)
        except CommitError as error:
            self._last = error
            self._observe(error.kind)
            return error
        self._last = None
        self._owed = set()
        self._observe("ok")
        return None

    def _read_back(self, targets: Sequence[Target], puts: Sequence[Put], gone: Set[RuleKey]) -> None:
        try:
            installed = self._driver.installed()
        except ListingError as error:
            raise CommitError("unverified", "committed, but not verified: {}".format(error)) from error
        for put in puts:
            missing = [key for key in sorted(keys_of(put.acl)) if key not in installed]
            if missing:
                raise CommitError("unverified", "committed, but not installed: {}".format(_words(missing[0])))
        wanted = {rule.key for target in targets for rule in target.rules}
        left = sorted(key for key in gone - wanted if key in installed)
        if left:
            foreign = self._policy.foreign_rules()
            left = [key for key in left if key not in foreign]
        if left:
            raise CommitError("unverified", "committed, but still installed: {}".format(_words(left[0])))


def keys_of(acl: Acl) -> Set[RuleKey]:
    try:
        return {rule.key for rule in rules_of_file(acl.lines)}
    except RuleError:
        return set()


def targets_of(acls: Dict[str, Acl]) -> List[Target]:
    """In the order in which the tool reads them: by file name. A file that cannot be read is left out."""
    targets: List[Target] = []
    for name in sorted(acls):
        try:
            targets.append(Target(acls[name], rules_of_file(acls[name].lines)))
        except RuleError:
            continue
    return targets


def _words(key: RuleKey) -> str:
    return "{} -> {} on {}".format(key[2], key[3], key[1])


def _blamed(failure: CommitError) -> Outcome:
    return Outcome(502, failure.error, failure.output, failure.file, failure.line)


def _not_ours(failure: CommitError) -> Outcome:
    what = "foreign policy error" if failure.kind == "rejected" else "the switch does not commit"
    return Outcome(503, "{}: {}".format(what, failure.error), failure.output, failure.file, failure.line)
