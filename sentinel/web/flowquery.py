# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The query of ``/api/v1/flows`` → a question about flows. Pure; raises ``HttpError`` with status 400.

``filter`` is in the language of ``sentinel.filters``. The same keys stand by themselves too, with several values each:
``src_ip=10.0.0.0/8&dst_port=53,443&protocol=!icmp``. All of them must hold; of the values of one key one is enough, and
``!`` in front of them means none of them. ``ip`` and ``port`` mean either side's.
"""

from collections.abc import Iterator, Mapping
from typing import cast, get_args

from sentinel import filters
from sentinel.flowmodel import FlowKey, FlowMetric, FlowQuery, FlowTest
from sentinel.limits import DEFAULT_LIST_ROWS, FLOWS_KEPT_S, MAX_FLOW_FILTER_VALUES, MAX_FLOW_SERIES, MAX_LIST_ROWS
from sentinel.web import inputs

KEYS: tuple[FlowKey, ...] = get_args(FlowKey)
METRICS: tuple[FlowMetric, ...] = get_args(FlowMetric)
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "icmp6": 58, "sctp": 132}
_PORT = 65_535
# Interfaces and networks are 32 bits wide on the wire at most.
_WIDE = 2**32 - 1
FILTERS: filters.Keys = {
    "agent": filters.Address(),
    "input": filters.Number(_WIDE),
    "output": filters.Number(_WIDE),
    "src_ip": filters.Address(),
    "dst_ip": filters.Address(),
    "protocol": filters.Number(255, PROTOCOLS),
    "src_port": filters.Number(_PORT),
    "dst_port": filters.Number(_PORT),
    "vni": filters.Number(_WIDE),
    "ip": filters.Address(("src_ip", "dst_ip")),
    "port": filters.Number(_PORT, fields=("src_port", "dst_port")),
}
QUERY = frozenset({"group", "metric", "limit", "seconds", "series", "filter", *FILTERS})


def parse(query: Mapping[str, str]) -> FlowQuery:
    """Return what a query whose keys are known asks."""
    metric = inputs.choice(query, "metric", METRICS)
    return FlowQuery(
        group=_group(query.get("group")),
        metric=next((each for each in METRICS if each == metric), "bytes"),
        limit=inputs.integer(query, "limit", DEFAULT_LIST_ROWS, 1, MAX_LIST_ROWS),
        seconds=inputs.integer(query, "seconds", FLOWS_KEPT_S, 1, FLOWS_KEPT_S),
        series=inputs.integer(query, "series", 0, 0, MAX_FLOW_SERIES),
        tests=tuple(_tests(query)),
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


def _tests(query: Mapping[str, str]) -> Iterator[FlowTest]:
    asked = [_of_key(key, query[key]) for key in FILTERS if key in query]
    asked.append(inputs.filter_of(query, FILTERS))
    for each in asked:
        for test in each.tests:
            yield FlowTest(cast("tuple[FlowKey, ...]", test.fields), test.ranges, test.negated)


def _of_key(key: str, text: str) -> filters.Filter:
    words = text.removeprefix("!").split(",")
    if len(words) > MAX_FLOW_FILTER_VALUES:
        raise inputs.bad("query", f"{key} has {len(words)} values, expected at most {MAX_FLOW_FILTER_VALUES}")
    return inputs.filter_of_terms([filters.Term(key, ":", word, text.startswith("!")) for word in words], FILTERS)
