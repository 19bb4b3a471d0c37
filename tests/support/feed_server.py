# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A web server on loopback that serves feeds as badly as it is told to, octet by octet."""

import contextlib
import gzip
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request; header names are lower case."""

    path: str
    headers: dict[str, str]


Answer = Callable[[Request, socket.socket], None]


@dataclass(slots=True)
class FeedServer:
    """``answers`` maps a path to what happens there; ``requests`` are all heads that came, in order.

    ``client_ca`` is what clients' certificates are checked with: one without such a certificate is not heard.
    """

    tls: Path | None = None
    client_ca: Path | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    _socket: socket.socket = field(init=False)
    _threads: list[threading.Thread] = field(default_factory=list)
    _open: list[socket.socket] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "FeedServer":
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for connection in self._open:
            connection.close()

    def url(self, path: str) -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self._socket.getsockname()[1]}{path}"

    def serve(self, path: str, answer: Answer) -> str:
        """Answer ``path`` like this from now on; returns its URL."""
        self.answers[path] = answer
        return self.url(path)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            self._start(self._talk, connection)

    def _talk(self, connection: socket.socket) -> None:
        # A client that hangs up in the middle is what many of these tests are about.
        with contextlib.suppress(OSError):
            if self.tls is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.tls)
                if self.client_ca is not None:
                    context.load_verify_locations(self.client_ca)
                    context.verify_mode = ssl.CERT_REQUIRED
                connection = context.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            request = _read_head(connection)
            self.requests.append(request)
            self.answers.get(request.path, status("404 Not Found"))(request, connection)
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()


def _read_head(connection: socket.socket) -> Request:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(4096)
        if not chunk:
            raise ConnectionResetError
        data += chunk
    first, *lines = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Request(first.split()[1], {name.lower(): value.strip() for name, _, value in pairs})


def body(data: bytes, *headers: str, length: int | None = None) -> Answer:
    """200 with this body; ``length`` lies about it."""
    lines = [f"Content-Length: {len(data) if length is None else length}", *headers]
    return raw("200 OK", lines, data)


def raw(code: str, headers: list[str], data: bytes = b"") -> Answer:
    head = "\r\n".join([f"HTTP/1.1 {code}", *headers, "Connection: close", "", ""]).encode()
    return lambda request, connection: connection.sendall(head + data)


def status(code: str, *headers: str) -> Answer:
    return raw(code, ["Content-Length: 0", *headers])


def redirect(location: str) -> Answer:
    return status("302 Found", f"Location: {location}")


def conditional(data: bytes, etag: str) -> Answer:
    """200 with an ETag, 304 for who already has it."""

    def answer(request: Request, connection: socket.socket) -> None:
        known = request.headers.get("if-none-match") == etag
        (status("304 Not Modified") if known else body(data, f"ETag: {etag}"))(request, connection)

    return answer


def endless(request: Request, connection: socket.socket) -> None:
    """A body without an end, as fast as it is taken."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"192.0.2.1\n" * 4096)


def tunnel(request: Request, connection: socket.socket) -> None:
    """What a proxy does for CONNECT: octets both ways, unread."""
    host, _, port = request.path.rpartition(":")
    with socket.create_connection((host, int(port))) as far:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=_pump, args=(far, connection), daemon=True)
        back.start()
        _pump(connection, far)
        back.join(5)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(4096):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)


def trickle(data: bytes, pause_s: float) -> Answer:
    """One octet at a time, head included."""

    def answer(request: Request, connection: socket.socket) -> None:
        for octet in b"HTTP/1.1 200 OK\r\n\r\n" + data:
            connection.sendall(bytes([octet]))
            time.sleep(pause_s)

    return answer


def silent(request: Request, connection: socket.socket) -> None:
    """Never a word; the client has to leave."""
    while connection.recv(4096):
        continue


def hang_up(request: Request, connection: socket.socket) -> None:
    """No answer at all."""


def gzip_bomb(size: int) -> Answer:
    return body(gzip.compress(b"\0" * size, 9), "Content-Encoding: gzip")


def self_signed(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody trusts, with its key, in one file."""
    key, certificate, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both
