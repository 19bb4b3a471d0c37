# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""When a feed may be asked again: courtesy first, then impatience."""

# Up to a tenth later than asked for, so that a thousand installations do not come in the same second.
_JITTER_SHARE = 0.1
# After a failure, doubled each time and never longer than the feed's own interval: soon while nothing is in force (the
# network may just be coming up), else hourly, which even Spamhaus allows.
_RETRY_WITHOUT_COPY_S = 300.0
_RETRY_WITH_COPY_S = 3600.0
_MAX_DOUBLINGS = 10


def next_due_at(
    interval_s: float,
    now: float,
    jitter: float,
    *,
    failures: int = 0,
    have_copy: bool = True,
    retry_after_s: float = 0.0,
) -> float:
    """UTC seconds of the next attempt after one at ``now``; ``jitter`` is 0 to 1.

    ``failures`` counts attempts that failed in a row; ``retry_after_s`` is what the server asked for: it always holds.
    """
    wait = interval_s
    if failures:
        first = _RETRY_WITH_COPY_S if have_copy else _RETRY_WITHOUT_COPY_S
        wait = min(interval_s, first * 2 ** min(failures - 1, _MAX_DOUBLINGS))
    return now + max(wait, retry_after_s) * (1 + _JITTER_SHARE * jitter)
