# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What the shim reads before it knows its client: any octets are heads one after another, or end the connection.

A head that was read, spelt out again, is read the same; no head takes more memory than ``MAX_HEAD_MEMORY_BYTES``.
Allowed: ``BadHeadError``, with the status of an answer.
"""

import io
import tracemalloc

from switch_acl_api.head import BadHeadError, Head, read_head
from switch_acl_api.limits import MAX_HEAD_BYTES, MAX_HEADERS

# What is read, what is kept, and Python's objects for a hundred names and values.
MAX_HEAD_MEMORY_BYTES = 8 * MAX_HEAD_BYTES
STATUSES = {400, 411, 414, 431}
WORDS = [b"GET / HTTP/1.1\r\n", b"PUT /acl/a HTTP/1.0\n", b"Host: x\r\n", b"Content-Length: 2\r\n", b"\r\n\r\n"]
WORDS += [b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"\xb2", b"\0"]
WORDS += [b"Authorization: Bearer ", b"a" * 4096, b" : ", b"\t", b"%2f", b"_", b"\r"]


def one(data: bytes) -> None:
    stream = io.BytesIO(data)
    while True:
        tracemalloc.start()
        try:
            head = read_head(stream)
        except BadHeadError as error:
            assert error.status in STATUSES
            assert error.reason.isascii()
            return
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak <= MAX_HEAD_MEMORY_BYTES, peak
        if head is None:
            return
        _check(head)
        stream.seek(min(stream.tell() + head.length, len(data)))


def _check(head: Head) -> None:
    assert head.target.startswith("/")
    assert 0 <= head.length < 10**15
    assert sum(map(len, head.headers.values())) <= MAX_HEADERS
    lines = [f"{name}: {value}" for name, values in head.headers.items() for value in values]
    text = "\r\n".join([f"{head.method} {head.target} HTTP/1.{head.minor}", *lines, "", ""])
    if len(text) <= MAX_HEAD_BYTES:
        assert read_head(io.BytesIO(text.encode("latin-1"))) == head


def seeds() -> list[bytes]:
    get = b"GET /acl/?detail=1 HTTP/1.1\r\nHost: leaf1\r\nAuthorization: Bearer abcdefgh\r\n\r\n"
    put = b"PUT /acl/a?ttl=60 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]"
    return [
        get,
        put + get,
        b"DELETE /acl/a HTTP/1.0\nConnection: close\n\n",
        put.replace(b": 2", b": \xb2"),
        get.replace(b"Host:", b"Host :"),
        get.replace(b"leaf1", b"leaf1\r\n folded"),
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (MAX_HEADERS + 1) + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"%d: y\r\n" % n for n in range(MAX_HEADERS)) + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
    ]
