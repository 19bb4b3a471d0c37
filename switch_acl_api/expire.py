# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The second and third hand: remove what has expired, from a process of its own.

Needs no daemon, no Flask, and as little of the settings as can be read: a typing error in the configuration must not
keep a rule alive.
"""

import contextlib
import logging
from typing import Dict, List, Sequence

from switch_acl_api.clock import BootClock
from switch_acl_api.commits import Committer, Remove
from switch_acl_api.drivers.base import Driver
from switch_acl_api.errors import LockBusyError
from switch_acl_api.leases import Instant, expired
from switch_acl_api.limits import EXPIRE_LOCK_WAIT_S
from switch_acl_api.policy import Acl, PolicyDir

_log = logging.getLogger("switch_acl_api.expire")


def expired_acls(acls: Dict[str, Acl], now: Instant) -> List[Acl]:
    return [acls[name] for name in sorted(acls) if expired(acls[name].lease, now)]


def expire(policy: PolicyDir, driver: Driver, clock: BootClock, boot: bool) -> int:
    """Exit code. ``boot``: only files are removed, for the policy is about to be installed anyway.

    Raises ``OSError`` if the rule files cannot be read.
    """
    with contextlib.suppress(OSError):
        # Without room there may be no folder for notes; those that are needed are there.
        policy.prepare()
    # Looked at without the lock first: nearly always there is nothing to do.
    gone = expired_acls(policy.acls(), clock.now())
    if not gone and (boot or not policy.uncommitted):
        return 0
    try:
        with policy.lock.held(EXPIRE_LOCK_WAIT_S) as lock_fd:
            return _expire(policy, driver, clock, boot, lock_fd)
    except LockBusyError as error:
        _log.error("%s; the timer will come again", error)
    except OSError as error:
        _log.error("no lock: %s", error)
    # Files can go without it: those of ended rules are renewed by no hand, and what holds the lock commits.
    policy.mark_uncommitted()
    _delete(policy, gone)
    return 1


def _expire(policy: PolicyDir, driver: Driver, clock: BootClock, boot: bool, lock_fd: int) -> int:
    policy.sweep()
    gone = expired_acls(policy.acls(), clock.now())
    if boot or not driver.outlives_process:
        # The mark stays: the hand that runs the data plane next commits.
        if gone:
            policy.mark_uncommitted()
        return _delete(policy, gone)
    if not gone and not policy.uncommitted:
        return 0
    for acl in gone:
        _log.warning('removing expired rule "%s" of "%s"', acl.name, acl.owner)
    committer = Committer(policy, driver)
    outcomes = committer.run([Remove(acl.name, "expired", acl.nonce) for acl in gone], lock_fd)
    for name in committer.dropped:
        _log.warning('removing rule "%s": its installation was interrupted, and it is not accepted', name)
    for name, reason in sorted(committer.stuck.items()):
        _log.error('the file of rule "%s" cannot be deleted: %s; the timer will come again', name, reason)
    if policy.uncommitted:
        _log.error("removed, but not committed: %s; the timer will come again", committer.lasterror)
        return 1
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _delete(policy: PolicyDir, gone: Sequence[Acl]) -> int:
    """Delete files, all that can be deleted; 1 if one cannot."""
    code = 0
    for acl in gone:
        _log.warning('removing expired rule "%s" of "%s"', acl.name, acl.owner)
        try:
            policy.remove(acl.name)
        except OSError as error:
            _log.error('the file of rule "%s" cannot be deleted: %s', acl.name, error.strerror)
            code = 1
    return code
