# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Plain counters with labels from a closed set, written out as Prometheus text."""

import threading
from typing import Dict, List, Tuple

_HELP = {
    "requests": "HTTP requests answered, by status",
    "connections": "TCP connections by what became of them",
    "commits": "runs of the data plane's commit by result",
    "changes": "changes of rules by action and result",
    "auth_failures": "requests without acceptable credentials",
    "rate_refusals": "requests refused because their owner sent too many a second",
    "rule_errors": "bodies refused by the rule parser",
    "loop_errors": "unexpected errors survived by the background loop",
}
Key = Tuple[str, Tuple[Tuple[str, str], ...]]


class Counters:
    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._values: Dict[Key, int] = {}

    def add(self, what: str, amount: int = 1, **labels: str) -> None:
        key = (what, tuple(sorted(labels.items())))
        with self._mutex:
            self._values[key] = self._values.get(key, 0) + amount

    def get(self, what: str, **labels: str) -> int:
        return self._values.get((what, tuple(sorted(labels.items()))), 0)

    def lines(self) -> List[str]:
        """Prometheus text format 0.0.4, one family after another."""
        with self._mutex:
            values = sorted(self._values.items())
        text: List[str] = []
        for what, words in _HELP.items():
            name = "switch_acl_api_{}_total".format(what)
            text += ["# HELP {} {}.".format(name, words), "# TYPE {} counter".format(name)]
            rows = [(labels, value) for (family, labels), value in values if family == what]
            text += [_sample(name, labels, value) for labels, value in rows or [((), 0)]]
        return text


def gauge(what: str, words: str, rows: "List[Tuple[Tuple[Tuple[str, str], ...], float]]") -> List[str]:
    name = "switch_acl_api_" + what
    head = ["# HELP {} {}.".format(name, words), "# TYPE {} gauge".format(name)]
    return head + [_sample(name, labels, value) for labels, value in rows]


def _sample(name: str, labels: Tuple[Tuple[str, str], ...], value: float) -> str:
    inside = ",".join('{}="{}"'.format(label, text) for label, text in labels)
    return "{}{} {:g}".format(name, "{" + inside + "}" if inside else "", value)
