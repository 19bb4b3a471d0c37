# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Values of the settings file: one parser per kind, and one way to report what is wrong. Pure.

Each parser returns the value or raises ``ValueError`` with what it expected.
"""

import difflib
import ipaddress
import re
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from switch_acl_api.limits import MAX_LEASE_S

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|m|h|d)\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PORT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}\+?\Z")

Address = Tuple[str, int]
# A key of the file to the field it fills and the parser of its value.
Keys = Dict[str, Tuple[str, Callable[[Any], Any]]]


def read_keys(
    table: Dict[str, Any], keys: Keys, prefix: str, findings: List[str], others: Sequence[str] = ()
) -> Dict[str, Any]:
    """Return the values by field; each key that is unknown or wrong adds one finding.

    ``prefix`` stands before the key in a finding. ``others`` are further names that a misspelled key may have meant.
    """
    fields: Dict[str, Any] = {}
    for key, value in table.items():
        if key not in keys:
            near = difflib.get_close_matches(key, [*keys, *others], 1, 0.5)
            hint = '; did you mean "{}"?'.format(near[0]) if near else ""
            findings.append("{}{}: unknown key{}".format(prefix, key, hint))
            continue
        field, parse = keys[key]
        try:
            fields[field] = parse(value)
        except ValueError as error:
            findings.append("{}{} = {}: expected {}".format(prefix, key, shown(value), error))
    return fields


def shown(value: object) -> str:
    """Return the value as it may stand in a finding, at most 60 characters."""
    words = repr(value).replace("'", '"')
    return words if len(words) <= 60 else words[:57] + "…"


def text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text in quotes")
    return value


def flag(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise ValueError("true or false")


def number(least: int, most: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError("a whole number from {} to {}".format(least, most))
        return value

    return parse


def duration(value: Any) -> float:
    found = _DURATION.match(value) if isinstance(value, str) else None
    seconds = float(found.group(1)) * _SECONDS[found.group(2)] if found else -1.0
    if not 0.0 < seconds <= MAX_LEASE_S:
        raise ValueError('a duration with its unit (ms, s, m, h, d), such as "30s" or "1h"')
    return seconds


def duration_or_never(value: Any) -> Optional[float]:
    return None if value == "never" else duration(value)


def address(value: Any) -> Address:
    """``"127.0.0.1:8080"`` or ``"[::1]:8080"``: an address, never a name, so that no resolver is asked."""
    host, colon, digits = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if host == "localhost":
        host = "127.0.0.1"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        host = ""
    if not host or not colon or not re.match(r"[0-9]{1,5}\Z", digits) or int(digits) > 65535:
        raise ValueError('an address and a port, such as "0.0.0.0:8443" or "[::]:8443"')
    return host, int(digits)


def choice(*names: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError("one of {}".format(", ".join('"{}"'.format(name) for name in names)))
        return value

    return parse


def list_of(item: Callable[[Any], str], least: int = 0) -> Callable[[Any], Tuple[str, ...]]:
    def parse(value: Any) -> Tuple[str, ...]:
        if not isinstance(value, list) or len(value) < least:
            raise ValueError("a list, such as [ … ]" if least == 0 else "a list with at least one entry")
        return tuple(item(entry) for entry in value)

    return parse


def collector(value: Any) -> str:
    try:
        host = ipaddress.IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("a list of IPv4 addresses") from None
    if host.is_multicast or host.packed[0] in (0, 255) or str(host) != value:
        raise ValueError("a list of IPv4 addresses of hosts")
    return str(host)


def port(value: Any) -> str:
    if not isinstance(value, str) or _PORT_NAME.match(value) is None:
        raise ValueError('a list of port names, such as "swp1" or "swp+"')
    return value


def device(value: Any) -> str:
    if not isinstance(value, str) or _PORT_NAME.match(value) is None or value.endswith("+") or value[0] == "-":
        raise ValueError('a name of 1 to 15 letters, digits, ".", "_" and "-"')
    return value
