# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The one thread that decides: matches and answers go in, actions go out, in that order and never two at a time.

It dispatches and does not decide: the detector and the capture engine do. Per round it (1) lets them handle what
arrived, (2) stores the captures that changed, (3) sends the requests whose intent is now on disk, (4) tells the world.

Most matches are of pairs that were seen the same way before and change nothing but amounts and times. To wake a thread
for each costs more than they do, so they gather for a moment. What may be news is taken at once, before them; whatever
else comes, time above all, goes behind them. So matches are overtaken by matches only, of which the order makes no
difference.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from sentinel import limits
from sentinel.capture import actions, events
from sentinel.capture.engine import CaptureEngine
from sentinel.detect.engine import Detector
from sentinel.detect.events import DetectionEvent
from sentinel.errors import StoreError
from sentinel.model import Capture, CaptureState, Indicator, Match, Now
from sentinel.pulse import Pulse

log = logging.getLogger(__name__)

ROUND_ITEMS = 2_000
IDLE_S = 0.5
# Matches without news gather for so long, or until they are so many. More would cost less, but a long round keeps the
# GIL from the switches' client: with a thousand the latest percent of requests was late by ten milliseconds.
GATHER_S = 0.1
GATHERED = 64
# What is taken of them at a time: half a millisecond's work, which news may have to wait for.
GATHERED_ROUND = 64
# After requests were handed over nothing is told for so long: to write them needs the GIL too, and is what is urgent.
REQUESTS_FIRST_S = 0.001

Lookup = Callable[[str], tuple[Indicator, ...]]


@dataclass(slots=True)
class LoopCounters:
    """Counts of what the loop could not do as it should."""

    matches_overflow: int = 0
    store_errors: int = 0
    installs_withheld: int = 0
    round_errors: int = 0
    tell_errors: int = 0


class Edges(Protocol):
    """What the loop does to the world; every method may raise only what it says."""

    def save(self, captures: Iterable[Capture]) -> None:
        """Store; raises ``StoreError``."""

    def send(self, action: actions.SwitchAction) -> None:
        """Hand a request to the switches; its event comes back through ``post``."""

    def tell_detection(self, event: DetectionEvent) -> None:
        """A detection opened, changed or closed."""

    def tell_capture(self, capture: Capture, previous: CaptureState) -> None:
        """A capture changed its state."""


def clock() -> Now:
    return Now(time.monotonic(), time.time())


class Loop:
    """``post_*`` from any thread; readers take ``lock`` around ``detector`` and ``captures``."""

    def __init__(
        self, detector: Detector, captures: CaptureEngine, edges: Edges, now: Callable[[], Now] = clock
    ) -> None:
        self.detector = detector
        self.captures = captures
        self.lock = threading.RLock()
        self.pulse = Pulse("loop")
        self.store_error = ""
        self.counters = LoopCounters()
        self._edges = edges
        self._now = now
        self._inbox: deque[Match | events.Event | Lookup] = deque()
        self._gathered: deque[Match | events.Event | Lookup] = deque()
        self._gathered_until = 0.0
        self._waiting_matches = 0
        self._arrived = threading.Condition()
        self._running = False
        self._thread: threading.Thread | None = None
        self._unsaved: dict[str, Capture] = {}
        self._untold: list[Callable[[], None]] = []
        self._asked_again: Lookup | None = None

    def restore(self, stored: Iterable[Capture]) -> None:
        """Take up the stored captures, before the first step."""
        with self.lock:
            self._carry_out(self.captures.restore(stored, self._now()))

    def start(self, stored: Iterable[Capture]) -> None:
        """Take up the stored captures, then begin."""
        self.restore(stored)
        self._running = True
        self.pulse.beat()
        self._thread = threading.Thread(target=self._run, name="loop")
        self._thread.start()

    def stop(self) -> None:
        """Finish the round under way; captures stay on the switches and in the store for the next start."""
        with self._arrived:
            self._running = False
            self._arrived.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self.pulse.rest()

    def post_matches(self, matches: Iterable[Match]) -> None:
        """Bounded: what does not fit is counted and gone, as a sample lost on the way would be."""
        with self._arrived:
            begins = not self._gathered
            for match in matches:
                if self._waiting_matches >= limits.MAX_WAITING_MATCHES:
                    self.counters.matches_overflow += 1
                    continue
                self._waiting_matches += 1
                (self._gathered if self.detector.expects(match) else self._inbox).append(match)
            if begins:
                self._gathered_until = time.monotonic() + GATHER_S
            if self._inbox or begins or len(self._gathered) >= GATHERED:
                self._arrived.notify()

    def post(self, event: events.Event) -> None:
        """An answer of a switch, or time passing."""
        self._post(event)

    def post_new_lists(self, lookup: Lookup) -> None:
        """Other lists are in force: ask them about every open detection."""
        self._post(lookup)

    def wish(self, event: events.Event) -> None:
        """A person's wish, carried out before this returns."""
        with self.lock:
            self._carry_out(self.captures.handle(event, self._now()))
        self._tell()

    def _post(self, item: events.Event | Lookup) -> None:
        with self._arrived:
            self._inbox += self._gathered
            self._gathered.clear()
            self._inbox.append(item)
            self._arrived.notify()

    def _run(self) -> None:
        while True:
            self.pulse.beat()
            with self._arrived:
                self._wait()
                if not self._running:
                    return
            try:
                if self._round(self._take()):
                    time.sleep(REQUESTS_FIRST_S)
            except Exception:
                # A bug in one round must not end the watch; it is loud, counted, and shown by /healthz.
                log.exception("a round of decisions failed")
                self.counters.round_errors += 1
            self._tell()

    def _wait(self) -> None:
        """Until there is something to do at once, or what gathered is due, and then all of it."""
        while self._running and not self._inbox:
            if len(self._gathered) >= GATHERED:
                self._gathered_until = 0.0
            self.pulse.beat()
            left = self._gathered_until - time.monotonic() if self._gathered else IDLE_S
            if left <= 0:
                return
            self._arrived.wait(left)

    def step(self) -> bool:
        """One round here and now, for who has a clock of his own instead of ``start``; false when nothing waited."""
        items = self._take()
        if items:
            self._round(items)
            self._tell()
        return bool(items)

    def _take(self) -> list[Match | events.Event | Lookup]:
        with self._arrived:
            queue, most = (self._inbox, ROUND_ITEMS) if self._inbox else (self._gathered, GATHERED_ROUND)
            items = [queue.popleft() for _ in range(min(len(queue), most))]
            self._waiting_matches -= sum(isinstance(item, Match) for item in items)
        return items

    def _round(self, items: list[Match | events.Event | Lookup]) -> bool:
        """Whether requests were handed over."""
        with self.lock:
            now = self._now()
            todo: list[actions.Action] = []
            for item in items:
                if isinstance(item, Match):
                    todo += self._detected(self.detector.observe(item, now.mono), now)
                elif callable(item):
                    self._asked_again = item
                    todo += self._detected(self.detector.delisted(item, now.mono), now)
                else:
                    if isinstance(item, events.Tick):
                        todo += self._detected(self.detector.expire(now.mono), now)
                        todo += self._ask_again(now)
                    todo += self.captures.handle(item, now)
            return self._carry_out(todo)

    def _ask_again(self, now: Now) -> list[actions.Action]:
        """A batch that was matched with the old lists may have come behind the new ones: they are asked once more."""
        lookup, self._asked_again = self._asked_again, None
        return [] if lookup is None else self._detected(self.detector.delisted(lookup, now.mono), now)

    def _detected(self, changes: list[DetectionEvent], now: Now) -> list[actions.Action]:
        todo: list[actions.Action] = []
        for event in changes:
            detection = event.detection
            if event.kind in {"closed", "delisted"}:
                todo += self.captures.handle(events.DetectionEnded(detection, event.kind == "delisted"), now)
            else:
                todo += self.captures.handle(events.Sighted(detection), now)
            if event.kind != "sighted":
                self._untold.append(partial(self._edges.tell_detection, event))
        return todo

    def _carry_out(self, todo: list[actions.Action]) -> bool:
        """Whether requests were handed over."""
        requests = False
        for action in todo:
            if isinstance(action, actions.Record):
                self._unsaved[action.capture.id] = action.capture
                self._pin(action.capture)
                if action.previous_state is not None:
                    self._untold.append(partial(self._edges.tell_capture, action.capture, action.previous_state))
        stored = self._save()
        for action in todo:
            if isinstance(action, actions.Record):
                continue
            requests = True
            if stored:
                self._edges.send(action)
            else:
                self._send_unstored(action)
        return requests

    def _send_unstored(self, action: actions.SwitchAction) -> None:
        """Without the intent on disk a crash would leave a rule that nobody remembers; the rest is asked for."""
        for each in actions.one_by_one(action):
            if isinstance(each, actions.Install):
                self.counters.installs_withheld += 1
                self.post(events.InstallFailed(each.switch, each.rule, "store", self.store_error, permanent=False))
            else:
                self._edges.send(each)

    def _save(self) -> bool:
        if not self._unsaved:
            return True
        try:
            self._edges.save(list(self._unsaved.values()))
        except StoreError as error:
            if str(error) != self.store_error:
                log.error("%s; no new mirror is installed until it can be written", error)
            self.store_error = str(error)
            self.counters.store_errors += 1
            return False
        self._unsaved.clear()
        self.store_error = ""
        return True

    def _pin(self, capture: Capture) -> None:
        ends = capture.local_ip, capture.listed_ip
        # Where both ends are listed there may be a detection of either.
        detection_id = self.detector.id_of(*ends) or self.detector.id_of(*ends[::-1])
        if detection_id is None:
            return
        if capture.state == "ended":
            self.detector.unpin(detection_id)
        else:
            self.detector.pin(detection_id)

    def _tell(self) -> None:
        while True:
            with self.lock:
                untold, self._untold = self._untold, []
            if not untold:
                return
            for say in untold:
                try:
                    say()
                except Exception:
                    # A bug of a listener must end neither the thread that decides nor the request of a person.
                    log.exception("a listener of detections or captures failed")
                    self.counters.tell_errors += 1
