# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The REST API and the console, on a socket."""

import logging
from collections.abc import Iterable

from flask import Blueprint

from sentinel import tokenfile
from sentinel.components.component import Component
from sentinel.config.settings import Settings
from sentinel.readings import Reading, counters
from sentinel.web.api import probes
from sentinel.web.app import create_app
from sentinel.web.counters import WebCounters
from sentinel.web.guards import Guard
from sentinel.web.longpoll import LongPolls
from sentinel.web.pcap import PcapStreams
from sentinel.web.server import WebServer
from sentinel.web.tokens import parse_tokens

log = logging.getLogger(__name__)


class Web(Component):
    """Serves ``pages`` and the probes of ``health``; ``polls`` and ``streams`` bound the pages that hold a thread."""

    def __init__(
        self,
        settings: Settings,
        health: probes.Source,
        pages: Iterable[Blueprint],
        polls: LongPolls,
        streams: PcapStreams,
    ) -> None:
        self._counters = WebCounters()
        host, port = settings.web.listen
        file = settings.web.token_file
        tokens = parse_tokens(tokenfile.read(file, readers="owner"), str(file)) if file else None
        guard = Guard(host, settings.web.hosts, tokens)
        app = create_app([*pages, probes.blueprint(health, guard)], guard, self._counters)
        self._server = WebServer(app, host, port, polls, self._counters, streams)

    def start(self) -> None:
        self._server.start()
        log.info("console and API on http://%s:%d/", self._server.host, self._server.port)

    def stop(self) -> None:
        self._server.stop()

    def readings(self) -> Iterable[Reading]:
        return counters("web", self._counters)
