# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The state of the rules as clients and operators read it. A rule is shown as long as it may stand in the switch."""

from typing import Any, Dict, List, Optional, Sequence

from switch_acl_api.budget import rules_of
from switch_acl_api.clock import BootClock
from switch_acl_api.drivers.base import Count, Driver
from switch_acl_api.grammar import RuleKey
from switch_acl_api.keeper import Keeper
from switch_acl_api.leases import Deadline, Instant, expired, remaining_s
from switch_acl_api.limits import OVERDUE_S
from switch_acl_api.policy import Acl, PolicyDir


class Views:
    """Reads only; from any thread. Raises ``OSError`` if the rule files cannot be read, except ``problems``."""

    def __init__(self, policy: PolicyDir, driver: Driver, clock: BootClock, keeper: Keeper, max_rules: int) -> None:
        self._policy = policy
        self._driver = driver
        self._clock = clock
        self._keeper = keeper
        self._max_rules = max_rules

    def names(self) -> List[str]:
        """Rules that have a file, expired or not, and those whose removal the switch has not committed."""
        return sorted(set(self._policy.acls()).union(self._keeper.leaving()))

    def lines(self, name: str) -> Optional[List[str]]:
        acl = self._policy.acls().get(name)
        return None if acl is None or not acl.readable else list(acl.lines)

    @property
    def lasterror(self) -> Optional[Dict[str, Any]]:
        """``{"returncode", "lines"}`` of the last commit when it failed, as in 2014."""
        error = self._keeper.lasterror
        return None if error is None else {"returncode": error.returncode, "lines": error.output or [error.error]}

    def problems(self) -> List[str]:
        """What an operator should know, in words."""
        found = [text for _, text in sorted(self._keeper.trouble.copy().items())] + self._driver.problems()
        found += self._overdue()
        if self._policy.trouble:
            found.append(self._policy.trouble)
        error = self._keeper.lasterror
        if error is not None and self._policy.uncommitted:
            found.append("the last commit failed: {}".format(error.error))
        found += [
            "ERSPAN destination {}: {}".format(row["destination"], row["detail"])
            for row in self._driver.reach()
            if not row["reachable"]
        ]
        return found

    def _overdue(self) -> List[str]:
        """The one thing that must never be: seen here on its own, whatever thread or disk is at fault."""
        now = self._clock.now()
        try:
            acls = self._policy.acls()
        except OSError as error:
            return ["the rule files cannot be read: {}".format(error.strerror)]
        late = [name for name, acl in sorted(acls.items()) if acl.readable and _is_overdue(acl.lease, now)]
        return ["{} rules stand after the end of their lease, such as {}".format(len(late), late[0])] if late else []

    def rules_used(self) -> int:
        return sum(len(rules_of(acl.lines)) for acl in self._keeper.live().values())

    def detail(self, owner: str) -> Dict[str, Any]:
        acls = self._policy.acls()
        counts = self._keeper.counts()
        return {
            "owner": owner,
            "boot_id": self._clock.boot_id,
            "driver": self._driver.name,
            "ipv6": self._driver.ipv6,
            "max_rules": self._max_rules,
            "rules_used": sum(len(rules_of(acl.lines)) for acl in acls.values()),
            "tcam_free": self._driver.tcam_free(),
            "erspan": self._driver.reach(),
            "acls": {name: self._detail_of(acls[name], counts) for name in sorted(acls) if acls[name].readable},
        }

    def _detail_of(self, acl: Acl, counts: Optional[Dict[RuleKey, Count]]) -> Dict[str, Any]:
        rules = rules_of(acl.lines)
        found = [None if counts is None else counts.get(rule.key) for rule in rules]
        counted = total(found)
        return {
            "lines": list(acl.lines),
            "owner": acl.owner,
            "expires_in_s": self.left(acl),
            "installed": counts is not None and None not in found,
            "packets": counted.packets if counted else None,
            "bytes": counted.bytes if counted else None,
            "rules": [
                {
                    "line": rule.line,
                    "packets": count.packets if count else None,
                    "bytes": count.bytes if count else None,
                }
                for rule, count in zip(rules, found)  # noqa: B905 -- Python 3.7
            ],
        }

    def left(self, acl: Acl) -> Optional[float]:
        """Seconds until the lease ends, 0.0 if it has ended; ``None`` without a lease."""
        return None if acl.lease is None else round(remaining_s(acl.lease, self._clock.now()), 3)


def _is_overdue(lease: Optional[Deadline], now: Instant) -> bool:
    just_ended = lease is not None and lease.boot_id == now.boot_id and now.at - OVERDUE_S < lease.at <= now.at
    return expired(lease, now) and not just_ended


def total(counts: Sequence[Optional[Count]]) -> Optional[Count]:
    """Return the sum of what is known, ``None`` if nothing is."""
    known = [count for count in counts if count is not None]
    if not known:
        return None
    return Count(sum(count.packets for count in known), sum(count.bytes for count in known))
