# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The query of ``/api/v1/flows`` → a question about flows. Pure; raises ``HttpError`` with status 400.

A filter is keys with values: ``src_ip=10.0.0.0/8&dst_port=53,443&protocol=!icmp``. All of them must hold; of the values
of one key one is enough, and ``!`` in front of them means none of them. ``ip`` and ``port`` mean either side's.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import get_args

from sentinel.limits import DEFAULT_LIST_ROWS, FLOWS_KEPT_S, MAX_FLOW_FILTER_VALUES, MAX_FLOW_SERIES, MAX_LIST_ROWS
from sentinel.model import FlowKey, FlowMetric, FlowQuery, FlowTest
from sentinel.web import inputs
from sentinel.web.answer import HttpError

KEYS: tuple[FlowKey, ...] = get_args(FlowKey)
METRICS: tuple[FlowMetric, ...] = get_args(FlowMetric)
EITHER: Mapping[str, tuple[FlowKey, ...]] = {"ip": ("src_ip", "dst_ip"), "port": ("src_port", "dst_port")}
FILTERS: Mapping[str, tuple[FlowKey, ...]] = {**{key: (key,) for key in KEYS}, **EITHER}
QUERY = frozenset({"group", "metric", "limit", "seconds", "series", *FILTERS})
ADDRESSES = frozenset({"agent", "src_ip", "dst_ip", "ip"})
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "icmp6": 58, "sctp": 132}
# The largest number of each key; interfaces and networks are 32 bits wide on the wire at most.
LARGEST = {"protocol": 255, **dict.fromkeys(("src_port", "dst_port", "port"), 65_535)}
LARGEST_OF_OTHERS = 2**32 - 1
_RANGE = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?")
_EXCERPT_CHARS = 60


def parse(query: Mapping[str, str]) -> FlowQuery:
    """Return what a query whose keys are known asks."""
    metric = inputs.choice(query, "metric", METRICS)
    return FlowQuery(
        group=_group(query.get("group")),
        metric=next((each for each in METRICS if each == metric), "bytes"),
        limit=inputs.integer(query, "limit", DEFAULT_LIST_ROWS, 1, MAX_LIST_ROWS),
        seconds=inputs.integer(query, "seconds", FLOWS_KEPT_S, 1, FLOWS_KEPT_S),
        series=inputs.integer(query, "series", 0, 0, MAX_FLOW_SERIES),
        tests=tuple(_test(key, query[key]) for key in FILTERS if key in query),
    )


def _group(text: str | None) -> tuple[FlowKey, ...]:
    if text is None:
        return KEYS
    words = text.split(",")
    unknown = [word for word in words if word not in KEYS]
    if unknown:
        raise inputs.bad("query", f"group: {inputs.unknown_key(unknown[0], KEYS)}")
    if len(set(words)) < len(words):
        raise inputs.bad("query", "group names a key twice")
    return tuple(key for word in words for key in KEYS if key == word)


def _test(key: str, text: str) -> FlowTest:
    negated = text.startswith("!")
    words = text.removeprefix("!").split(",")
    if len(words) > MAX_FLOW_FILTER_VALUES:
        raise inputs.bad("query", f"{key} has {len(words)} values, expected at most {MAX_FLOW_FILTER_VALUES}")
    ranges = tuple(_addresses(key, word) if key in ADDRESSES else _numbers(key, word) for word in words)
    return FlowTest(FILTERS[key], ranges, negated)


def _addresses(key: str, word: str) -> tuple[bytes, bytes]:
    """An address or a prefix, as the first and the last address in it."""
    try:
        network = ipaddress.ip_network(word, strict=False) if "%" not in word else None
    except ValueError:
        network = None
    if network is None:
        raise _unexpected(key, word, "an address or a prefix, such as 10.1.0.0/16")
    if ipaddress.ip_address(word.partition("/")[0]) != network.network_address:
        raise _unexpected(key, word, f"no bits beyond the prefix: did you mean {network}?")
    return network.network_address.packed, network.broadcast_address.packed


def _numbers(key: str, word: str) -> tuple[int, int]:
    """A number, a range of them or a protocol's name."""
    if key == "protocol" and word in PROTOCOLS:
        return PROTOCOLS[word], PROTOCOLS[word]
    largest = LARGEST.get(key, LARGEST_OF_OTHERS)
    found = _RANGE.fullmatch(word)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not first <= last <= largest:
        names = f" or one of {', '.join(PROTOCOLS)}" if key == "protocol" else ""
        raise _unexpected(key, word, f"a number from 0 to {largest}, a range such as 1-6{names}")
    return first, last


def _unexpected(key: str, word: str, expected: str) -> HttpError:
    return inputs.bad("query", f"{key}: got {word[:_EXCERPT_CHARS]!r}, expected {expected}")
