# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What a data plane must be able to do. The shim's core knows nothing else of switches."""

import abc
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple

from switch_acl_api.grammar import Rule, RuleKey
from switch_acl_api.policy import Acl


class Count(NamedTuple):
    """Since the rule was installed."""

    packets: int
    bytes: int


class OwnAddresses(NamedTuple):
    own: FrozenSet[str] = frozenset()
    broadcasts: FrozenSet[str] = frozenset()


class Target(NamedTuple):
    """An ACL that is to be installed, with its rules read."""

    acl: Acl
    rules: Tuple[Rule, ...]


class Driver(abc.ABC):
    """``commit`` and ``installed`` may be called from any thread, ``commit`` from one at a time.

    ``outlives_process``: rules stay when the shim dies, so another process can and must remove them. ``ipv6``: takes
    ``[ip6tables]``. ``loopback_mirror``: its ERSPAN may go to loopback. ``keeps_leases``: the data plane itself forgets
    a rule whose lease ran out, so it must be told of renewals. ``reads_back``: ``installed`` is
    compared with what was committed, after each commit and now and then. ``knows_addresses``: ``own_addresses`` has at
    least one, or they could not be read. ``reads_files``: what is installed is what
    policy.d has, whatever ``commit`` is given.
    """

    name = ""
    ipv6 = False
    outlives_process = True
    loopback_mirror = False
    keeps_leases = False
    reads_back = True
    reads_files = False
    knows_addresses = False

    def start(self) -> None:
        """Open what is needed. Raises ``OSError``."""
        return

    def stop(self) -> None:
        """Close it again; rules stay as they are where they outlive the process."""
        return

    @abc.abstractmethod
    def commit(self, targets: Sequence[Target], keep_fds: Tuple[int, ...] = ()) -> None:
        """Make the data plane have exactly ``targets`` (whose files are in policy.d) of ours.

        ``keep_fds`` are descriptors for a child process to inherit. Raises ``CommitError``.
        """

    def renew(self, targets: Sequence[Target], keep_fds: Tuple[int, ...] = ()) -> None:  # noqa: ARG002 -- see commit
        """As ``commit``, when at most the leases have changed; counters go on. Raises ``CommitError``."""
        return

    @abc.abstractmethod
    def installed(self) -> Dict[RuleKey, Count]:
        """Every ERSPAN rule the data plane has, other people's too. Raises ``ListingError``."""

    def objection(self, rule: Rule) -> Optional[Tuple[str, str]]:  # noqa: ARG002 -- for drivers that have one
        """Why this switch cannot have the rule: the token at fault and the reason; ``None`` where it can."""
        return None

    def own_addresses(self) -> OwnAddresses:
        """The switch's own addresses; hosts in rules must not be among them."""
        return OwnAddresses()

    def reach(self) -> List[Dict[str, Any]]:
        """Per ERSPAN destination ``destination``, ``reachable``, ``via``, ``neighbour``, ``detail``."""
        return []

    def problems(self) -> List[str]:
        """What this machine lacks, in words for an operator."""
        return []

    def tcam_free(self) -> Optional[int]:
        """Entries left in hardware, where known."""
        return None
