# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The two ways a time is written: as RFC 3339 in the API and the commands, as Suricata does in events."""

from datetime import UTC, datetime

# The last second of the year 9999, the last one that RFC 3339 can write; recordings may claim any time.
LAST_SECOND = 253_402_300_799.0


def utc(seconds: float) -> str:
    """Return UTC seconds since 1970 as RFC 3339 text with milliseconds, clamped to the years 1970 to 9999."""
    return _moment(seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def maybe_utc(seconds: float | None) -> str | None:
    """Return a time that may be absent."""
    return None if seconds is None else utc(seconds)


def time_text(seconds: float) -> str:
    """Return UTC seconds since 1970 as Suricata writes them: 2026-08-22T06:00:00.000000+0000; clamped as above."""
    return f"{_moment(seconds):%Y-%m-%dT%H:%M:%S.%f%z}"


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(min(max(seconds, 0.0), LAST_SECOND), UTC)
