# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What the settings and the feeds' descriptors say reaches the captures' policy."""

from sentinel.config.settings import parse
from sentinel.daemon import policy_of


def test_the_confidence_of_the_feeds_in_force_reaches_the_policy() -> None:
    settings = {
        "network": {"local": ["10.0.0.0/8"]},
        "capture": {"mode": "dry-run", "erspan_destination": "10.0.0.70"},
        "feeds": {"enabled": ["default", "tor-exits"]},
    }
    assert policy_of(parse(settings, "test")).confidence == {"tor-exits": 10}
