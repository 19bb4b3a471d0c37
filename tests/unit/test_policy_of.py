# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What the settings and the feeds' descriptors say reaches the captures' policy."""

from collections.abc import Mapping
from dataclasses import fields

from sentinel.capture.policy import Policy, Threshold
from sentinel.components.capture import policy_of
from sentinel.components.feeds import confidence_of, feeds_of
from sentinel.config.settings import Settings, ThresholdSettings, parse
from sentinel.model import Indicator
from tests.support.policies import make_policy


def made_of(raw: Mapping[str, object]) -> Policy:
    settings: Settings = parse(dict(raw), "test")
    return policy_of(settings, confidence_of(feeds_of(settings)))


def test_the_confidence_of_the_feeds_in_force_reaches_the_policy() -> None:
    settings = {
        "network": {"local": ["10.0.0.0/8"]},
        "capture": {"mode": "dry-run", "erspan_destination": "10.0.0.70"},
        "feeds": {"enabled": ["default", "tor-exits"]},
    }
    assert made_of(settings).confidence == {"tor-exits": 10}


def test_the_last_threshold_covers_every_indicator_with_the_defaults_of_the_settings() -> None:
    settings = {
        "network": {"local": ["10.0.0.0/8"]},
        "capture": {"mode": "dry-run", "erspan_destination": "10.0.0.70"},
        "threshold": [{"feed": "a", "evidence": "initiated"}],
    }
    *_, first, last = made_of(settings).thresholds
    assert (first.feed, first.evidence) == ("a", "initiated")
    assert last == Threshold(**ThresholdSettings().model_dump())
    assert last.covers(Indicator("192.0.2.0/24", "whatever", "any"))


def test_each_field_of_the_policy_comes_from_the_settings() -> None:
    """What is not the default there is not the default here."""
    capture = {
        "mode": "manual",
        "erspan_destination": "10.0.0.71",
        "never_capture": ["10.9.0.0/16"],
        "quiet": "7s",
        "longest": "9s",
        "switch_lease": "8s",
        "min_samples": 5,
        "max_new_per_minute": 6,
        "in_interface": "eth+",
        "ttl": 3,
        "flood": "1Mbps",
        "max_rate_per_switch": "2Mbps",
        "max_rate": "3Mbps",
        "evict": False,
    }
    settings = {
        "network": {"local": ["10.0.0.0/8"]},
        "capture": capture,
        "threshold": [{"priority": 4}],
        "feeds": {"enabled": ["tor-exits"]},
    }
    made, least = made_of(settings), make_policy()
    assert [each.name for each in fields(Policy) if getattr(made, each.name) == getattr(least, each.name)] == []
    assert (made.quiet_s, made.longest_s, made.lease_s) == (7.0, 9.0, 8.0)
    assert (made.flood_bps, made.max_bps_per_switch, made.max_bps) == (10**6, 2 * 10**6, 3 * 10**6)
