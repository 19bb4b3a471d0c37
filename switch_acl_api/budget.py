# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Do more rules fit? Pure counting of rules and of ERSPAN sessions."""

from typing import Dict, NamedTuple, Sequence, Tuple

from switch_acl_api.errors import Refused, RuleError
from switch_acl_api.grammar import Rule, erspan_pairs, rules_of_file
from switch_acl_api.limits import MAX_ERSPAN_PAIRS
from switch_acl_api.policy import Acl


class Shares(NamedTuple):
    """How much there is, and how much of it one owner may take."""

    rules: int
    owner_rules: int
    owner_names: int
    owner_pairs: int


def shares(max_rules: int, owner_rules: int, owner_names: int, owners: int) -> Shares:
    """Return what an owner may take: ERSPAN pairs are shared out among the ``owners``, at least one for each."""
    pairs = max(1, MAX_ERSPAN_PAIRS // max(1, owners))
    return Shares(max_rules, owner_rules, owner_names, pairs)


class Budget:
    """Room for rules of ``owner`` and for ERSPAN sessions beside what is planned."""

    def __init__(self, share: Shares, owner: str, planned: Dict[str, Acl]) -> None:
        self._share = share
        self._max = share.rules
        self._rules = {name: rules_of(acl.lines) for name, acl in planned.items()}
        self._mine = {name for name, acl in planned.items() if acl.owner == owner}
        self._others = {
            pair for name, rules in self._rules.items() if name not in self._mine for pair in erspan_pairs(rules)
        }
        self._used = sum(len(rules) for rules in self._rules.values())
        self._pairs: Dict[Tuple[str, str], int] = {}
        for rules in self._rules.values():
            self._count(rules, 1)

    def take(self, name: str, rules: Sequence[Rule]) -> None:
        """Room for ``name`` in the place of what it had. Raises ``Refused`` (507) and takes nothing."""
        self._take_share(name, rules)
        self._take_room(name, rules)
        self._mine.add(name)

    def _take_share(self, name: str, rules: Sequence[Rule]) -> None:
        mine = [self._rules[each] for each in self._mine if each != name]
        used = sum(map(len, mine))
        if len(mine) >= self._share.owner_names:
            raise Refused(507, "this owner has {} names".format(len(mine)), used=len(mine), max=self._share.owner_names)
        if used + len(rules) > self._share.owner_rules:
            words = "{} of this owner's {} rules are used; {} more do not fit".format(
                used, self._share.owner_rules, len(rules)
            )
            raise Refused(507, words, used=used, max=self._share.owner_rules)
        # A pair that another owner has too takes no session of its own.
        has = {pair for each in mine for pair in erspan_pairs(each)} - self._others
        if len(has | (erspan_pairs(rules) - self._others)) > self._share.owner_pairs:
            words = "this owner may have {} pairs of --src-ip and --dst-ip for itself; used: {}".format(
                self._share.owner_pairs, ", ".join("{} to {}".format(*pair) for pair in sorted(has))
            )
            raise Refused(507, words, used=len(has), max=self._share.owner_pairs)

    def _take_room(self, name: str, rules: Sequence[Rule]) -> None:
        old = self._rules.get(name, ())
        self._count(old, -1)
        used = self._used - len(old)
        pairs = {pair for pair, count in self._pairs.items() if count > 0}
        refusal = None
        if used + len(rules) > self._max:
            words = "{} of {} rules are used; {} more do not fit".format(used, self._max, len(rules))
            refusal = Refused(507, words, used=used, max=self._max)
        elif len(pairs | erspan_pairs(rules)) > MAX_ERSPAN_PAIRS:
            words = ", ".join("{} to {}".format(*pair) for pair in sorted(pairs))
            words = "the switch has {} pairs of --src-ip and --dst-ip; used: {}".format(MAX_ERSPAN_PAIRS, words)
            refusal = Refused(507, words, used=len(pairs), max=MAX_ERSPAN_PAIRS)
        if refusal is not None:
            self._count(old, 1)
            raise refusal
        self._count(rules, 1)
        self._rules[name] = tuple(rules)
        self._used = used + len(rules)

    def _count(self, rules: Sequence[Rule], step: int) -> None:
        for rule in rules:
            self._pairs[rule.erspan_pair] = self._pairs.get(rule.erspan_pair, 0) + step


def rules_of(lines: Tuple[str, ...]) -> Tuple[Rule, ...]:
    """The rules of a file of ours; none where it cannot be read."""
    try:
        return rules_of_file(lines)
    except RuleError:
        return ()
