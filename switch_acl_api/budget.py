# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Do more rules fit? Pure counting of rules and of ERSPAN sessions."""

from typing import Dict, Sequence, Tuple

from switch_acl_api.errors import Refused, RuleError
from switch_acl_api.grammar import Rule, erspan_pairs, rules_of_file
from switch_acl_api.limits import MAX_ERSPAN_PAIRS
from switch_acl_api.policy import Acl


class Budget:
    """Room for rules and for ERSPAN sessions beside what is planned."""

    def __init__(self, max_rules: int, planned: Dict[str, Acl]) -> None:
        self._max = max_rules
        self._rules = {name: rules_of(acl.lines) for name, acl in planned.items()}
        self._used = sum(len(rules) for rules in self._rules.values())
        self._pairs: Dict[Tuple[str, str], int] = {}
        for rules in self._rules.values():
            self._count(rules, 1)

    def take(self, name: str, rules: Sequence[Rule]) -> None:
        """Room for ``name`` in the place of what it had. Raises ``Refused`` (507) and takes nothing."""
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
