# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The application on a socket: waitress, one thread for the sockets and a bounded number for the requests.

waitress receives a request whole before a thread sees it and sends an answer after the thread is done with it, so a
slow client holds a connection but never a thread. Its own ``run`` cannot be ended from outside; the loop here is the
same, with a stop.
"""

import contextlib
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.server import create_server

from sentinel.errors import OutsideError
from sentinel.limits import (
    IDLE_CONNECTION_S,
    MAX_LONG_POLLS,
    MAX_PCAP_STREAMS,
    MAX_REQUEST_HEADER_BYTES,
    MAX_REQUEST_RECEIVED_BYTES,
    MAX_WEB_CONNECTIONS,
    REQUEST_ARRIVAL_S,
    WEB_STOP_GRACE_S,
    WEB_WORKER_THREADS,
)
from sentinel.web.counters import WebCounters
from sentinel.web.longpoll import LongPolls
from sentinel.web.pcap import PcapStreams

if TYPE_CHECKING:
    from flask import Flask

log = logging.getLogger(__name__)

BACKLOG = 128
LOOP_TICK_S = 1.0
DRAIN_TICK_S = 0.05


class WebServer:
    """Serves an application between ``start`` and ``stop``; both once."""

    def __init__(
        self,
        app: "Flask",
        host: str,
        port: int,
        polls: LongPolls,
        counters: WebCounters,
        streams: PcapStreams | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self._app = app
        self._polls = polls
        self._streams = streams or PcapStreams()
        self._counters = counters
        self._stopping = threading.Event()
        self._map: dict[int, Any] = {}
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self._arriving: dict[int, tuple[object, float]] = {}

    def start(self) -> None:
        """Bind and serve; ``port`` is then the one bound. Raises ``OutsideError`` where the address cannot be had."""
        # Its warning per queued request would be one line per request under load.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        listening = self._bind()
        self.port = listening.getsockname()[1]
        self._server = create_server(
            self._app,
            map=self._map,
            sockets=[listening],
            threads=WEB_WORKER_THREADS + MAX_LONG_POLLS + MAX_PCAP_STREAMS,
            backlog=BACKLOG,
            connection_limit=MAX_WEB_CONNECTIONS,
            channel_timeout=IDLE_CONNECTION_S,
            cleanup_interval=5,
            # One request ahead is read while one is answered: only so is a client that went away noticed.
            channel_request_lookahead=1,
            max_request_header_size=MAX_REQUEST_HEADER_BYTES,
            max_request_body_size=MAX_REQUEST_RECEIVED_BYTES,
            inbuf_overflow=MAX_REQUEST_RECEIVED_BYTES,
            clear_untrusted_proxy_headers=True,
            log_socket_errors=False,
            asyncore_use_poll=True,
            ident=None,
        )
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()

    def _bind(self) -> socket.socket:
        try:
            found = socket.getaddrinfo(self.host or None, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, kind, proto, _, address = found[0]
            listening = socket.socket(family, kind, proto)
        except OSError as error:
            raise OutsideError(f"web: cannot listen on {self.host} port {self.port}: {error.strerror}") from error
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listening.bind(address)
        except OSError as error:
            listening.close()
            raise OutsideError(f"web: cannot listen on {self.host} port {self.port}: {error.strerror}") from error
        return listening

    def stop(self) -> None:
        """Stop accepting, let answers under way finish, close everything; lasts twice ``WEB_STOP_GRACE_S`` at most."""
        self._polls.stop()
        self._streams.stop()
        self._stopping.set()
        if self._thread is None:
            return
        self._server.pull_trigger()
        self._thread.join()
        self._thread = None
        # Not by the thread itself: it may be through before the line that wakes it.
        self._server.trigger.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._turn(LOOP_TICK_S)
            self._close_late_arrivals(time.monotonic())
        self._close_down()

    def _turn(self, timeout_s: float) -> None:
        try:
            wasyncore.loop(timeout=timeout_s, use_poll=True, map=self._map, count=1)
        except Exception:
            self._counters.count_error()
            log.exception("web: the socket loop failed")
            # Whatever it is may be there at once again.
            self._stopping.wait(LOOP_TICK_S)

    def _close_late_arrivals(self, now: float) -> None:
        """Close connections whose request does not arrive whole in time, however steadily it drips."""
        arriving: dict[int, tuple[object, float]] = {}
        for channel in list(self._server.active_channels.values()):
            partial = channel.request
            if partial is None:
                continue
            seen, since = self._arriving.get(id(channel), (None, now))
            if seen is not partial:
                since = now
            if now - since < REQUEST_ARRIVAL_S:
                arriving[id(channel)] = (partial, since)
            else:
                self._counters.count_slow_request()
                channel.handle_close()
        self._arriving = arriving

    def _close_down(self) -> None:
        wasyncore.dispatcher.close(self._server)
        deadline = time.monotonic() + WEB_STOP_GRACE_S
        while self._busy() and time.monotonic() < deadline:
            self._turn(DRAIN_TICK_S)
        for channel in list(self._server.active_channels.values()):
            with contextlib.suppress(OSError):
                channel.handle_close()
        self._server.task_dispatcher.shutdown(timeout=WEB_STOP_GRACE_S)

    def _busy(self) -> bool:
        channels = list(self._server.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)
