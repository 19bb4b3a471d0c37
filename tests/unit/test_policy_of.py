# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What the settings and the feeds' descriptors say reaches the captures' policy."""

from sentinel.components.capture import policy_of
from sentinel.components.feeds import confidence_of, feeds_of
from sentinel.config.settings import parse


def test_the_confidence_of_the_feeds_in_force_reaches_the_policy() -> None:
    raw = {
        "network": {"local": ["10.0.0.0/8"]},
        "capture": {"mode": "dry-run", "erspan_destination": "10.0.0.70"},
        "feeds": {"enabled": ["default", "tor-exits"]},
    }
    settings = parse(raw, "test")
    assert policy_of(settings, confidence_of(feeds_of(settings))).confidence == {"tor-exits": 10}
