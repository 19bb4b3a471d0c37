# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A daemon that isn't there: a backend that behaves, and a server around it."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

from flask import Flask

from sentinel.errors import NotFound, Refused
from sentinel.flowmodel import FlowAnswer, FlowQuery
from sentinel.flows.query import answer
from sentinel.flows.recent import Second
from sentinel.model import Capture, Detection, Indicator, Mirror, Observer
from sentinel.report.eventlog import EventRing
from sentinel.rows import AgentRow, FeedRow, Health, NotHere, Pcap, ReceivedRow, Shared, SwitchRow
from sentinel.web.api import agents, captures, detections, events, feeds, flows, probes, switches
from sentinel.web.app import create_app
from sentinel.web.counters import WebCounters
from sentinel.web.guards import Guard
from sentinel.web.longpoll import LongPolls
from sentinel.web.pcap import PcapStreams
from sentinel.web.server import WebServer
from sentinel.web.tokens import Tokens, parse_tokens

T0 = 1_763_640_000.0
TOKEN = "c2VjcmV0LXRva2VuLWZvci10ZXN0cw"
INDICATORS = (
    Indicator("203.0.113.7/32", "et-compromised", "compromised"),
    Indicator("203.0.113.0/24", "et-block", "Spamhaus DROP"),
)


def tokens() -> Tokens:
    return parse_tokens(f"alice {TOKEN}\n", "test")


def observer(agent: str = "10.0.0.253", **changes: object) -> Observer:
    values: dict[str, object] = {
        "agent": agent,
        "source_class": 0,
        "source_index": 3,
        "input": 3,
        "output": 49,
        "samples": 12,
        "packets": 12_000,
        "bytes": 9_000_000,
        "capturable": True,
        "vni": None,
        "outbound": 9,
        "inbound": 3,
        "sender_is_agent": True,
    }
    return Observer(**{**values, **changes})  # type: ignore[arg-type]  # the table above has the types


def detection(key: str = "d1", **changes: object) -> Detection:
    values: dict[str, object] = {
        "id": key,
        "local_ip": "10.1.0.5",
        "listed_ip": "203.0.113.7",
        "direction": "outbound",
        "evidence": "initiated",
        "indicators": INDICATORS,
        "layer": 0,
        "observers": (observer(), observer("10.0.0.254", samples=4, packets=4_000, capturable=False, vni=5010)),
        "samples": 12,
        "packets": 12_000,
        "bytes": 9_000_000,
        "packets_error_pct": 56.6,
        "first_seen": T0,
        "last_seen": T0 + 60,
        "src_ip": "10.1.0.5",
        "dst_ip": "203.0.113.7",
        "src_port": 51_000,
        "dst_port": 443,
        "protocol": 6,
    }
    return Detection(**{**values, **changes})  # type: ignore[arg-type]  # the table above has the types


def capture(key: str = "c1", **changes: object) -> Capture:
    lines = (
        "-A FORWARD -i swp+ -s 10.1.0.5 -d 203.0.113.7 -j ERSPAN --src-ip 10.0.0.253 --dst-ip 10.0.0.70 --ttl 64",
        "-A FORWARD -i swp+ -s 203.0.113.7 -d 10.1.0.5 -j ERSPAN --src-ip 10.0.0.253 --dst-ip 10.0.0.70 --ttl 64",
    )
    values: dict[str, object] = {
        "id": key,
        "local_ip": "10.1.0.5",
        "listed_ip": "203.0.113.7",
        "state": "active",
        "reason": "initiated towards et-compromised",
        "requested_by": "policy",
        "created_at": T0 + 1,
        "evidence_at": T0 + 60,
        "ends_at": T0 + 3600,
        "indicators": INDICATORS,
        "mirrors": (Mirror(key, "leaf1", f"sentinel_{key}", lines, "active", packets=4321, bytes=1_234_567),),
    }
    return Capture(**{**values, **changes})  # type: ignore[arg-type]  # the table above has the types


class FakeBackend:
    """Keeps what it is told and does what it is asked, as the daemon would."""

    def __init__(self) -> None:
        self.ring = EventRing(100)
        self.found: list[Detection] = [detection()]
        self.notes: dict[str, str] = {}
        self.kept: dict[str, Capture] = {"c1": capture()}
        self.pcaps: dict[str, Path | list[Path] | NotHere] = {}
        self.receptions = {"c1": ReceivedRow(frames=4000, bytes=1_100_000, lost=3)}
        self.refreshed: list[str] = []
        self.accepted: list[tuple[str, str]] = []
        self.agent_rows = [
            AgentRow(
                agent="10.0.0.253",
                sub_agent=0,
                switch="leaf1",
                last_seen=T0 + 60,
                datagrams=900,
                samples=6000,
                samples_per_s=17.5,
                lost_datagrams=9,
                loss_pct=0.99,
                sampling_rate=1000,
                errors=0,
            )
        ]
        self.feed_rows = [
            FeedRow(
                name="et-compromised",
                title="Emerging Threats: compromised hosts",
                url="https://rules.example/compromised-ips.txt",
                homepage="https://rules.example/",
                first_errors=(),
                duplicates=0,
                licence="BSD-3-Clause",
                attribution="Proofpoint ET Labs",
                state="ok",
                detail="",
                allows=False,
                entries=532,
                entries_v4=530,
                entries_v6=2,
                rejected=1,
                rejected_by_reason={"reserved": 1},
                fetched_at=T0 - 3600,
                changed_at=T0 - 7200,
                checked_at=T0 - 60,
                next_at=T0 + 3600,
                detections=1,
                detections_total=7,
                captures_total=3,
                unique_share=0.904,
                overlap=(Shared("et-block", 51, 0.096),),
            ),
            FeedRow(
                name="et-block",
                title="Emerging Threats: firewall block list",
                url="https://rules.example/block.txt",
                homepage="https://rules.example/",
                first_errors=(),
                duplicates=0,
                licence="BSD-3-Clause",
                attribution="Proofpoint ET Labs",
                state="quarantined",
                detail="40000 lines, over 10 times the usual 1600",
                allows=False,
                entries=1600,
                entries_v4=1600,
                entries_v6=0,
                rejected=0,
                rejected_by_reason={},
                fetched_at=T0 - 50_000,
                changed_at=T0 - 50_000,
                checked_at=T0 - 60,
                next_at=T0 + 3600,
                detections=0,
                detections_total=0,
                captures_total=0,
                unique_share=None,
                overlap=(),
            ),
        ]
        self.switch_rows = [
            SwitchRow(
                name="leaf1",
                role="leaf",
                url="https://leaf1.example:8443",
                agents=("10.0.0.253",),
                erspan_source="10.0.0.253",
                state="ok",
                detail="",
                rules=2,
                max_rules=100,
                mirrored_bps=1_500_000,
                max_mirrored_bps=1_000_000_000,
                ipv6=False,
                answered_at=T0 + 55,
            )
        ]
        self.flow_seconds: list[Second] = []
        self.flow_queries: list[FlowQuery] = []
        # What stands in an answer instead of the keys of its groups.
        self.flow_keys: tuple[str, ...] = ()
        self.state = Health(
            status="ok",
            problems=(),
            sockets=(),
            version="0.1.0",
            mode="automatic",
            started_at=T0 - 600,
            erspan_destination="10.0.0.70",
            quiet_s=600,
            agents=1,
            samples_per_s=17.5,
            indicators=532,
        )
        self.silent: dict[str, float] = {}
        self.lock = threading.Lock()

    def detections(self) -> Sequence[Detection]:
        return list(self.found)

    def uncaptured(self) -> Mapping[str, str]:
        return dict(self.notes)

    def captures(self) -> Sequence[Capture]:
        return list(self.kept.values())

    def capture(self, capture_id: str) -> Capture | None:
        return self.kept.get(capture_id)

    def agents(self) -> Sequence[AgentRow]:
        return self.agent_rows

    def feeds(self, detections: Iterable[Detection]) -> Sequence[FeedRow]:
        return self.feed_rows

    def switches(self) -> Sequence[SwitchRow]:
        return self.switch_rows

    def flows(self, query: FlowQuery) -> FlowAnswer:
        self.flow_queries.append(query)
        told = answer(query, T0, self.flow_seconds[-query.seconds :])
        if not self.flow_keys:
            return told
        keys = [tuple(islice(cycle(self.flow_keys), n, n + len(query.group))) for n in range(len(told.groups))]
        return replace(
            told, groups=tuple(replace(group, key=key) for group, key in zip(told.groups, keys, strict=True))
        )

    def events(self, after: int, timeout_s: float) -> Sequence[Mapping[str, object]]:
        return self.ring.after(after, timeout_s)

    def start_capture(self, local_ip: str, listed_ip: str, by: str, seconds: int | None) -> Capture:
        if not any((each.local_ip, each.listed_ip) == (local_ip, listed_ip) for each in self.found):
            raise Refused("the pair is not listed; allow_unlisted = true would let it be captured")
        with self.lock:
            key = f"c{len(self.kept) + 1}"
            now = time.time()
            self.kept[key] = capture(
                key,
                local_ip=local_ip,
                listed_ip=listed_ip,
                state="installing",
                requested_by=by,
                created_at=now,
                evidence_at=now,
                ends_at=now + (seconds or 3600),
            )
            return self.kept[key]

    def approve(self, capture_id: str, by: str) -> Capture:
        found = self._of(capture_id)
        if found.state != "pending":
            raise Refused(f"it is {found.state}, not pending")
        return self._change(capture_id, state="installing", note=f"approved by {by}")

    def stop_capture(self, capture_id: str, by: str) -> Capture:
        if self._of(capture_id).state == "ended":
            raise Refused("it has ended already")
        return self._change(capture_id, state="removing", note=f"stopped by {by}")

    def extend(self, capture_id: str, seconds: int, by: str) -> Capture:
        return self._change(capture_id, ends_at=self._of(capture_id).ends_at + seconds, note=f"extended by {by}")

    def refresh_feed(self, name: str) -> None:
        if name not in {row.name for row in self.feed_rows}:
            raise NotFound("no such feed")
        self.refreshed.append(name)

    def accept_feed(self, name: str, by: str) -> None:
        row = next((row for row in self.feed_rows if row.name == name), None)
        if row is None:
            raise NotFound("no such feed")
        if row.state != "quarantined":
            raise Refused("nothing is in quarantine")
        self.accepted.append((name, by))
        self.feed_rows = [replace(each, state="ok", detail="") if each is row else each for each in self.feed_rows]

    def pcap(self, capture: Capture) -> Pcap | NotHere:
        more = self._of(capture.id).state != "ended"
        found = self.pcaps.get(capture.id, NotHere("the packets go to 10.0.0.70, which is not this host"))
        if isinstance(found, NotHere):
            return found
        paths = [found] if isinstance(found, Path) else found
        parts = tuple((path, path.stat().st_size if path.exists() else 1) for path in paths)
        return Pcap(parts, more, "no mirrored packet has arrived yet")

    def received(self, capture_id: str) -> ReceivedRow | None:
        return self.receptions.get(capture_id)

    def rates_bps(self, capture_ids: Iterable[str]) -> Mapping[str, int]:
        return {key: 1_500_000 for key in capture_ids if self._of(key).state != "ended"}

    def health(self) -> Health:
        return self.state

    def stalled(self) -> Mapping[str, float]:
        return self.silent

    def metrics(self) -> bytes:
        return b"# HELP sentinel_up One.\n# TYPE sentinel_up gauge\nsentinel_up 1.0\n"

    def _of(self, capture_id: str) -> Capture:
        if capture_id not in self.kept:
            raise NotFound("no such capture")
        return self.kept[capture_id]

    def _change(self, capture_id: str, **changes: object) -> Capture:
        with self.lock:
            self.kept[capture_id] = replace(self._of(capture_id), **changes)  # type: ignore[arg-type]  # a test's own
            return self.kept[capture_id]


def app_over(
    backend: FakeBackend, guard: Guard, polls: LongPolls, counters: WebCounters, streams: PcapStreams | None = None
) -> Flask:
    """The application with every page over one backend."""
    pages = (
        detections.blueprint(backend),
        captures.blueprint(backend, backend, streams or PcapStreams()),
        agents.blueprint(backend),
        switches.blueprint(backend),
        feeds.blueprint(backend, backend.detections),
        flows.blueprint(backend),
        events.blueprint(backend, polls),
        probes.blueprint(backend, guard),
    )
    return create_app(pages, guard, counters)


@contextmanager
def serving(
    backend: FakeBackend, known: Tokens | None = None, names: Sequence[str] = (), waiters: int = 16, followers: int = 8
) -> Iterator[WebServer]:
    """Serve a backend on a free loopback port."""
    counters, polls, streams = WebCounters(), LongPolls(waiters), PcapStreams(followers)
    app = app_over(backend, Guard("127.0.0.1", names, known), polls, counters, streams)
    server = WebServer(app, "127.0.0.1", 0, polls, counters, streams)
    server.start()
    try:
        yield server
    finally:
        server.stop()
