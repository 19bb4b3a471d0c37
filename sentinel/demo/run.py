# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""`sentinel demo`: the whole loop on the emulated fabric, with the real daemon, real shims and the console.

Exit code 0 says that every step of the loop was seen to happen and the captured file holds exactly what was said; 1
says that something is missing, which is then named.
"""

import logging
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dpkt

from sentinel.config.settings import load
from sentinel.daemon import Daemon
from sentinel.demo import traffic, verdict
from sentinel.demo.fabric import Fabric, Watched
from sentinel.demo.observed import Observed
from sentinel.demo.settings import COLLECTOR, Pace, choose_ports, settings_text
from sentinel.demo.shims import Shim
from sentinel.demo.story import Line, Teller, line_of
from sentinel.demo.topology import HOSTS, LISTED, SWITCHES, Host
from sentinel.errors import SentinelError
from sentinel.rows import Pcap

SEED = 2014
SAMPLING_RATE = 8
_LONGEST_EPISODE_S = 60.0
_BEFORE_TALK_S = 1.5
_LOOP_PAUSE_S = 5.0
_POLL_S = 0.25
_FRAMES_LINE_S = 4.0


class Demo:
    """One run of the demonstration in a directory of its own."""

    def __init__(self, directory: Path, teller: Teller, pace: Pace) -> None:
        self.directory = directory
        self.pace = pace
        self.teller = teller
        self.files: list[Path] = []
        self.observed = Observed()
        self._names = {
            **{host.address: host.name for host in (*HOSTS, *LISTED)},
            **{node.agent: node.name for node in SWITCHES},
        }
        self.ports = choose_ports()
        self.shims = [Shim(node, directory, COLLECTOR, self.ports.erspan, 2 * pace.lease_s) for node in SWITCHES]
        self.fabric = Fabric(
            {shim.node.name: shim.endpoints.frames for shim in self.shims},
            ("127.0.0.1", self.ports.sflow),
            SAMPLING_RATE,
            SEED,
        )
        self._daemon: Daemon | None = None
        self._stop = threading.Event()

    @property
    def console_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.web}/"

    def start(self, running: ExitStack) -> None:
        """Shims, daemon, fabric; each is stopped again by ``running``, in reverse."""
        for shim in self.shims:
            shim.start()
            running.callback(shim.stop)
        for shim in self.shims:
            shim.wait()
        names = ", ".join(shim.node.name for shim in self.shims)
        self.teller.tell(Line("fabric", f"{names}: a real switch-acl-api answers for each, no rule on any"))
        path = self.directory / "sentinel.toml"
        path.write_text(settings_text(self.directory, self.ports, self.shims, self.pace), encoding="utf-8")
        self._daemon = Daemon(load(path))
        self._daemon.report.on_event.append(self._event)
        self._daemon.start()
        running.callback(self._daemon.stop)
        self.teller.tell(Line("sentinel", f"listens to sFlow; console at {self.console_url}", "bold"))
        self.fabric.start()
        running.callback(self.fabric.stop)
        self.fabric.add(traffic.background(SEED, self.fabric.clock()))
        self.teller.tell(
            Line("fabric", f"hosts talk; every switch samples 1 frame in {SAMPLING_RATE} and tells sentinel")
        )
        watcher = threading.Thread(target=self._watch_rules, name="demo-rules", daemon=True)
        watcher.start()
        running.callback(watcher.join)
        running.callback(self._stop.set)

    def episode(self, number: int, until: float) -> list[str]:
        """One host talks with a listed address and stops; returns what was missing. Ends at ``until`` at the latest."""
        # By turns behind one leaf and the other, and every host once before the first comes again.
        host, listed = HOSTS[(number * 3 + number // 2) % len(HOSTS)], LISTED[number % len(LISTED)]
        pair = frozenset((host.address, listed.address))
        watched = self.fabric.watch(host.address, listed.address)
        self.observed.forget(pair)
        begin = self.fabric.clock() + _BEFORE_TALK_S
        self.fabric.add(traffic.beacon(SEED + number, begin, begin + self.pace.talk_s, host, listed))
        self._sleep_until(time.monotonic() + _BEFORE_TALK_S, until)
        self.teller.tell(
            Line(host.name, f"({host.address}, on {host.switch}) begins to fetch from {listed.address}", "red")
        )
        stopped = self._follow(pair, watched, begin + self.pace.talk_s, until)
        if stopped:
            self.teller.tell(Line(host.name, f"stops; it sent and received {len(watched.sent)} frames", "red"))
        while stopped and pair not in self.observed.ended and time.monotonic() < until:
            self._stop.wait(_POLL_S)
        return self._judge(host, pair, watched, stopped)

    def _follow(self, pair: frozenset[str], watched: Watched, talk_ends: float, until: float) -> bool:
        """Tell of the frames as they come in; true once the host has stopped."""
        before, told_at, told = self._frames(), time.monotonic(), 0
        last, last_at = -1, time.monotonic()
        onlookers: set[str] = set()
        while time.monotonic() < until:
            self._stop.wait(_POLL_S)
            now, frames = time.monotonic(), self._frames() - before
            if frames and (not told or (frames > told and now - told_at >= _FRAMES_LINE_S)):
                told, told_at = frames, now
                self.teller.tell(Line("wireshark", f"could read {frames} mirrored frames of the pair by now"))
                self._tell_onlookers(pair, onlookers)
            if len(watched.sent) != last:
                last, last_at = len(watched.sent), now
            if self.fabric.clock() >= talk_ends and now - last_at > 1.0:
                return True
        return False

    def _tell_onlookers(self, pair: frozenset[str], told: set[str]) -> None:
        """Once for each switch that sees the pair only wrapped."""
        if self._daemon is None:
            return
        one, other = sorted(pair)
        detection = self._daemon.captures.detection_of(one, other)
        observers = detection.observers if detection else ()
        bare = {observer.agent for observer in observers if observer.capturable}
        for observer in observers:
            if observer.agent not in bare | told:
                told.add(observer.agent)
                text = f"sampled the pair too, but only inside vni {observer.vni}, where no rule would match"
                self.teller.tell(Line(self._names[observer.agent], text))

    def _judge(self, host: Host, pair: frozenset[str], watched: Watched, stopped: bool) -> list[str]:
        capture_id = self.observed.capture_id.get(pair)
        paths = self._pcaps(capture_id) if capture_id else []
        captured = [frame for path in paths for frame in frames_of(path)]
        wrong = verdict.missing(
            verdict.Evidence(
                switch=host.switch,
                detected=pair in self.observed.detected,
                mirrored_at=self.observed.active_at.get(pair),
                stopped=stopped,
                ended=pair in self.observed.ended,
                sent=watched.sent,
                captured=captured,
                rules_seen={switch: frozenset(rules) for switch, rules in self.observed.rules_seen.items()},
                rules_left={shim.node.name: shim.rules() for shim in self.shims},
            )
        )
        if not wrong:
            self.files += paths
            self.teller.tell(Line("verdict", f"no rule is left on {', '.join(self._switches())}", "green"))
            said = f"the file holds {len(captured)} frames, exactly what the two said from the first mirrored one on"
            self.teller.tell(Line("verdict", said, "green"))
        for text in wrong:
            self.teller.tell(Line("verdict", text, "bold red"))
        return wrong

    def _switches(self) -> list[str]:
        return [shim.node.name for shim in self.shims]

    def _frames(self) -> int:
        return self._daemon.erspan.frames if self._daemon else 0

    def _pcaps(self, capture_id: str) -> list[Path]:
        capture = self._daemon.captures.capture(capture_id) if self._daemon else None
        found = self._daemon.erspan.pcap(capture) if self._daemon and capture else None
        return [path for path, _ in found.parts] if isinstance(found, Pcap) else []

    def _event(self, event: Mapping[str, Any]) -> None:
        self.observed.take(event)
        line = line_of(event, self._names)
        if line is not None:
            self.teller.tell(line)

    def _watch_rules(self) -> None:
        while not self._stop.wait(_POLL_S):
            for shim in self.shims:
                self.observed.rules_seen[shim.node.name].update(shim.rules() or ())

    def _sleep_until(self, at: float, latest: float) -> None:
        self._stop.wait(max(0.0, min(at, latest) - time.monotonic()))


def run_demo(exit_after_s: float | None = None, teller: Teller | None = None, pace: Pace | None = None) -> int:
    """Play until Ctrl-C, or for so many seconds; 0 when every episode happened as it should, else 1."""
    teller = teller or Teller()
    if threading.current_thread() is threading.main_thread():
        # So that the shims are stopped in order then too.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    until = time.monotonic() + exit_after_s if exit_after_s is not None else float("inf")
    directory = Path(tempfile.mkdtemp(prefix="sentinel-demo-"))
    wrong: list[str] = []
    files: list[Path] = []
    episodes = 0
    try:
        with ExitStack() as running:
            running.enter_context(_logging_to(directory / "sentinel.log"))
            demo = Demo(directory, teller, pace or Pace())
            files = demo.files
            demo.start(running)
            while episodes == 0 or time.monotonic() + _LONGEST_EPISODE_S < until:
                wrong += demo.episode(episodes, min(until, time.monotonic() + _LONGEST_EPISODE_S))
                episodes += 1
                if exit_after_s is None and episodes == 1:
                    teller.tell(
                        Line("demo", f"goes on with other hosts until Ctrl-C; console: {demo.console_url}", "bold")
                    )
                time.sleep(min(_LOOP_PAUSE_S, max(0.0, until - time.monotonic())))
            time.sleep(max(0.0, until - time.monotonic()))
    except KeyboardInterrupt:
        teller.plain()
    except (OSError, RuntimeError, SentinelError) as error:
        wrong.append(str(error))
    teller.plain()
    for path in files:
        teller.plain(f"captured: {path}")
    teller.plain(f"settings and logs: {directory}")
    if wrong or not episodes:
        teller.plain("the loop did NOT happen as it should: " + "; ".join(wrong or ["no episode was finished"]))
        return 1
    teller.plain("the whole loop happened: sampled, detected, mirrored, captured, quiet, gone.")
    return 0


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """The daemon's log goes to a file: the terminal is for the story."""
    logger = logging.getLogger("sentinel")
    before = logger.level, logger.propagate
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
        logger.setLevel(before[0])
        logger.propagate = before[1]


def frames_of(path: Path) -> list[bytes]:
    """The frames of a pcapng file, read by somebody else's reader."""
    with path.open("rb") as file:
        return [bytes(data) for _, data in dpkt.pcapng.Reader(file)]
