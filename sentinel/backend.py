# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What the web room asks of the daemon, answered from the running parts. Reads and wishes only; decides nothing."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import sentinel
from sentinel import limits
from sentinel.blacklist.scorecard import feed_row, feeds_in, readings
from sentinel.capture import events as it
from sentinel.detect import unlisted
from sentinel.errors import StoreError
from sentinel.erspan.files import Received
from sentinel.flows.query import answer
from sentinel.model import Capture, Detection, FlowAnswer, FlowQuery
from sentinel.readings import Reading, counters
from sentinel.receive import sockets
from sentinel.report.metrics import Metrics
from sentinel.sflow.agents import AgentHealth
from sentinel.web.backend import NotFound, NotHere, Pcap, Refused, Row

if TYPE_CHECKING:
    from sentinel.daemon import Daemon

ENDED_SHOWN = 200


class DaemonBackend:
    """Implements ``sentinel.web.backend.Backend``."""

    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon
        self._metrics = Metrics(self._readings)
        self._frames: dict[str, int] = {}
        self._rates: dict[tuple[str, int], tuple[float, int, float]] = {}

    # --- reads -----------------------------------------------------------------------------------

    def detections(self) -> Sequence[Detection]:
        with self._daemon.loop.lock:
            return self._daemon.detector.open_detections()

    def uncaptured(self) -> Mapping[str, str]:
        with self._daemon.loop.lock:
            return {key: refusal.detail for key, refusal in self._daemon.captures.refusals.items()}

    def captures(self) -> Sequence[Capture]:
        with self._daemon.loop.lock:
            live = self._daemon.captures.live()
        try:
            return [*live, *self._daemon.store.ended(ENDED_SHOWN)]
        except StoreError:
            return live

    def capture(self, capture_id: str) -> Capture | None:
        with self._daemon.loop.lock:
            live = self._daemon.captures.get(capture_id)
        return live or self._daemon.store.get(capture_id)

    def agents(self) -> Sequence[Row]:
        by_agent = self._daemon.captures.book.by_agent
        rows = []
        for health in self._daemon.scan.snapshot():
            switch = by_agent.get(health.agent)
            heard = health.datagrams + health.lost
            rows.append(
                {
                    "agent": health.agent,
                    "sub_agent": health.sub_agent,
                    "switch": switch.name if switch else None,
                    "last_seen": health.last_seen,
                    "datagrams": health.datagrams,
                    "samples": health.samples,
                    "samples_per_s": self._samples_per_s(health),
                    "lost_datagrams": health.lost,
                    "loss_pct": round(100 * health.lost / heard, 2) if heard else 0.0,
                    "sampling_rate": max(health.sampling_rates, default=None),
                    "errors": health.bad_samples,
                }
            )
        return rows

    def feeds(self) -> Sequence[Row]:
        used = self._detections_by_feed()
        return [feed_row(status, used, self._daemon.caused) for status in self._daemon.loader.status()]

    def switches(self) -> Sequence[Row]:
        captures = self._daemon.captures
        book = captures.book
        rows = []
        with self._daemon.loop.lock:
            for name in book.names():
                switch = book.get(name)
                if switch is None:
                    continue
                trouble = book.trouble(name) or book.unreachable(name)
                asked = book.answered_mono(name)
                rows.append(
                    {
                        "name": name,
                        "role": switch.role,
                        "url": switch.url,
                        "agents": list(switch.agents),
                        "erspan_source": switch.erspan_source,
                        "state": "failing" if book.trouble(name) else "degraded" if trouble else "ok",
                        "detail": trouble,
                        "rules": book.entries(name),
                        "max_rules": book.max_rules(name),
                        "mirrored_bps": captures.budget.bps(name),
                        "max_mirrored_bps": captures.policy.max_bps_per_switch,
                        "ipv6": switch.ipv6,
                        "answered_at": time.time() - (time.monotonic() - asked) if asked > 0 else None,
                    }
                )
        return rows

    def flows(self, query: FlowQuery) -> FlowAnswer:
        now, utc = time.monotonic(), time.time()
        self._daemon.scan.take_flows()
        begin, seconds = self._daemon.flows.latest(query.seconds, now)
        return answer(query, utc - now + begin, seconds, lambda: time.sleep(limits.FLOW_QUERY_REST_S))

    def events(self, after: int, timeout_s: float) -> Sequence[Row]:
        return self._daemon.ring.after(after, timeout_s)

    def health(self) -> Row:
        daemon = self._daemon
        problems = self._problems()
        agents = daemon.scan.snapshot()
        failing = bool(daemon.loop.store_error)
        return {
            "status": "failing" if failing else "degraded" if problems else "ok",
            "problems": problems,
            "sockets": [asdict(each) for each in self._sockets()],
            "version": sentinel.__version__,
            "mode": daemon.settings.capture.mode,
            "started_at": daemon.started_at,
            "erspan_destination": daemon.settings.capture.erspan_destination,
            "quiet_s": daemon.settings.capture.quiet_s,
            "agents": len({health.agent for health in agents}),
            "samples_per_s": round(sum(map(self._samples_per_s, agents)), 1),
            "indicators": len(daemon.loader.current.blacklist),
        }

    def metrics(self) -> bytes:
        return self._metrics.render()

    def pcap(self, capture_id: str) -> Pcap | NotHere:
        capture = self.capture(capture_id)
        if capture is None:
            raise NotFound("no such capture")
        destination = self._daemon.settings.capture.erspan_destination
        if self._daemon.files is None:
            return NotHere(f"the packets go to {destination} as GRE/ERSPAN; open Wireshark there")
        # Asked after the state: what an ended capture has now is all it will ever have.
        parts, being_written = self._daemon.files.parts(capture_id)
        return Pcap(
            tuple((part.path, part.size) for part in parts),
            being_written or capture.state != "ended",
            f"no packets of it are here; they are sent to {destination}",
        )

    def received(self, capture_id: str) -> Row | None:
        if self._daemon.files is None:
            return None
        return asdict(self._daemon.files.received(capture_id) or Received())

    def rate_bps(self, capture_id: str) -> int | None:
        with self._daemon.loop.lock:
            return self._daemon.captures.rate_bps(capture_id)

    # --- wishes ----------------------------------------------------------------------------------

    def start_capture(self, local_ip: str, listed_ip: str, by: str, seconds: int | None) -> Capture:
        daemon = self._daemon
        with daemon.loop.lock:
            detection = daemon.detector.find(local_ip, listed_ip) or daemon.detector.find(listed_ip, local_ip)
        if detection is None and self._may_be_asked_for(listed_ip):
            flows = daemon.flows.between(local_ip, listed_ip, time.monotonic())
            detection = unlisted.detection_of(local_ip, listed_ip, flows)
        if detection is None:
            raise Refused(self._why_unknown(listed_ip))
        daemon.loop.wish(it.StartRequested(detection, by, seconds))
        with daemon.loop.lock:
            capture = daemon.captures.of_pair(local_ip, listed_ip)
            refusal = daemon.captures.refusals.get(detection.id)
        if capture is None:
            raise Refused(refusal.detail if refusal else "the pair cannot be captured")
        return capture

    def approve(self, capture_id: str, by: str) -> Capture:
        capture = self._live(capture_id)
        if capture.state != "pending":
            raise Refused(f"it is {capture.state}, not pending")
        if self._daemon.settings.capture.mode == "dry-run":
            raise Refused('capture.mode is "dry-run": nothing is ever installed')
        self._daemon.loop.wish(it.Approved(capture_id, by))
        return self._after(capture_id)

    def stop(self, capture_id: str, by: str) -> Capture:
        if self._live(capture_id).ending:
            raise Refused("it is ending already")
        self._daemon.loop.wish(it.StopRequested(capture_id, by))
        return self._after(capture_id)

    def extend(self, capture_id: str, seconds: int, by: str) -> Capture:
        if self._live(capture_id).ending:
            raise Refused("it is ending already")
        self._daemon.loop.wish(it.Extended(capture_id, float(seconds), by))
        return self._after(capture_id)

    def refresh_feed(self, name: str) -> None:
        feed = next((feed for feed in self._daemon.loader.feeds if feed.name == name), None)
        if feed is None:
            raise NotFound("no such feed is enabled")
        # Courtesy is owed to other people's servers, not to one's own file.
        outcome = self._daemon.loader.refresh(name, force=feed.path is not None)
        self._daemon.take_outcomes([outcome])
        if outcome.kind in {"failed", "quarantined", "not-due"}:
            raise Refused(f"{outcome.kind}: {outcome.detail or outcome.reason}")

    def accept_feed(self, name: str, by: str) -> None:
        if name not in {feed.name for feed in self._daemon.loader.feeds}:
            raise NotFound("no such feed is enabled")
        outcome = self._daemon.loader.accept(name)
        if outcome.kind != "replaced":
            raise Refused(outcome.detail or outcome.reason)
        self._daemon.take_outcomes([replace(outcome, detail=f"accepted by {by}")])

    # --- helpers ---------------------------------------------------------------------------------

    def count_frames(self, switch: str, frames: int) -> None:
        """So many mirrored packets from this switch were kept."""
        self._frames[switch] = self._frames.get(switch, 0) + frames

    def _live(self, capture_id: str) -> Capture:
        with self._daemon.loop.lock:
            capture = self._daemon.captures.get(capture_id)
        if capture is None:
            raise NotFound("no such live capture")
        return capture

    def _after(self, capture_id: str) -> Capture:
        capture = self.capture(capture_id)
        if capture is None:
            raise NotFound("no such capture")
        return capture

    def _may_be_asked_for(self, ip: str) -> bool:
        return self._daemon.settings.capture.allow_unlisted or bool(self._daemon.loader.current.blacklist.lookup(ip))

    def _why_unknown(self, listed_ip: str) -> str:
        if not self._may_be_asked_for(listed_ip):
            return f"{listed_ip} is on no list in force; capture.allow_unlisted = true would let it be captured"
        return f"no agent has sampled this pair in the last {limits.FLOWS_KEPT_S} s, so there is no switch to choose"

    def _detections_by_feed(self) -> dict[str, int]:
        used: dict[str, int] = {}
        for detection in self.detections():
            for feed in feeds_in(detection.indicators):
                used[feed] = used.get(feed, 0) + 1
        return used

    def _problems(self) -> list[str]:
        daemon = self._daemon
        problems = [daemon.loop.store_error] if daemon.loop.store_error else []
        if daemon.loop.counters["round_errors"]:
            problems.append("a bug was met while deciding; the log has its traceback")
        problems += [
            f"feed {s.name}: {s.last_error}" for s in daemon.loader.status() if s.state != "ok" and s.last_error
        ]
        problems += [f"switch {row['name']}: {row['detail']}" for row in self.switches() if row["detail"]]
        receiving = self._sockets()
        drops = daemon.listener.counters().kernel_drops
        if drops:
            problems.append(
                f"the kernel dropped {drops} sFlow datagrams ({sockets.worst(receiving, 'sflow')}): "
                "raise sflow.receive_buffer and net.core.rmem_max"
            )
        if daemon.receiver is not None:
            problems += daemon.receiver.opened.refused
            if missed := daemon.receiver.counters.kernel_drops:
                where = sockets.worst(receiving, "erspan")
                problems.append(f"the kernel dropped {missed} mirrored packets ({where}): raise net.core.rmem_max")
            if failed := daemon.receiver.counters.write_errors:
                problems.append(f"{failed} mirrored packets could not be written: see the log")
        return problems

    def _sockets(self) -> list[sockets.ReceivingSocket]:
        receiver = self._daemon.receiver
        return sockets.receiving(self._daemon.listener.listening(), receiver.opened.granted if receiver else ())

    def _samples_per_s(self, health: AgentHealth) -> float:
        """Over at least a second between two looks; whoever looks more often gets the last figure."""
        key, now = (health.agent, health.sub_agent), time.monotonic()
        at, samples, shown = self._rates.get(key, (now, health.samples, 0.0))
        if now - at >= 1.0:
            shown = round(max(0, health.samples - samples) / (now - at), 1)
        elif key in self._rates:
            return shown
        self._rates[key] = (now, health.samples, shown)
        return shown

    def _readings(self) -> Iterator[Reading]:
        daemon = self._daemon
        yield (
            "sentinel_info",
            {
                "version": sentinel.__version__,
                "mode": daemon.settings.capture.mode,
                "implementation": daemon.scan.implementation,
            },
            1.0,
            "gauge",
            "Build",
        )
        yield from counters("sflow", daemon.listener.counters())
        yield from sockets.readings(self._sockets())
        yield from counters("scan", daemon.scan.counters)
        streams, sources = daemon.scan.agents_overflow
        for name, count, text in (
            ("streams_overflow", streams, "Datagrams of streams whose health found no room"),
            ("sources_overflow", sources, "Samples of data sources whose health found no room"),
        ):
            yield f"sentinel_scan_{name}_total", {}, float(count), "counter", text
        yield from counters("flows", daemon.flows.counters)
        yield from counters("detect", daemon.detector.counters)
        yield from counters("web", daemon.web_counters)
        yield from counters("report", daemon.event_log.counters)
        if daemon.receiver is not None and daemon.files is not None:
            yield from counters("erspan", daemon.receiver.counters)
            yield from counters("erspan_files", daemon.files.counters)
            octets = float(daemon.files.held_bytes)
            yield "sentinel_erspan_files_held_bytes", {}, octets, "gauge", "Octets of all capture files"
            for switch, kept in dict(self._frames).items():
                labels = {"switch": switch}
                yield "sentinel_erspan_switch_frames_total", labels, float(kept), "counter", "Frames kept, by switch"
        for stage, counts in (("loop", daemon.loop.counters), ("switches", daemon.pool.counters)):
            for name, count in dict(counts).items():
                yield f"sentinel_{stage}_{name}_total", {}, float(count), "counter", f"{stage}: {name}"
        for name, count in dict(daemon.captures.counters).items():
            yield "sentinel_capture_events_total", {"kind": name}, float(count), "counter", "Capture engine, by kind"
        for (what, feed, reason), count in daemon.loader.counters().items():
            labels = {"feed": feed, "reason": reason}
            yield (
                f"sentinel_blacklist_{what}_total",
                labels,
                float(count),
                "counter",
                f"Feeds: {what.replace('_', ' ')}",
            )
        yield from readings(daemon.loader.status(), daemon.caused, time.time())
        yield (
            "sentinel_blacklist_indicators",
            {},
            float(len(daemon.loader.current.blacklist)),
            "gauge",
            "Prefixes in force",
        )
        with daemon.loop.lock:
            live = daemon.captures.live()
            held = {name: daemon.captures.book.entries(name) for name in daemon.captures.book.names()}
            mirrored = {name: daemon.captures.budget.bps(name) for name in held}
            arriving = daemon.captures.budget.total_bps
        states: dict[str, int] = {}
        for capture in live:
            states[capture.state] = states.get(capture.state, 0) + 1
        for state, count in states.items():
            yield "sentinel_capture_live", {"state": state}, float(count), "gauge", "Live captures by state"
        for switch, entries in held.items():
            yield (
                "sentinel_capture_entries",
                {"switch": switch},
                float(entries),
                "gauge",
                "ACL entries of ours on a switch",
            )
        for switch, bps in mirrored.items():
            text = "Estimated bit/s that a switch mirrors"
            yield "sentinel_capture_mirrored_bps", {"switch": switch}, float(bps), "gauge", text
        text = "Estimated bit/s of all mirrors at the ERSPAN destination"
        yield "sentinel_capture_destination_bps", {}, float(arriving), "gauge", text
        yield "sentinel_detect_open", {}, float(len(daemon.detector)), "gauge", "Open detections"
        yield (
            "sentinel_detect_waiting",
            {},
            float(daemon.detector.waiting),
            "gauge",
            "Open detections not announced yet",
        )
