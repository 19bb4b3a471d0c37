# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The counters of the capture room: closed sets of names, each of them zero from the start."""

from typing import Literal, get_args

from sentinel.capture.lifecycle import CAPTURE_EDGES, MIRROR_EDGES
from sentinel.capture.policy import RefusalReason
from sentinel.model import Ending

# What the engine decides or hears beside refusals, endings and steps of the lifecycle.
Counted = Literal[
    "adopted",
    "approved",
    "bulk_repairs",
    "bulk_repairs_failed",
    "created",
    "drift_restored",
    "ended_by_lease",
    "install_failed",
    "installed",
    "moved",
    "orphans_removed",
    "over_budget",
    "probe_failed",
    "probed",
    "remove_failed",
    "removed",
    "replanned",
    "second_dropped",
    "second_no_room",
    "second_placed",
    "switch_failed",
    "switch_unknown",
]
# The statuses that ``switch-acl-api`` answers with beside success and 507 (``full``), and a proxy's in front of it.
HTTP_STATUSES = (400, 401, 403, 404, 405, 409, 411, 413, 414, 415, 429, 500, 502, 503, 504)
HTTP_OTHER = "failed_http_other"


def engine_counters() -> dict[str, int]:
    """Return a zero for each kind of ``sentinel_capture_events_total``."""
    kinds: list[str] = list(get_args(Counted))
    kinds += [f"refused_{reason}" for reason in get_args(RefusalReason)]
    kinds += [f"ended_{ending}" for ending in get_args(Ending)]
    kinds += [f"edge_{old}_{new}" for old, news in CAPTURE_EDGES.items() for new in news]
    kinds += [f"mirror_edge_{old}_{new}" for old, news in MIRROR_EDGES.items() for new in news if new != old]
    return dict.fromkeys(kinds, 0)


def switch_counters() -> dict[str, int]:
    """Return a zero for each outcome of a request, counted over all switches."""
    kinds = [f"{command}_ok" for command in ("install", "remove", "bulk", "renew", "list", "probe")]
    reasons = ["circuit_open", "connection", "full", "internal", "no_url", "nonsense", "not_a_shim"]
    reasons += ["timeout", "tls", "too_large", *(f"http_{status}" for status in HTTP_STATUSES)]
    return dict.fromkeys([*kinds, *(f"failed_{reason}" for reason in reasons), HTTP_OTHER], 0)
