# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The feeds: downloads when they are due, the lists in force, and the news of each change."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from sentinel.blacklist.catalogue import Feed, parse_feed_argument, read_descriptors, select, shipped_descriptors
from sentinel.blacklist.loader import Loader
from sentinel.blacklist.refresh import Refreshed
from sentinel.blacklist.scorecard import Caused, feed_event, feed_row, feeds_in, readings
from sentinel.blacklist.trie import Current
from sentinel.components.component import Component, Job
from sentinel.config.settings import Settings
from sentinel.errors import NotFound, Refused
from sentinel.model import Capture, Detection, Indicator
from sentinel.problems import Problem
from sentinel.readings import Reading, counters
from sentinel.rows import FeedRow
from sentinel.scan.threads import prepare

log = logging.getLogger(__name__)

REFRESH_S = 30
LOCAL_LISTED_LOGGED = 100


def feeds_of(settings: Settings) -> list[Feed]:
    """Return the feeds in force; raises ``ConfigError`` for a name that no descriptor has, or a missing file."""
    catalogue = dict(shipped_descriptors())
    if settings.feeds.directory is not None:
        catalogue.update(read_descriptors(settings.feeds.directory))
    return [*select(settings.feeds.enabled, catalogue), *(parse_feed_argument(text) for text in settings.feeds.files)]


def confidence_of(feeds: Iterable[Feed]) -> dict[str, int]:
    """Return how far each feed is believed, 0 to 100, by its name, if its descriptor tells."""
    return {feed.name: feed.confidence for feed in feeds if feed.confidence is not None}


def loader_of(settings: Settings, current: Current | None = None) -> Loader:
    """Return the feed loader over the daemon's own cache."""
    return Loader(
        feeds_of(settings),
        settings.state_dir / "feeds",
        local=settings.network.local,
        allow=settings.feeds.allow,
        allow_files=settings.feeds.allow_files,
        current=current,
    )


class Feeds(Component):
    """``on_new_lists`` is called after lists changed, in the thread that refreshes.

    ``on_difference`` gets every change of a list in force, whole, in that thread: what a list at the start already held
    is no change, and lists of what never matches are not among them.
    """

    def __init__(self, settings: Settings, tell: Callable[[dict[str, object]], None]) -> None:
        self.on_new_lists: list[Callable[[], None]] = []
        self.on_difference: list[Callable[[Refreshed], None]] = []
        self._tell = tell
        # Guards the counts below: a detection is reported by the loop or by the request of a person.
        self._counting = threading.Lock()
        self._caused = Caused()
        self._loader = loader_of(settings, Current(prepare=prepare))
        self.current = self._loader.current
        self.confidence = confidence_of(self._loader.feeds)

    def start(self) -> None:
        for outcome in self._loader.load_cached():
            self._report(outcome)
        log.info("%d prefixes in force", len(self.current.blacklist))

    def jobs(self) -> Iterable[Job]:
        return (Job("feeds", REFRESH_S, lambda: self._take(self._loader.refresh_due()), at_start=True),)

    def lookup(self, address: str) -> tuple[Indicator, ...]:
        """Return what lists the address now, longest prefix first."""
        return self.current.blacklist.lookup(address)

    # --- refreshes ---------------------------------------------------------------------------------

    def _take(self, outcomes: Iterable[Refreshed]) -> None:
        """Report what became of refreshes, and that lists changed if they did."""
        changed = False
        for outcome in outcomes:
            if outcome.kind != "not-due":
                self._report(outcome)
            if outcome.difference and not outcome.allows:
                self._hand_over(outcome)
            changed = changed or outcome.kind == "replaced"
        if changed:
            for hear in self.on_new_lists:
                hear()

    def _hand_over(self, outcome: Refreshed) -> None:
        for take in self.on_difference:
            try:
                take(outcome)
            except Exception:
                # A bug of one listener must not keep the lists from being refreshed.
                log.exception("a difference of feed %s was not taken", outcome.feed)

    def _report(self, outcome: Refreshed) -> None:
        if outcome.kind == "unchanged":
            return
        self._tell(feed_event(outcome, time.time()))
        for row in outcome.local_listed[:LOCAL_LISTED_LOGGED]:
            log.warning("feed %s lists %s, which is ours: look at that machine first", outcome.feed, row.prefix)

    # --- what came of them ---------------------------------------------------------------------------

    def count_detection(self, detection: Detection) -> None:
        """Count a new detection for every feed that has a part in it."""
        with self._counting:
            self._caused.detections.update(feeds_in(detection.indicators))

    def count_capture(self, capture: Capture) -> None:
        """Count a new capture for every feed that has a part in it."""
        with self._counting:
            self._caused.captures.update(feeds_in(capture.indicators))

    def feeds(self, detections: Iterable[Detection]) -> Sequence[FeedRow]:
        """Return one row per feed; ``detections`` are the open ones."""
        used: dict[str, int] = {}
        for detection in detections:
            for feed in feeds_in(detection.indicators):
                used[feed] = used.get(feed, 0) + 1
        return [feed_row(status, used, self._caused) for status in self._loader.status()]

    def refresh_feed(self, name: str) -> None:
        """Fetch a feed now, as far as its owner's interval allows; raises ``NotFound``, ``Refused``."""
        feed = next((feed for feed in self._loader.feeds if feed.name == name), None)
        if feed is None:
            raise NotFound("no such feed is enabled")
        # Courtesy is owed to other people's servers, not to one's own file.
        outcome = self._loader.refresh(name, force=feed.path is not None)
        self._take([outcome])
        if outcome.kind in {"failed", "quarantined", "not-due"}:
            raise Refused(f"{outcome.kind}: {outcome.detail or outcome.reason}")

    def accept_feed(self, name: str, by: str) -> None:
        """Put a feed's quarantined download in force; raises ``NotFound``, ``Refused``."""
        if name not in {feed.name for feed in self._loader.feeds}:
            raise NotFound("no such feed is enabled")
        outcome = self._loader.accept(name)
        if outcome.kind != "replaced":
            raise Refused(outcome.detail or outcome.reason)
        self._take([replace(outcome, detail=f"accepted by {by}")])

    def problems(self) -> Iterable[Problem]:
        for status in self._loader.status():
            if status.state != "ok" and status.last_error:
                code, remedy = "feed_failing", "sentinel feeds show tells more; the last good list stays in force"
                if status.state == "quarantined":
                    code, remedy = "feed_quarantined", f"look at it, then: sentinel feeds accept {status.name}"
                yield Problem(code, "degraded", status.name, status.last_error, remedy)

    def readings(self) -> Iterable[Reading]:
        for feed, of_feed in self._loader.counters().items():
            yield from counters("blacklist", of_feed, feed=feed)
        yield from readings(self._loader.status(), self._caused, time.time())
        in_force = float(len(self.current.blacklist))
        yield "sentinel_blacklist_indicators", {}, in_force, "gauge", "Prefixes in force"
