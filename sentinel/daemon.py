# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The composition root: builds every part from settings, starts them in the order the data flows, stops in reverse."""

import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from apscheduler.schedulers.background import BackgroundScheduler

from sentinel import limits
from sentinel.backend import DaemonBackend
from sentinel.blacklist.catalogue import Feed, parse_feed_argument, read_descriptors, select, shipped_descriptors
from sentinel.blacklist.loader import Loader, Outcome
from sentinel.blacklist.scorecard import Caused, feed_event, feeds_in
from sentinel.blacklist.trie import Current
from sentinel.capture import commands as do
from sentinel.capture import events as it
from sentinel.capture.engine import CaptureEngine
from sentinel.capture.policy import Policy, Threshold
from sentinel.capture.store import Store, sqlite_url
from sentinel.capture.switches import Access, SwitchPool
from sentinel.config.settings import Settings
from sentinel.decide.loop import Loop
from sentinel.detect.engine import Detector
from sentinel.detect.events import DetectionEvent
from sentinel.errors import ConfigError, StoreError
from sentinel.erspan.files import CaptureFiles, CaptureNotes
from sentinel.erspan.receiver import Receiver
from sentinel.erspan.shelf import Deleted
from sentinel.flows.recent import RecentFlows
from sentinel.model import Capture, CaptureState, CountersSample, Switch
from sentinel.receive.batches import receiver_of
from sentinel.report import eve
from sentinel.report.eventlog import EventLog, EventRing
from sentinel.scan.threads import Scanning, prepare
from sentinel.sflow.admission import Admission, AdmissionRule
from sentinel.sflow.listener import Listener
from sentinel.times import time_text
from sentinel.web.app import create_app
from sentinel.web.counters import WebCounters
from sentinel.web.guards import Guard
from sentinel.web.longpoll import LongPolls
from sentinel.web.pcap import PcapStreams
from sentinel.web.server import WebServer
from sentinel.web.tokens import Tokens, load_tokens

log = logging.getLogger(__name__)

TICK_S = 1
RECONCILE_S = 300
FEEDS_S = 30
REFUSED_S = 60
# What a power cut may take of the store.
SYNC_S = 5

# sFlow v5: a counter that the agent does not keep is all ones.
UNKNOWN_COUNTER = 0xFFFFFFFF

OnEvent = Callable[[dict[str, object]], None]
OnDifference = Callable[[Outcome], None]


def switches_of(settings: Settings) -> list[Switch]:
    """The inventory as values."""
    return [
        Switch(s.name, s.agents, s.url, s.erspan_source or s.agents[0], s.role, s.max_rules) for s in settings.switch
    ]


def feeds_of(settings: Settings) -> list[Feed]:
    """The feeds in force; raises ``ConfigError`` for a name nobody described or a file that is not there."""
    catalogue = dict(shipped_descriptors())
    if settings.feeds.directory is not None:
        catalogue.update(read_descriptors(settings.feeds.directory))
    return [*select(settings.feeds.enabled, catalogue), *(parse_feed_argument(text) for text in settings.feeds.files)]


def loader_of(settings: Settings, current: Current | None = None) -> Loader:
    """The feed loader over the daemon's own cache."""
    return Loader(
        feeds_of(settings),
        settings.state_dir / "feeds",
        local=settings.network.local,
        allow=settings.feeds.allow,
        allow_files=settings.feeds.allow_files,
        current=current,
    )


def access_of(settings: Settings) -> Access:
    """Credentials for the shims; raises ``ConfigError`` when the token file cannot be used."""
    chosen = settings.switches
    token = None
    if chosen.token_file is not None:
        try:
            words = chosen.token_file.read_text(encoding="ascii").split()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("switches.token_file", [f"{chosen.token_file} cannot be read: {error}"]) from error
        if not words:
            raise ConfigError(
                "switches.token_file", [f"{chosen.token_file} is empty; expected a token, or an owner and it"]
            )
        token = words[-1]
    cert = (chosen.client_cert, chosen.client_key) if chosen.client_cert and chosen.client_key else None
    return Access(settings.capture.erspan_destination, chosen.ca_file, cert, token)


def url_of_agent(settings: Settings) -> Callable[[str], str | None]:
    """The URL of the shim of an agent in ``[switches] agents``; ``None`` for every other address."""
    networks = [ipaddress.ip_network(prefix) for prefix in settings.switches.agents]

    def url(agent: str) -> str | None:
        address = ipaddress.ip_address(agent)
        if settings.switches.url is None or not any(address.version == n.version and address in n for n in networks):
            return None
        return settings.switches.url.replace("{agent}", f"[{agent}]" if ":" in agent else agent)

    return url


def admission_of(settings: Settings) -> Admission:
    """Who is heard: each switch from its own addresses, other agents from their very address, relays for anybody."""
    rules = [AdmissionRule(switch.agents, switch.name) for switch in settings.switch]
    prefixes = (*settings.switches.agents, *settings.sflow.agents)
    return Admission([*rules, *(AdmissionRule((prefix,)) for prefix in prefixes)], settings.sflow.relays)


def policy_of(settings: Settings) -> Policy:
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
        thresholds=tuple(Threshold(**row.model_dump()) for row in settings.threshold),
        flood_bps=chosen.flood_bps,
        max_bps_per_switch=chosen.max_bps_per_switch,
        max_bps=chosen.max_bps,
        evict=chosen.evict,
        confidence={feed.name: feed.confidence for feed in feeds_of(settings) if feed.confidence is not None},
    )


class Daemon:
    """One running Sentinel. The constructor only builds; ``on_event`` is told every event the log gets.

    Whoever appends to ``on_difference`` is handed every change of a list in force, whole, in the thread that refreshes:
    what a list at the start already held is no change, and lists of what never matches are not among them.
    """

    def __init__(self, settings: Settings, on_event: OnEvent | None = None) -> None:
        self.settings = settings
        self._on_event = on_event
        self._url_of_agent = url_of_agent(settings)
        self.store = Store(sqlite_url(settings.state_dir / "sentinel.db"))
        # Numbers that begin above those of any earlier run tell a client that asks for later ones what it missed.
        self.ring = EventRing(first_id=int(time.time() * 1000))
        self.event_log = EventLog(settings.report.eve_file or settings.state_dir / "eve.json")
        self.loader = loader_of(settings, Current(prepare=prepare))
        self.admission = admission_of(settings)
        self.flows = RecentFlows(time.monotonic())
        self.scan = Scanning(
            self.admission,
            (settings.capture.erspan_destination,),
            threads=settings.sflow.threads,
            on_flows=self.flows.add,
        )
        self.detector = Detector(settings.network.local, min_samples=settings.capture.min_samples)
        self.captures = CaptureEngine(policy_of(settings), switches_of(settings), self._is_probeable)
        self.loop = Loop(self.detector, self.captures, self)
        self.pool = SwitchPool(access_of(settings), self._url_of_agent, self._answered)
        self.listener = Listener(
            settings.sflow.listen,
            settings.sflow.receive_buffer_bytes,
            [partial(self._received, thread) for thread in range(self.scan.threads)],
            receiver_of(self.scan.implementation),
        )
        self.files, self.receiver = self._erspan()
        self.web_counters = WebCounters()
        self._tokens = load_tokens(settings.web.token_file) if settings.web.token_file else None
        self.backend = DaemonBackend(self)
        self.web = self._web(self._tokens)
        self._scheduler = BackgroundScheduler(
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1}, timezone="UTC"
        )
        self.on_difference: list[OnDifference] = []
        self.caused = Caused()
        self._wanted: dict[tuple[str, str, str], str] = {}
        self._captures_known: dict[str, Capture] = {}
        self._stopping = ExitStack()
        self.started_at = time.time()

    # --- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """From the store to the listener; what was started is stopped again when a later part cannot start."""
        self.started_at = time.time()
        self.settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ExitStack() as started:
            self._start_parts(started)
            self._stopping = started.pop_all()

    def stop(self) -> None:
        """In reverse. Rules stay on the switches: the next start adopts them, or their leases end them."""
        self._stopping.close()

    def _start_parts(self, started: ExitStack) -> None:
        self.store.open()
        started.callback(self.store.close)
        stored = [
            *self.store.live(),
            *self.store.ended(limits.MAX_HELD_PAIRS, time.time() - self.captures.policy.longest_s),
        ]
        self.event_log.start()
        started.callback(self.event_log.stop)
        started.callback(self.ring.close)
        for outcome in self.loader.load_cached():
            self._tell_feed(outcome)
        for switch in (*switches_of(self.settings), *self._switches_met_before(stored)):
            self.pool.add(switch)
            self.loop.post(it.SwitchFound(switch))
        started.callback(self.pool.stop)
        for capture in stored:
            if capture.state != "ended":
                self._captures_known[capture.id] = capture
                self._expect(capture)
        self.loop.start(stored)
        started.callback(self.loop.stop)
        if self.files is not None and self.receiver is not None:
            self.files.start()
            started.callback(self.files.stop)
            self.receiver.start()
            started.callback(self.receiver.stop)
        self.listener.start()
        started.callback(self.listener.stop)
        self.web.start()
        started.callback(self.web.stop)
        self._schedule()
        self._scheduler.start()
        started.callback(self._scheduler.shutdown)

    def _switches_met_before(self, stored: Iterable[Capture]) -> list[Switch]:
        """Switches that were found by probing in an earlier run and hold captures still."""
        inventory = {switch.name for switch in self.settings.switch}
        met = {m.switch for c in stored if c.state != "ended" for m in c.mirrors if m.switch not in inventory}
        found = []
        for name in met:
            try:
                url = self._url_of_agent(name)
            except ValueError:
                continue
            if url:
                switch = Switch(name, (name,), url, name)
                self.captures.book.add(switch)
                found.append(switch)
        return found

    def _schedule(self) -> None:
        add = self._scheduler.add_job
        add(lambda: self.loop.post(it.Tick()), "interval", seconds=TICK_S, id="tick")
        add(lambda: self.loop.post(it.Reconcile()), "interval", seconds=RECONCILE_S, id="reconcile")
        add(self.scan.take_flows, "interval", seconds=TICK_S, id="flows")
        add(self.scan.log_refused, "interval", seconds=REFUSED_S, id="refused")
        add(self._refresh_feeds, "interval", seconds=FEEDS_S, id="feeds")
        add(self._refresh_feeds, id="feeds-now")
        add(self._protect_shims, id="shims-now")
        add(self._protect_shims, "interval", hours=1, id="shims")
        add(self._sync, "interval", seconds=SYNC_S, id="sync")
        add(self._purge, "interval", hours=1, id="purge")
        if self.files is not None:
            add(self._expire_files, "interval", minutes=1, args=[self.files], id="files")

    # --- sFlow in --------------------------------------------------------------------------------

    def _received(self, thread: int, batch: Sequence[tuple[bytes, str, float]]) -> None:
        result = self.scan.scan(batch, self.loader.current.blacklist, thread)
        if result.matches:
            self.loop.post_matches(result.matches)
        for agent, sample in result.counters_samples:
            self._tell_table_space(agent, sample)

    def _tell_table_space(self, agent: str, sample: CountersSample) -> None:
        """A Broadcom switch says by sFlow how full its ingress ACL table is (4413:3, hw_tables)."""
        for record in sample.records:
            used, most = (record.fields.get(f"acl_ingress_entries{end}") for end in ("", "_max"))
            if isinstance(used, int) and isinstance(most, int) and used <= most < UNKNOWN_COUNTER:
                self.loop.post(it.TableSpace(agent, most - used))

    # --- feeds -----------------------------------------------------------------------------------

    def _refresh_feeds(self) -> None:
        self.take_outcomes(self.loader.refresh_due())

    def take_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Say what became of refreshes; where lists changed, every open detection is asked again."""
        changed = False
        for outcome in outcomes:
            if outcome.kind != "not-due":
                self._tell_feed(outcome)
            if outcome.difference and not outcome.allows:
                self._hand_over(outcome)
            changed = changed or outcome.kind == "replaced"
        if changed:
            self.loop.post_new_lists(self.loader.current.blacklist.lookup)

    def _hand_over(self, outcome: Outcome) -> None:
        for take in self.on_difference:
            try:
                take(outcome)
            except Exception:
                # Somebody's bug must not keep the lists from being refreshed.
                log.exception("a difference of feed %s was not taken", outcome.feed)

    def _tell_feed(self, outcome: Outcome) -> None:
        if outcome.kind == "unchanged":
            return
        self._tell(feed_event(outcome, time.time()))
        for row in outcome.local_listed[:100]:
            log.warning("feed %s lists %s, which is ours: look at that machine first", outcome.feed, row.prefix)

    # --- switches --------------------------------------------------------------------------------

    def _is_probeable(self, agent: str) -> bool:
        return self._url_of_agent(agent) is not None

    def _answered(self, event: it.Event) -> None:
        self.loop.post(event)

    def _protect_shims(self) -> None:
        """A shim's own host is never mirrored; its name is looked up where the URL has one."""
        for switch in self.settings.switch:
            host = urlsplit(switch.url).hostname or ""
            try:
                found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            except OSError:
                log.warning("switch %s: %s cannot be looked up", switch.name, host)
                continue
            with self.loop.lock:
                self.captures.protected.add((str(row[4][0]) for row in found), f"is the shim of {switch.name}")

    # --- what the loop does to the world ---------------------------------------------------------

    def save(self, captures: Iterable[Capture]) -> None:
        """Store, and tell the ERSPAN receiver which pairs are expected from which switch."""
        captures = list(captures)
        self.store.save(captures)
        for capture in captures:
            self._expect(capture)
            if capture.id not in self._captures_known and self.started_at <= capture.created_at:
                self.caused.captures.update(feeds_in(capture.indicators) if capture.state != "ended" else ())
            if capture.state == "ended":
                self._captures_known.pop(capture.id, None)
            else:
                self._captures_known[capture.id] = capture
        # Nobody expects its frames any more: its file is complete.
        if self.files is not None:
            for capture in captures:
                if capture.state == "ended":
                    self.files.end(capture.id)

    def _expect(self, capture: Capture) -> None:
        """One step a key, so that the receiver's thread finds each pair either wanted or not."""
        for mirror in capture.mirrors:
            for pair in ((capture.local_ip, capture.listed_ip), (capture.listed_ip, capture.local_ip)):
                key = (mirror.switch, *pair)
                if mirror.state in {"installing", "active", "removing", "failed"}:
                    self._wanted[key] = capture.id
                elif self._wanted.get(key) == capture.id:
                    del self._wanted[key]

    def send(self, command: do.SwitchCommand) -> None:
        self.pool.send(command)

    def tell_detection(self, event: DetectionEvent) -> None:
        if event.kind == "opened":
            self.caused.detections.update(feeds_in(event.detection.indicators))
            self._tell(eve.alert(event.detection, state="opened"))
            return
        alert = eve.alert(event.detection, state=event.kind, timestamp=time.time())
        if event.kind == "changed":
            # The log has a detection's opening and closing; who watches live wants the steps between.
            self.ring.append(alert)
        else:
            self._tell(alert)

    def tell_capture(self, capture: Capture, previous: CaptureState) -> None:
        log.info("capture %s: %s -> %s: %s", capture.id, previous, capture.state, capture.note)
        self._tell(eve.capture_event(capture, previous))

    def _tell(self, event: dict[str, object]) -> None:
        self.event_log.append(event)
        self.ring.append(event)
        if self._on_event is not None:
            self._on_event(event)

    # --- ERSPAN in -------------------------------------------------------------------------------

    def _erspan(self) -> tuple[CaptureFiles | None, Receiver | None]:
        chosen = self.settings.erspan
        if not (chosen.receive or chosen.gre_in_udp):
            return None, None
        directory = chosen.directory or self.settings.state_dir / "pcap"
        files = CaptureFiles(
            directory,
            chosen.max_bytes,
            self._notes,
            max_age_s=chosen.max_age_s,
            on_deleted=self._tell_deleted,
        )
        raw = ("0.0.0.0", "::") if chosen.receive else ()  # noqa: S104  # a switch's packets arrive on any interface
        receiver = Receiver(
            files,
            switch_of=self._switch_of_source,
            expected=lambda switch, src, dst: self._wanted.get((switch, src, dst)),
            on_frames=self._framed,
            raw=raw,
            gre_in_udp=chosen.gre_in_udp,
            leave_out_duplicates=chosen.leave_out_duplicates,
            batches=receiver_of(self.scan.implementation),
        )
        return files, receiver

    @staticmethod
    def _expire_files(files: CaptureFiles) -> None:
        try:
            files.expire(time.time())
        except OSError as error:
            log.warning("old capture files can't be deleted: %s", error)

    def _tell_deleted(self, deleted: Deleted) -> None:
        """A file of a capture had to go: somebody may look for it."""
        details = {"id": deleted.capture_id, "file": deleted.name, "bytes": deleted.bytes, "reason": deleted.reason}
        now = time_text(time.time())
        self._tell({"timestamp": now, "event_type": "capture_file", "capture_file": {"deleted": True, **details}})

    def _switch_of_source(self, source: str) -> str | None:
        return self.captures.book.by_source.get(source)

    def _framed(self, capture_id: str, switch: str, frames: int) -> None:
        del capture_id
        self.backend.count_frames(switch, frames)

    def _notes(self, capture_id: str) -> CaptureNotes:
        capture = self._captures_known.get(capture_id)
        if capture is None:
            return CaptureNotes()
        listed = ", ".join(f"{i.prefix} in {i.feed} ({i.group})" for i in capture.indicators)
        pair = f"{capture.local_ip} and {capture.listed_ip}"
        text = f"Sentinel capture {capture.id}: {pair}; {capture.reason}; listed: {listed}"
        # With their addresses, which a viewer shows the names instead of.
        listing = next((i.feed for i in capture.indicators), "unlisted")
        names = (
            (capture.local_ip, (f"local-{capture.local_ip}",)),
            (capture.listed_ip, (f"{listing}-{capture.listed_ip}",)),
        )
        return CaptureNotes((text,), names)

    def pcap_paths(self, capture_id: str) -> list[Path]:
        if self.files is None:
            return []
        return self.files.paths(capture_id)

    # --- the rest --------------------------------------------------------------------------------

    def _web(self, tokens: Tokens | None) -> WebServer:
        polls, streams = LongPolls(), PcapStreams()
        host, port = self.settings.web.listen
        app = create_app(self.backend, Guard(host, self.settings.web.hosts, tokens), polls, self.web_counters, streams)
        return WebServer(app, host, port, polls, self.web_counters, streams)

    def _sync(self) -> None:
        try:
            self.store.sync()
        except StoreError as error:
            log.warning("%s", error)

    def _purge(self) -> None:
        try:
            self.store.purge(time.time() - limits.ENDED_CAPTURES_KEPT_S, limits.MAX_ENDED_CAPTURES)
        except StoreError as error:
            log.warning("%s", error)
