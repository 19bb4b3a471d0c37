# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The ERSPAN rules in other people's rule files, as far as they can be read. Pure; any text is survived.

Their files may use what ours may not: variables, lists, iptables' long options. A rule of theirs that equals one of
ours stays installed when ours is deleted, and must not be taken for a failure.
"""

import ipaddress
import itertools
import re
from typing import Dict, Iterator, List, Set

from switch_acl_api.grammar import FAMILIES, RuleKey
from switch_acl_api.limits import MAX_FOREIGN_RULES

_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)\Z")
_OPTIONS = {
    "-i": "port",
    "--in-interface": "port",
    "-s": "source",
    "--source": "source",
    "--src": "source",
    "-d": "destination",
    "--destination": "destination",
    "--dst": "destination",
    "--src-ip": "erspan_source",
    "--dst-ip": "erspan_destination",
}
_FIELDS = ("port", "source", "destination", "erspan_source", "erspan_destination")


def foreign_keys(text: str) -> Set[RuleKey]:
    """Return the keys of the ERSPAN rules of one file, lists expanded, at most ``MAX_FOREIGN_RULES``."""
    found: Set[RuleKey] = set()
    variables: Dict[str, str] = {}
    family = 0
    for line in (line.strip() for line in text.splitlines()):
        if line.startswith("["):
            family = FAMILIES.get(line, 0)
            continue
        variable = _VARIABLE.match(line)
        if variable is not None:
            variables["$" + variable.group(1)] = variable.group(2).strip().strip("\"'")
        elif family and "ERSPAN" in line and not line.startswith("#"):
            found.update(itertools.islice(_keys(line.split(), family, variables), MAX_FOREIGN_RULES - len(found)))
    return found


def _keys(tokens: List[str], family: int, variables: Dict[str, str]) -> Iterator[RuleKey]:
    values: Dict[str, List[str]] = {}
    for option, value in zip(tokens, tokens[1:]):  # noqa: B905, RUF007 -- Python 3.7
        field = _OPTIONS.get(option)
        if field is not None:
            values[field] = [_canonical(each) for each in variables.get(value, value).split(",")]
    combinations = itertools.product(*(values.get(field, []) for field in _FIELDS))
    return ((family, port, source, to, by, at) for port, source, to, by, at in combinations)


def _canonical(text: str) -> str:
    address, _, length = text.partition("/")
    try:
        host = ipaddress.ip_address(address)
    except ValueError:
        return text
    return str(host) if length in {"", str(host.max_prefixlen)} else text
