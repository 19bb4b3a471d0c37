# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The policy of a settings file that says no more than it must, with changes: no default is written down twice."""

from dataclasses import replace
from functools import cache
from typing import Any

from sentinel.capture.policy import Policy, Threshold
from sentinel.components.capture import policy_of
from sentinel.config.settings import parse


@cache
def _least() -> Policy:
    capture = {"mode": "automatic", "erspan_destination": "10.0.0.70"}
    switch = {"name": "leaf1", "agents": ["192.0.2.11"], "url": "https://192.0.2.11:8443"}
    settings: dict[str, object] = {"capture": capture, "switch": [switch]}
    settings |= {"network": {"local": ["10.0.0.0/8"]}, "feeds": {"enabled": []}}
    return policy_of(parse(settings, "test"), {})


def make_policy(**changes: Any) -> Policy:
    """Return the default policy with these fields changed; ``thresholds`` go before the one that covers all."""
    thresholds = changes.pop("thresholds", ())
    return replace(_least(), thresholds=(*thresholds, *_least().thresholds), **changes)


def make_threshold(**changes: Any) -> Threshold:
    """Return the default threshold with these fields changed."""
    return replace(_least().thresholds[-1], **changes)
