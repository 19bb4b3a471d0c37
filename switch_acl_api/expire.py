# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The second and third hand: remove what has expired, from a process of its own.

Needs no daemon, no Flask, and as little of the settings as can be read: a typing error in the configuration must not
keep a rule alive.
"""

import logging
from typing import Dict, List

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
    """Exit code. ``boot``: only files are removed, for the policy is about to be installed anyway."""
    policy.prepare()
    # Looked at without the lock first: nearly always there is nothing to do.
    if not expired_acls(policy.acls(), clock.now()) and (boot or not policy.uncommitted):
        return 0
    try:
        with policy.lock.held(EXPIRE_LOCK_WAIT_S) as lock_fd:
            return _expire(policy, driver, clock, boot, lock_fd)
    except LockBusyError as error:
        _log.error("%s; the timer will come again", error)
        return 1


def _expire(policy: PolicyDir, driver: Driver, clock: BootClock, boot: bool, lock_fd: int) -> int:
    policy.sweep()
    gone = expired_acls(policy.acls(), clock.now())
    for acl in gone:
        _log.warning('removing expired rule "%s" of "%s"', acl.name, acl.owner)
    if boot or not driver.outlives_process:
        # The mark stays: whoever runs the data plane next commits.
        if gone:
            policy.mark_uncommitted()
        for acl in gone:
            policy.remove(acl.name)
        return 0
    if not gone and not policy.uncommitted:
        return 0
    committer = Committer(policy, driver)
    committer.run([Remove(acl.name, "expired", acl.nonce) for acl in gone], lock_fd)
    for name in committer.dropped:
        _log.warning('removing rule "%s": its installation was interrupted, and it is not accepted', name)
    if policy.uncommitted:
        _log.error("removed, but not committed: %s; the timer will come again", committer.lasterror)
        return 1
    return 0
