# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Detections and captures: the loop that decides, the store it writes to, and what people may request of it."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from sentinel import limits
from sentinel.capture import actions, events
from sentinel.capture.engine import CaptureEngine
from sentinel.capture.policy import Policy, Threshold
from sentinel.capture.report import readings, switch_problems, switch_rows
from sentinel.capture.store import Store, sqlite_url
from sentinel.components.component import Component, Job
from sentinel.config.settings import Settings, ThresholdSettings
from sentinel.decide.loop import Loop
from sentinel.detect import unlisted
from sentinel.detect.engine import Detector
from sentinel.detect.events import DetectionEvent
from sentinel.errors import NotFound, Refused, StoreError
from sentinel.flowmodel import FlowCount
from sentinel.model import Capture, CaptureState, Detection, Indicator, Match, Switch
from sentinel.problems import Problem
from sentinel.pulse import Pulse
from sentinel.readings import Reading, counters
from sentinel.report import eve
from sentinel.rows import SwitchRow

log = logging.getLogger(__name__)

TICK_S = 1
RECONCILE_S = 300
PURGE_S = 3600
# The seconds of saving that a power cut may undo.
SYNC_S = 5
ENDED_SHOWN = 200

Event = dict[str, object]


class Fabric(Protocol):
    """The switches, as far as captures need them."""

    @property
    def inventory(self) -> Sequence[Switch]:
        """The switches that the settings name."""

    def send(self, action: actions.SwitchAction) -> None:
        """Queue a request; its answer comes as one event."""

    def is_probeable(self, agent: str) -> bool:
        """Tell whether an agent outside the inventory may be asked whether it is a switch."""

    def meet_again(self, names: Iterable[str]) -> Sequence[Switch]:
        """Return the switches of these names that an earlier run found by probing."""


def policy_of(settings: Settings, confidence: Mapping[str, int]) -> Policy:
    """Return the operator's choices; ``confidence`` is how far each feed is believed, 0 to 100, by its name."""
    chosen = settings.capture
    return Policy(
        mode=chosen.mode,
        erspan_destination=chosen.erspan_destination,
        never_capture=chosen.never_capture,
        quiet_s=chosen.quiet_s,
        longest_s=chosen.longest_s,
        lease_s=chosen.switch_lease_s,
        min_samples=chosen.min_samples,
        max_new_per_minute=chosen.max_new_per_minute,
        in_interface=chosen.in_interface,
        ttl=chosen.ttl,
        thresholds=tuple(Threshold(**row.model_dump()) for row in (*settings.threshold, ThresholdSettings())),
        flood_bps=chosen.flood_bps,
        max_bps_per_switch=chosen.max_bps_per_switch,
        max_bps=chosen.max_bps,
        evict=chosen.evict,
        confidence=confidence,
    )


class Outward:
    """The effects of the loop: it stores, sends, reports. Its lists are those of ``Captures``."""

    def __init__(
        self,
        store: Store,
        send: Callable[[actions.SwitchAction], None],
        tell: Callable[[Event], None],
        tell_live: Callable[[Event], None],
    ) -> None:
        self.on_saved: list[Callable[[Sequence[Capture]], None]] = []
        self.on_detection: list[Callable[[Detection], None]] = []
        self.on_capture: list[Callable[[Capture], None]] = []
        self.send = send
        self._store = store
        self._tell = tell
        self._tell_live = tell_live

    def save(self, captures: Iterable[Capture]) -> None:
        """Store, then hand on; raises ``StoreError``."""
        captures = list(captures)
        self._store.save(captures)
        for take in self.on_saved:
            take(captures)

    def tell_detection(self, event: DetectionEvent) -> None:
        """Report that a detection opened, changed or closed."""
        if event.kind == "opened":
            for take in self.on_detection:
                take(event.detection)
            self._tell(eve.alert(event.detection, state="opened"))
            return
        alert = eve.alert(event.detection, state=event.kind, timestamp=time.time())
        # The log has a detection's opening and closing; who watches live gets the steps between.
        (self._tell_live if event.kind == "changed" else self._tell)(alert)

    def tell_capture(self, capture: Capture, previous: CaptureState) -> None:
        """Report that a capture changed its state."""
        log.info("capture %s: %s -> %s: %s", capture.id, previous, capture.state, capture.note)
        if previous == "wanted":
            for take in self.on_capture:
                take(capture)
        self._tell(eve.capture_event(capture, previous))


class Captures(Component):
    """``on_saved`` gets captures that were stored; ``on_detection`` and ``on_capture`` get each new one.

    ``lookup`` gives what lists an address now; ``flows_between`` the latest flows of two hosts, for pairs that a person
    requests and no list names. Requests by people are carried out before their method returns.
    """

    def __init__(
        self,
        settings: Settings,
        confidence: Mapping[str, int],
        *,
        fabric: Fabric,
        lookup: Callable[[str], tuple[Indicator, ...]],
        flows_between: Callable[[str, str], Sequence[FlowCount]],
        tell: Callable[[Event], None],
        tell_live: Callable[[Event], None],
    ) -> None:
        self._settings = settings.capture
        self._fabric = fabric
        self._lookup = lookup
        self._flows_between = flows_between
        self._store = Store(sqlite_url(settings.state_dir / "sentinel.db"))
        self._outward = Outward(self._store, fabric.send, tell, tell_live)
        self.on_saved = self._outward.on_saved
        self.on_detection = self._outward.on_detection
        self.on_capture = self._outward.on_capture
        # The next two belong to the loop's thread; any other reads and asks them under the loop's lock.
        self._detector = Detector(settings.network.local, min_samples=settings.capture.min_samples)
        self._engine = CaptureEngine(policy_of(settings, confidence), fabric.inventory, fabric.is_probeable)
        self._loop = Loop(self._detector, self._engine, self._outward)
        self._longest_s = settings.capture.longest_s
        # When the store's file was last missed, and when it was written anew; both monotonic.
        self._store_gone: float | None = None
        self._store_renewed: float | None = None

    # --- life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        self._store.open()
        try:
            stored = [
                *self._store.live(),
                *self._store.ended(limits.MAX_HELD_PAIRS, time.time() - self._longest_s),
            ]
            self._take_up(stored)
        except BaseException:
            self._store.close()
            raise

    def _take_up(self, stored: Sequence[Capture]) -> None:
        live = [capture for capture in stored if capture.state != "ended"]
        met = self._fabric.meet_again(mirror.switch for capture in live for mirror in capture.mirrors)
        for switch in met:
            self._engine.book.add(switch)
        for switch in (*self._fabric.inventory, *met):
            self._loop.post(events.SwitchFound(switch))
        for take in self.on_saved:
            take(live)
        self._loop.start(stored)

    def stop(self) -> None:
        """Rules stay on the switches: the next start adopts them, or their leases end them."""
        self._loop.stop()
        self._store.close()

    def jobs(self) -> Iterable[Job]:
        return (
            Job("tick", TICK_S, lambda: self._loop.post(events.Tick()), promise=True),
            Job("reconcile", RECONCILE_S, lambda: self._loop.post(events.Reconcile()), promise=True),
            Job("sync", SYNC_S, self._sync, promise=True),
            Job("purge", PURGE_S, self._purge),
        )

    def _sync(self) -> None:
        try:
            if self._store.gone():
                self._renew_store()
            self._store.sync()
        except StoreError as error:
            log.warning("%s", error)

    def _renew_store(self) -> None:
        """Write what is live to a new file, so that a restart adopts it; the loop saves nothing meanwhile."""
        if self._store_gone is None or self._store_renewed is not None:
            log.error("sentinel.db was deleted or replaced under the running daemon; it is written anew")
        self._store_gone, self._store_renewed = time.monotonic(), None
        with self._loop.lock:
            live = self._engine.live()
            self._store.renew(live)
        self._store_renewed = time.monotonic()
        log.warning("sentinel.db is written anew with %d live captures; those that ended are lost", len(live))

    def _purge(self) -> None:
        try:
            self._store.purge(time.time() - limits.ENDED_CAPTURES_KEPT_S, limits.MAX_ENDED_CAPTURES)
        except StoreError as error:
            log.warning("%s", error)

    # --- what happens elsewhere ------------------------------------------------------------------------

    def matched(self, matches: Sequence[Match]) -> None:
        """Take matches of the scan. Called from any thread; never blocks for long."""
        self._loop.post_matches(matches)

    def answered(self, event: events.Event) -> None:
        """Take the answer of a switch. Called from any thread."""
        self._loop.post(event)

    def table_space(self, agent: str, free_entries: int) -> None:
        """Take how many ACL entries a switch has left. Called from any thread."""
        self._loop.post(events.TableSpace(agent, free_entries))

    def new_lists(self) -> None:
        """Look up every open detection again: other lists are in force."""
        self._loop.post_new_lists(self._lookup)

    def protect(self, addresses: Iterable[str], switch: str) -> None:
        """Never mirror the conversations of these addresses of a shim's host."""
        with self._loop.lock:
            self._engine.protected.add(addresses, f"is the shim of {switch}")

    # --- what there is -------------------------------------------------------------------------------

    def detections(self) -> Sequence[Detection]:
        """Return the open detections, in any order."""
        with self._loop.lock:
            return self._detector.open_detections()

    def detection_of(self, one_ip: str, other_ip: str) -> Detection | None:
        """Return the open detection of a pair, whichever of the two is listed."""
        with self._loop.lock:
            return self._detector.find(one_ip, other_ip) or self._detector.find(other_ip, one_ip)

    def uncaptured(self) -> Mapping[str, str]:
        """Return why a detection has no live capture, by detection id, as far as the planner decided it."""
        with self._loop.lock:
            return {key: refusal.detail for key, refusal in self._engine.refusals.items()}

    def captures(self) -> Sequence[Capture]:
        """Return the live captures and those that ended last, in any order."""
        with self._loop.lock:
            live = self._engine.live()
        try:
            return [*live, *self._store.ended(ENDED_SHOWN)]
        except StoreError:
            return live

    def capture(self, capture_id: str) -> Capture | None:
        """Return one capture, live or stored."""
        with self._loop.lock:
            live = self._engine.get(capture_id)
        return live or self._store.get(capture_id)

    def rates_bps(self, capture_ids: Iterable[str]) -> Mapping[str, int]:
        """Return the bit/s that each mirror of these captures is believed to carry, as far as they are live."""
        with self._loop.lock:
            found = {capture_id: self._engine.rate_bps(capture_id) for capture_id in capture_ids}
        return {capture_id: bps for capture_id, bps in found.items() if bps is not None}

    def switches(self) -> Sequence[SwitchRow]:
        """Return one row per switch."""
        with self._loop.lock:
            return switch_rows(self._engine, time.monotonic(), time.time())

    # --- requests of people ----------------------------------------------------------------------------

    def start_capture(self, local_ip: str, listed_ip: str, by: str, seconds: int | None) -> Capture:
        """Start a capture by hand; raises ``Refused``."""
        detection = self.detection_of(local_ip, listed_ip)
        if detection is None and self._may_be_requested(listed_ip):
            detection = unlisted.detection_of(local_ip, listed_ip, self._flows_between(local_ip, listed_ip))
        if detection is None:
            raise Refused(self._why_unknown(listed_ip))
        self._loop.wish(events.StartRequested(detection, by, seconds))
        with self._loop.lock:
            capture = self._engine.of_pair(local_ip, listed_ip)
            refusal = self._engine.refusals.get(detection.id)
        if capture is None:
            raise Refused(refusal.detail if refusal else "the pair cannot be captured")
        return capture

    def approve(self, capture_id: str, by: str) -> Capture:
        """Approve a pending capture; raises ``NotFound``, ``Refused``."""
        capture = self._live(capture_id)
        if capture.state != "pending":
            raise Refused(f"it is {capture.state}, not pending")
        if self._settings.mode == "dry-run":
            raise Refused('capture.mode is "dry-run": nothing is ever installed')
        return self._carried_out(events.Approved(capture_id, by), capture_id)

    def stop_capture(self, capture_id: str, by: str) -> Capture:
        """End a capture; raises ``NotFound``, ``Refused``."""
        if self._live(capture_id).ending:
            raise Refused("it is ending already")
        return self._carried_out(events.StopRequested(capture_id, by), capture_id)

    def extend(self, capture_id: str, seconds: int, by: str) -> Capture:
        """Let a capture last ``seconds`` longer; raises ``NotFound``, ``Refused``."""
        if self._live(capture_id).ending:
            raise Refused("it is ending already")
        return self._carried_out(events.Extended(capture_id, float(seconds), by), capture_id)

    def _live(self, capture_id: str) -> Capture:
        with self._loop.lock:
            capture = self._engine.get(capture_id)
        if capture is None:
            raise NotFound("no such live capture")
        return capture

    def _carried_out(self, event: events.Event, capture_id: str) -> Capture:
        self._loop.wish(event)
        capture = self.capture(capture_id)
        if capture is None:
            raise NotFound("no such capture")
        return capture

    def _may_be_requested(self, ip: str) -> bool:
        return self._settings.allow_unlisted or bool(self._lookup(ip))

    def _why_unknown(self, listed_ip: str) -> str:
        if not self._may_be_requested(listed_ip):
            return f"{listed_ip} is on no list in force; capture.allow_unlisted = true would let it be captured"
        return f"no agent has sampled this pair in the last {limits.FLOWS_KEPT_S} s, so there is no switch to choose"

    # --- how it fares --------------------------------------------------------------------------------

    def pulses(self) -> Iterable[Pulse]:
        return (self._loop.pulse,)

    def problems(self) -> Iterable[Problem]:
        if self._loop.store_error:
            remedy = "make room and check the rights of state_dir; no new mirror is installed until then"
            yield Problem("store", "failing", "sentinel.db", self._loop.store_error, remedy)
        yield from self._store_gone_problem()
        if self._loop.counters.round_errors or self._loop.counters.tell_errors:
            text = "a bug was met while deciding, or while reporting a decision"
            yield Problem("round_error", "degraded", "loop", text, "report the traceback in the log")
        if overflow := self._loop.counters.matches_overflow:
            text = f"{overflow} matches found no place while waiting to be decided"
            yield Problem("matches_overflow", "degraded", "loop", text, "sample less, or look at who floods")
        with self._loop.lock:
            of_switches = list(switch_problems(self._engine))
        yield from of_switches

    def _store_gone_problem(self) -> Iterable[Problem]:
        if self._store_gone is None:
            return
        text = "the file was deleted or replaced under the running daemon"
        if self._store_renewed is None:
            remedy = "check the room and the rights of state_dir; no new mirror is installed until it can be written"
            yield Problem("store_gone", "failing", "sentinel.db", f"{text} and cannot be written anew", remedy)
        elif time.monotonic() - self._store_renewed < limits.FILE_GONE_SHOWN_S:
            text = f"{text}; live captures were written to a new one, those that ended are lost"
            yield Problem("store_gone", "failing", "sentinel.db", text, "find out what changes files in state_dir")

    def readings(self) -> Iterable[Reading]:
        yield from counters("loop", self._loop.counters)
        yield from counters("detect", self._detector.counters)
        with self._loop.lock:
            found = list(readings(self._engine))
        yield from found
        yield "sentinel_detect_open", {}, float(len(self._detector)), "gauge", "Open detections"
        text = "Open detections not announced yet"
        yield "sentinel_detect_waiting", {}, float(self._detector.waiting), "gauge", text
