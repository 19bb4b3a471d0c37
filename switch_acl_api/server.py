# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A small WSGI server in which a silent client delays nobody.

The accept loop does nothing but accept: TLS handshake and request are read in a thread per connection. Every connection
has one deadline for handshake and whole request together, so trickling gains nothing; when all threads are taken, a
connection that has not yet delivered its request makes room for the new one, first of the address that holds most.
"""

import io
import json
import logging
import resource
import socket
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple
from urllib.parse import unquote

from switch_acl_api.app import CLIENT_NAME_KEY
from switch_acl_api.connection import Body, Connection, Reader
from switch_acl_api.counters import Counters
from switch_acl_api.limits import (
    LISTEN_BACKLOG,
    MAX_CONNECTIONS,
    MAX_REQUEST_LINE_BYTES,
    REAP_INTERVAL_S,
    REQUEST_DEADLINE_S,
    RESERVED_DESCRIPTORS,
    RESPONSE_DEADLINE_S,
)
from switch_acl_api.version import SERVICE, VERSION

_log = logging.getLogger("switch_acl_api.server")
Wsgi = Callable[..., Iterable[bytes]]


def tls_context(cert: str, key: str, client_ca: Optional[str]) -> ssl.SSLContext:
    """TLS 1.2 and later. Certificates are asked for, not demanded: ``/healthz`` needs none. Raises ``OSError``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    if client_ca is not None:
        context.load_verify_locations(cafile=client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def bound_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(LISTEN_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class _Handler(BaseHTTPRequestHandler):
    """Reads requests of one connection and lets the application answer them."""

    protocol_version = "HTTP/1.1"

    def __init__(self, connection: Connection, app: Wsgi, base_environ: Dict[str, Any]) -> None:
        self._connection = connection
        self._app = app
        self._base_environ = base_environ
        super().__init__(connection.sock, (connection.peer, 0), None)  # type: ignore[arg-type]  # no socketserver here

    def setup(self) -> None:
        self.rfile = io.BufferedReader(Reader(self._connection))
        self.close_connection = True

    def finish(self) -> None:
        return

    def handle_one_request(self) -> None:
        self._connection.begin(REQUEST_DEADLINE_S)
        self.raw_requestline = self.rfile.readline(MAX_REQUEST_LINE_BYTES + 1)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if len(self.raw_requestline) > MAX_REQUEST_LINE_BYTES:
            self.requestline = self.request_version = self.command = ""
            self.send_error(414)
            return
        if not self.parse_request():
            return
        length = self._body_length()
        if length is None:
            return
        body = Body(self.rfile, length, self._connection)
        status, headers, content = self._run(body, length)
        if body.left:
            # What was not read would be taken for the next request.
            self.close_connection = True
        self._answer(status, headers, content)
        if body.left:
            self._connection.linger(body.left)

    def _body_length(self) -> Optional[int]:
        if self.headers.get("Transfer-Encoding") is not None:
            self.send_error(411, "expected Content-Length")
            return None
        lengths = self.headers.get_all("Content-Length") or ["0"]
        if len(lengths) != 1 or not lengths[0].strip().isdigit() or len(lengths[0].strip()) > 15:
            self.send_error(400, "not a Content-Length")
            return None
        return int(lengths[0])

    def _run(self, body: Body, length: int) -> Tuple[str, List[Tuple[str, str]], bytes]:
        started: List[Tuple[str, List[Tuple[str, str]]]] = []

        def start_response(status: str, headers: List[Tuple[str, str]], exc_info: Any = None) -> Any:  # noqa: ARG001 -- WSGI's signature
            started[:] = [(status, headers)]

        result = self._app(self._environ(body, length), start_response)
        try:
            content = b"".join(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        return started[0][0], started[0][1], content

    def _environ(self, body: Body, length: int) -> Dict[str, Any]:
        path, _, query = self.path.partition("?")
        environ = dict(self._base_environ)
        environ.update(
            {
                "REQUEST_METHOD": self.command,
                "PATH_INFO": unquote(path, "latin-1"),
                "QUERY_STRING": query,
                "SERVER_PROTOCOL": self.request_version,
                "REMOTE_ADDR": self._connection.peer,
                "wsgi.input": io.BufferedReader(body),
                CLIENT_NAME_KEY: self._connection.client_name,
            }
        )
        if length or self.headers.get("Content-Length") is not None:
            environ["CONTENT_LENGTH"] = str(length)
        if self.headers.get("Content-Type") is not None:
            environ["CONTENT_TYPE"] = self.headers["Content-Type"]
        for name in set(self.headers.keys()):
            key = "HTTP_" + name.upper().replace("-", "_")
            if "_" not in name and key not in {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"}:
                environ[key] = ",".join(self.headers.get_all(name) or [])
        return environ

    def _answer(self, status: str, headers: List[Tuple[str, str]], content: bytes) -> None:
        kept = [(name, value) for name, value in headers if name.lower() not in {"content-length", "connection"}]
        if not status.startswith(("204", "304")):
            kept.append(("Content-Length", str(len(content))))
        kept += [("Date", self.date_time_string()), ("Server", "{}/{}".format(SERVICE, VERSION))]
        if self.close_connection:
            kept.append(("Connection", "close"))
        head = "HTTP/1.1 {}\r\n{}\r\n".format(status, "".join("{}: {}\r\n".format(*pair) for pair in kept))
        self._send(head.encode("latin-1") + (b"" if self.command == "HEAD" else content))

    def _send(self, data: bytes) -> None:
        self._connection.begin(RESPONSE_DEADLINE_S)
        self._connection.sock.settimeout(self._connection.left())
        self._connection.sock.sendall(data)

    def send_error(self, code: int, message: Optional[str] = None, explain: Optional[str] = None) -> None:  # noqa: ARG002 -- as the base class
        """What is no HTTP at all is answered in JSON, too, and ends the connection."""
        self.close_connection = True
        text = json.dumps({"error": message or self.responses.get(code, ("error",))[0]}) + "\n"
        self._answer(
            "{} {}".format(int(code), self.responses.get(code, ("Error",))[0]),
            [("Content-Type", "application/json")],
            text.encode("ascii"),
        )

    def send_response_only(self, code: int, message: Optional[str] = None) -> None:  # noqa: ARG002 -- as the base class
        """Only for ``100 Continue``."""
        self._connection.sock.settimeout(self._connection.left())
        self._connection.sock.sendall("HTTP/1.1 {} Continue\r\n".format(int(code)).encode("ascii"))

    def end_headers(self) -> None:
        self._connection.sock.sendall(b"\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ARG002 -- as the base class
        return


class Server:
    """``serve`` runs in the calling thread until ``stop`` is called from another."""

    def __init__(self, listener: socket.socket, app: Wsgi, tls: Optional[ssl.SSLContext], counters: Counters) -> None:
        self._listener = listener
        self._app = app
        self._tls = tls
        self._counters = counters
        self._mutex = threading.Lock()
        self._connections: Dict[Connection, threading.Thread] = {}
        # Each has one descriptor, and none of them may be the one that a removal needs.
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = max(1, min(MAX_CONNECTIONS, descriptors - RESERVED_DESCRIPTORS))
        self._stopping = threading.Event()
        host, port = listener.getsockname()[:2]
        self.address: Tuple[str, int] = (host, port)
        self._base_environ: Dict[str, Any] = {
            "SCRIPT_NAME": "",
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https" if tls else "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            # Werkzeug then trusts wsgi.input to end by itself; Body does.
            "wsgi.input_terminated": True,
        }

    def serve(self) -> None:
        self._listener.settimeout(REAP_INTERVAL_S)
        reaper = threading.Thread(target=self._reap, name="reaper", daemon=True)
        reaper.start()
        try:
            while not self._stopping.is_set():
                self._accept()
        finally:
            self._listener.close()
            reaper.join()
            self._end_all()

    def stop(self) -> None:
        self._stopping.set()

    def _accept(self) -> None:
        try:
            sock, address = self._listener.accept()
        except socket.timeout:
            return
        except OSError as error:
            # Out of descriptors, most likely: what is open must end first.
            _log.error("accept: %s", error)
            self._stopping.wait(REAP_INTERVAL_S)
            return
        connection = Connection(sock, address[0])
        if not self._make_room():
            self._counters.add("connections", result="refused")
            connection.close()
            return
        thread = threading.Thread(target=self._work, args=(connection,), name="request", daemon=True)
        with self._mutex:
            self._connections[connection] = thread
        try:
            thread.start()
        except RuntimeError:
            self._counters.add("connections", result="refused")
            self._forget(connection)

    def _make_room(self) -> bool:
        """Cut a connection that has not delivered its request, if need be; false when all are being served."""
        with self._mutex:
            if len(self._connections) < self._most:
                return True
            idle = [c for c in self._connections if c.receiving]
            if not idle:
                return False
            per_peer: Dict[str, int] = {}
            for connection in idle:
                per_peer[connection.peer] = per_peer.get(connection.peer, 0) + 1
            victim = max(idle, key=lambda c: (per_peer[c.peer], -c.deadline))
            # Its thread ends in its own time; it no longer counts.
            del self._connections[victim]
        self._counters.add("connections", result="shed")
        victim.cut()
        return True

    def _reap(self) -> None:
        """A second hand beside the timeouts of the threads themselves."""
        while not self._stopping.wait(REAP_INTERVAL_S):
            now = time.monotonic()
            with self._mutex:
                late = [c for c in self._connections if c.receiving and c.deadline + REAP_INTERVAL_S < now]
            for connection in late:
                connection.cut()

    def _work(self, connection: Connection) -> None:
        result = "served"
        try:
            if self._tls is not None:
                self._handshake(connection, self._tls)
            _Handler(connection, self._app, self._base_environ)
        except socket.timeout:
            result = "timeout"
        except ssl.SSLError:
            result = "tls_error"
        except OSError:
            result = "broken"
        except Exception:  # noqa: BLE001 -- one connection's end, not the server's
            result = "error"
            _log.exception("a bug while serving %s", connection.peer)
        finally:
            self._counters.add("connections", result=result)
            self._forget(connection)

    def _handshake(self, connection: Connection, tls: ssl.SSLContext) -> None:
        connection.sock.settimeout(connection.left())
        wrapped = tls.wrap_socket(connection.sock, server_side=True, do_handshake_on_connect=False)
        connection.sock = wrapped
        wrapped.settimeout(connection.left())
        wrapped.do_handshake()
        connection.client_name = common_name(wrapped.getpeercert())

    def _forget(self, connection: Connection) -> None:
        connection.close()
        with self._mutex:
            self._connections.pop(connection, None)

    def _end_all(self) -> None:
        with self._mutex:
            left = dict(self._connections)
        for connection in left:
            if connection.receiving:
                connection.cut()
        deadline = time.monotonic() + RESPONSE_DEADLINE_S
        for connection, thread in left.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            connection.cut()


def common_name(certificate: Any) -> Optional[str]:
    """The subject's common name of a verified certificate (``SSLSocket.getpeercert``); ``None`` without exactly one."""
    if not certificate:
        return None
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else None
