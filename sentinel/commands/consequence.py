# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What would happen if one of ours met a listed address, in words."""

import ipaddress
from collections.abc import Iterable
from typing import get_args

from sentinel.capture.policy import Policy, Threshold, threshold_of
from sentinel.model import Direction, Indicator

_THEN = {
    "automatic": "captured",
    "manual": "waits for an operator's approval, then captured",
    "dry-run": "the rule, its switch and its end are shown; nothing is installed",
}


def on_a_hit(address: str, indicators: Iterable[Indicator], policy: Policy) -> list[str]:
    """One line for each condition that these indicators set; one of them is enough."""
    ip = ipaddress.ip_address(address)
    for prefix in policy.never_capture:
        network = ipaddress.ip_network(prefix)
        if network.version == ip.version and ip in network:
            return [f"detected, never captured: in capture.never_capture {prefix}"]
    thresholds = dict.fromkeys(threshold_of(indicator, policy) for indicator in indicators)
    return [f"{_THEN[policy.mode]}, {_when(threshold, policy)}" for threshold in thresholds]


def _when(threshold: Threshold, policy: Policy) -> str:
    least = threshold.min_samples
    fewer = least if least is not None else policy.min_samples
    words = (
        "at once when one of ours initiates"
        if least in {None, 1}
        else f"from {least} samples on when one of ours initiates"
    )
    if threshold.evidence != "initiated":
        words += f", from {fewer} on when one of ours answers"
    if threshold.evidence == "contacted":
        words += " or is only contacted"
    if threshold.min_bytes:
        words += f", and from {threshold.min_bytes} octets on"
    if len(threshold.directions) < len(get_args(Direction)):
        words += f"; only {' or '.join(threshold.directions)}"
    return words
