# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The head of an HTTP/1.1 request, read before anything is known of its sender. Pure, and strict (RFC 9112).

A line that is not understood ends the connection: skipped or mended, it would make this server and a proxy before it
disagree about where a request ends.
"""

import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from switch_acl_api.limits import MAX_HEAD_BYTES, MAX_HEADERS, MAX_REQUEST_LINE_BYTES

_REQUEST = re.compile(rb"([A-Z]{1,16}) (/[\x21-\x7e]*) HTTP/1\.([01])\Z")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)\Z")
_LENGTH = re.compile(r"[0-9]{1,15}\Z")


class BadHeadError(Exception):
    """``status`` is that of the answer, after which the connection ends."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Head(NamedTuple):
    """``headers`` by lower-case name, all values of a name in their order. ``length`` is that of the body."""

    method: str
    target: str
    minor: int
    headers: Dict[str, List[str]]
    length: int

    def get(self, name: str) -> Optional[str]:
        """The values of this header in one, ``None`` without it."""
        values = self.headers.get(name)
        return None if values is None else ",".join(values)

    @property
    def keeps_alive(self) -> bool:
        words = {word.strip().lower() for word in (self.get("connection") or "").split(",")}
        return self.minor == 1 and "close" not in words

    @property
    def expects_continue(self) -> bool:
        return self.minor == 1 and (self.get("expect") or "").lower() == "100-continue"


def read_head(stream: Any) -> Optional[Head]:
    """Read one head from ``stream``, never more than ``MAX_HEAD_BYTES``; ``None`` at its end. Raises ``BadHeadError``.

    A head that is cut short by the end of the stream is bad.
    """
    line = stream.readline(MAX_REQUEST_LINE_BYTES + 1)
    if not line:
        return None
    if len(line) > MAX_REQUEST_LINE_BYTES:
        raise BadHeadError(414, "the request line is too long")
    found = _REQUEST.match(_content(line))
    if found is None:
        raise BadHeadError(400, "not a request line")
    left = MAX_HEAD_BYTES - len(line)
    headers: Dict[str, List[str]] = {}
    for _ in range(MAX_HEADERS + 1):
        line = stream.readline(left + 1)
        left -= len(line)
        if left < 0:
            raise BadHeadError(431, "expected at most {} octets of head".format(MAX_HEAD_BYTES))
        content = _content(line)
        if not content:
            return _head(found.group(1), found.group(2), int(found.group(3)), headers)
        name, value = _header(content)
        headers.setdefault(name, []).append(value)
    raise BadHeadError(431, "expected at most {} header lines".format(MAX_HEADERS))


def _content(line: bytes) -> bytes:
    if not line.endswith(b"\n"):
        raise BadHeadError(400, "the head ended early")
    return line[:-2] if line.endswith(b"\r\n") else line[:-1]


def _header(content: bytes) -> Tuple[str, str]:
    found = _HEADER.match(content)
    if found is None:
        raise BadHeadError(400, "not a header line")
    return found.group(1).decode("ascii").lower(), found.group(2).decode("latin-1").rstrip(" \t")


def _head(method: bytes, target: bytes, minor: int, headers: Dict[str, List[str]]) -> Head:
    if "transfer-encoding" in headers:
        raise BadHeadError(411, "expected Content-Length")
    lengths = headers.get("content-length", ["0"])
    if len(lengths) != 1 or _LENGTH.match(lengths[0]) is None:
        raise BadHeadError(400, "not a Content-Length")
    if len(headers.get("host", [])) > 1 or len(headers.get("authorization", [])) > 1:
        raise BadHeadError(400, "a header that may stand once stands twice")
    return Head(method.decode("ascii"), target.decode("ascii"), minor, headers, int(lengths[0]))
