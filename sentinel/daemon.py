# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The daemon: its components in order, and who hears what of whom."""

from sentinel.components.capture import Captures
from sentinel.components.component import Component, Lifecycle
from sentinel.components.erspan import Erspan
from sentinel.components.feeds import Feeds
from sentinel.components.flows import Flows
from sentinel.components.jobs import Jobs
from sentinel.components.overview import Overview
from sentinel.components.report import Report
from sentinel.components.sflow import Sflow
from sentinel.components.statedir import StateDir
from sentinel.components.switches import Switches
from sentinel.components.web import Web
from sentinel.config.settings import Settings
from sentinel.web.api import agents, captures, detections, events, feeds, flows, switches
from sentinel.web.longpoll import LongPolls
from sentinel.web.pcap import PcapStreams


class Daemon:
    """One running Sentinel. The constructor only builds; rules stay on the switches after ``stop``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.report = Report(settings.report, settings.state_dir)
        self.feeds = Feeds(settings, self.report.tell)
        self.switches = Switches(settings)
        self.sflow = Sflow(settings, self.feeds.current, self.switches.of_agent)
        self.flows = Flows(self.sflow.take_flows)
        self.captures = Captures(
            settings,
            self.feeds.confidence,
            fabric=self.switches,
            lookup=self.feeds.lookup,
            flows_between=self.flows.between,
            tell=self.report.tell,
            tell_live=self.report.tell_live,
        )
        self.erspan = Erspan(settings, self.switches.of_source, self.report.tell)

        self.sflow.on_matches.append(self.captures.matched)
        self.sflow.on_table_space.append(self.captures.table_space)
        self.sflow.on_flows.append(self.flows.add)
        self.feeds.on_new_lists.append(self.captures.new_lists)
        self.switches.on_event.append(self.captures.answered)
        self.switches.on_shim_address.append(self.captures.protect)
        self.captures.on_saved.append(self.erspan.expect)
        self.captures.on_detection.append(self.feeds.count_detection)
        self.captures.on_capture.append(self.feeds.count_capture)

        # In the order of their start: a component that takes reports runs before those that report.
        parts: list[Component] = [StateDir(settings.state_dir), self.report, self.feeds, self.switches, self.captures]
        parts += (self.erspan, self.flows)
        parts.append(self.sflow)
        self.overview = Overview(
            settings,
            parts,
            agents=self.sflow.agents,
            sockets=lambda: [*self.sflow.sockets(), *self.erspan.sockets()],
            indicators=lambda: len(self.feeds.current.blacklist),
            implementation=self.sflow.implementation,
        )
        polls, streams = LongPolls(), PcapStreams()
        pages = (
            detections.blueprint(self.captures),
            captures.blueprint(self.captures, self.erspan, streams),
            agents.blueprint(self.sflow),
            switches.blueprint(self.captures),
            feeds.blueprint(self.feeds, self.captures.detections),
            flows.blueprint(self.flows),
            events.blueprint(self.report, polls),
        )
        self.web = Web(settings, self.overview, pages, polls, streams)
        parts += (self.overview, self.web)
        parts.append(Jobs(parts))
        self._lifecycle = Lifecycle(parts)

    def start(self) -> None:
        """Start all components; what was started is stopped again if a later one cannot start."""
        self._lifecycle.start()

    def stop(self) -> None:
        """Stop all components in reverse."""
        self._lifecycle.stop()
