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
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple
from urllib.parse import unquote

from switch_acl_api.app import CLIENT_NAME_KEY, LOCAL_KEY, PAUSE_KEY
from switch_acl_api.connection import Body, Connection, Reader
from switch_acl_api.counters import Counters
from switch_acl_api.head import BadHeadError, Head, read_head
from switch_acl_api.limits import (
    LISTEN_BACKLOG,
    MAX_CONNECTIONS,
    MAX_LINGER_BYTES,
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


class _Handler:
    """Reads requests of one connection and lets the application answer them."""

    def __init__(self, connection: Connection, app: Wsgi, base_environ: Dict[str, Any]) -> None:
        self._connection = connection
        self._app = app
        self._base_environ = base_environ
        self._source = io.BufferedReader(Reader(connection))
        self._closes = False

    def serve(self) -> None:
        """Answer one request after another until the connection is to end. Raises ``OSError``."""
        while not self._closes:
            self._connection.begin(REQUEST_DEADLINE_S)
            try:
                head = read_head(self._source)
            except BadHeadError as error:
                self._refuse(error)
                return
            if head is None:
                return
            self._closes = not head.keeps_alive
            self._serve_one(head)

    def _serve_one(self, head: Head) -> None:
        if head.expects_continue:
            self._connection.sock.settimeout(self._connection.left())
            self._connection.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = Body(self._source, head.length, self._connection)
        status, headers, content = self._run(body, head)
        if body.left:
            # What was not read would be taken for the next request.
            self._closes = True
        self._answer(status, headers, b"" if head.method == "HEAD" else content, len(content))
        if body.left:
            self._connection.linger(body.left)

    def _run(self, body: Body, head: Head) -> Tuple[str, List[Tuple[str, str]], bytes]:
        started: List[Tuple[str, List[Tuple[str, str]]]] = []

        def start_response(status: str, headers: List[Tuple[str, str]], exc_info: Any = None) -> Any:  # noqa: ARG001 -- WSGI's signature
            started[:] = [(status, headers)]

        result = self._app(self._environ(body, head), start_response)
        try:
            content = b"".join(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        return started[0][0], started[0][1], content

    def _environ(self, body: Body, head: Head) -> Dict[str, Any]:
        path, _, query = head.target.partition("?")
        environ = dict(self._base_environ)
        environ.update(
            {
                "REQUEST_METHOD": head.method,
                "PATH_INFO": unquote(path, "latin-1"),
                "QUERY_STRING": query,
                "SERVER_PROTOCOL": "HTTP/1.{}".format(head.minor),
                "REMOTE_ADDR": self._connection.peer,
                "wsgi.input": io.BufferedReader(body),
                CLIENT_NAME_KEY: self._connection.client_name,
                PAUSE_KEY: self._connection.pause,
                LOCAL_KEY: self._connection.sock.getsockname()[0],
            }
        )
        if "content-length" in head.headers:
            environ["CONTENT_LENGTH"] = str(head.length)
        if "content-type" in head.headers:
            environ["CONTENT_TYPE"] = head.headers["content-type"][-1]
        for name in head.headers:
            # "a_b" and "a-b" would be one key.
            if "_" not in name and name not in {"content-type", "content-length"}:
                environ["HTTP_" + name.upper().replace("-", "_")] = head.get(name)
        return environ

    def _answer(self, status: str, headers: List[Tuple[str, str]], content: bytes, length: int) -> None:
        kept = [(name, value) for name, value in headers if name.lower() not in {"content-length", "connection"}]
        if not status.startswith(("204", "304")):
            kept.append(("Content-Length", str(length)))
        kept += [("Date", formatdate(usegmt=True)), ("Server", "{}/{}".format(SERVICE, VERSION))]
        if self._closes:
            kept.append(("Connection", "close"))
        head = "HTTP/1.1 {}\r\n{}\r\n".format(status, "".join("{}: {}\r\n".format(*pair) for pair in kept))
        self._connection.begin(RESPONSE_DEADLINE_S)
        self._connection.sock.settimeout(self._connection.left())
        self._connection.sock.sendall(head.encode("latin-1") + content)

    def _refuse(self, error: BadHeadError) -> None:
        """A head that is none is answered in JSON, too, and ends the connection."""
        self._closes = True
        content = (json.dumps({"error": error.reason}) + "\n").encode("ascii")
        status = "{} {}".format(error.status, HTTPStatus(error.status).phrase)
        self._answer(status, [("Content-Type", "application/json")], content, len(content))
        self._connection.linger(MAX_LINGER_BYTES)


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
            _Handler(connection, self._app, self._base_environ).serve()
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
