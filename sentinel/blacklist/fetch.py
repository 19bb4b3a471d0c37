# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One conditional download of one feed, within limits of size, time and place."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError, ProtocolError

from sentinel.blacklist.catalogue import Feed
from sentinel.blacklist.credentials import NOBODY, credentials_of
from sentinel.blacklist.guarded import ForbiddenAddressError, Guard, session
from sentinel.blacklist.unpack import Gunzip, unpacked
from sentinel.errors import FeedError, FeedReason
from sentinel.limits import (
    FEED_CONNECT_TIMEOUT_S,
    FEED_READ_TIMEOUT_S,
    FEED_TOTAL_TIMEOUT_S,
    MAX_FEED_BYTES,
    MAX_FEED_REDIRECTS,
    MAX_FEED_RETRY_AFTER_S,
    MAX_FEED_REVISION_BYTES,
    MAX_FEED_WIRE_BYTES,
)

_USER_AGENT = "Sentinel (sFlow blacklist monitor; conditional requests, one per interval)"
_CHUNK = 65_536
_REDIRECTS = (301, 302, 303, 307, 308)
_REVISION = re.compile(r"[\w.:-]{1,64}")
_STATUS_REASONS: Mapping[int, FeedReason] = {
    1: "http-1xx",
    2: "http-2xx",
    3: "http-3xx",
    4: "http-4xx",
    5: "http-5xx",
}


@dataclass(frozen=True, slots=True)
class Validators:
    """What the last full download said of itself, for the server to compare."""

    etag: str = ""
    last_modified: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole body, decompressed, with its validators."""

    body: bytes
    validators: Validators


@dataclass(frozen=True, slots=True)
class _Limits:
    """Octets after and before decompression."""

    size_bytes: int
    wire_bytes: int


_REVISION_LIMITS = _Limits(MAX_FEED_REVISION_BYTES, MAX_FEED_REVISION_BYTES)


class RetryLaterError(FeedError):
    """The server asks to be left alone for ``retry_after_s``."""

    def __init__(self, feed: str, detail: str, retry_after_s: float) -> None:
        super().__init__(feed, "retry-later", detail)
        self.retry_after_s = retry_after_s


class Fetcher(Protocol):
    """Where a loader gets bodies from."""

    def fetch(self, feed: Feed, validators: Validators, now: float) -> Fetched | None:
        """The feed's body, ``None`` when it is what ``validators`` describe; FeedError when there is none to be had.

        ``now`` is UTC seconds since 1970.
        """


class HttpFetcher:
    """Feeds by HTTP and HTTPS, and from files. It holds no connection between two calls."""

    def __init__(
        self,
        *,
        connect_timeout_s: float = FEED_CONNECT_TIMEOUT_S,
        read_timeout_s: float = FEED_READ_TIMEOUT_S,
        total_timeout_s: float = FEED_TOTAL_TIMEOUT_S,
        max_bytes: int = MAX_FEED_BYTES,
        max_wire_bytes: int = MAX_FEED_WIRE_BYTES,
        user_agent: str = _USER_AGENT,
    ) -> None:
        self._timeouts = (connect_timeout_s, read_timeout_s)
        self._total_timeout_s = total_timeout_s
        self._limits = _Limits(max_bytes, max_wire_bytes)
        self._user_agent = user_agent

    def fetch(self, feed: Feed, validators: Validators, now: float) -> Fetched | None:
        """See Fetcher."""
        if feed.path is not None:
            return self._read_file(feed, feed.path, validators)
        revision = self._revision(feed, now)
        if revision and revision == validators.revision:
            return None
        headers = {}
        if validators.etag:
            headers["If-None-Match"] = validators.etag
        if validators.last_modified:
            headers["If-Modified-Since"] = validators.last_modified
        answer = self._get(feed, feed.url, headers, self._limits, now)
        if answer is None:
            return None
        body = unpacked(feed.name, answer.body, self._limits.size_bytes, feed.member)
        return Fetched(body, Validators(answer.validators.etag, answer.validators.last_modified, revision))

    def _read_file(self, feed: Feed, path: Path, validators: Validators) -> Fetched | None:
        try:
            with path.open("rb") as file:
                stat = os.fstat(file.fileno())
                modified = f"{stat.st_mtime_ns}-{stat.st_size}"
                if modified == validators.revision:
                    return None
                body = file.read(self._limits.size_bytes + 1)
        except OSError as error:
            raise FeedError(feed.name, "file", f"cannot read {path}: {error.strerror}") from error
        if len(body) > self._limits.size_bytes:
            raise FeedError(feed.name, "too-large", f"more than {self._limits.size_bytes} bytes")
        body = unpacked(feed.name, body, self._limits.size_bytes, feed.member)
        return Fetched(body, Validators(revision=modified))

    def _revision(self, feed: Feed, now: float) -> str:
        """The feed's revision in a few octets; empty when it cannot be had: the download itself will tell why."""
        if not feed.revision_url:
            return ""
        try:
            answer = self._get(feed, feed.revision_url, {}, _REVISION_LIMITS, now)
        except RetryLaterError:
            raise
        except FeedError:
            return ""
        text = answer.body.decode("ascii", errors="replace").strip() if answer is not None else ""
        return text if _REVISION.fullmatch(text) else ""

    def _get(self, feed: Feed, url: str, conditions: dict[str, str], limits: _Limits, now: float) -> Fetched | None:
        headers = {"User-Agent": self._user_agent, "Accept": "*/*", "Accept-Encoding": "gzip", **conditions}
        with Guard(self._total_timeout_s) as guard, session(guard) as http:
            try:
                with self._follow(http, guard, feed, url, headers) as response:
                    _check_status(feed, response, now, conditional=bool(conditions))
                    if response.status_code == HTTPStatus.NOT_MODIFIED:
                        return None
                    body = b"".join(_body(feed, response, limits))
                    if guard.expired:
                        raise _timeout(feed, self._total_timeout_s)
                    return Fetched(body, _validators(response))
            except ForbiddenAddressError as error:
                raise FeedError(feed.name, "redirect", str(error)) from error
            except FeedError:
                if guard.expired:
                    raise _timeout(feed, self._total_timeout_s) from None
                raise
            except (requests.RequestException, HTTPError, OSError, ValueError) as error:
                if guard.expired:
                    raise _timeout(feed, self._total_timeout_s) from None
                # The chain would carry the URL, and with it a token, into a traceback.
                raise _trouble(feed, url, error) from None

    def _follow(
        self, http: requests.Session, guard: Guard, feed: Feed, url: str, headers: dict[str, str]
    ) -> requests.Response:
        """The first answer that is no redirect. Credentials go to the feed's own host only, secret ones over TLS."""
        origin = _origin(feed.url)
        credentials = credentials_of(feed)
        for _ in range(MAX_FEED_REDIRECTS + 1):
            own = credentials if _origin(url) == origin else NOBODY
            response = http.get(
                url,
                headers={**headers, **own.headers},
                cert=own.certificate,
                timeout=self._timeouts,
                stream=True,
                allow_redirects=False,
                verify=str(feed.ca_file) if feed.ca_file else True,
            )
            if response.status_code not in _REDIRECTS:
                return response
            response.close()
            url = _redirected(feed, url, response.headers.get("Location", ""))
            guard.redirected(urlsplit(url).hostname or "")
        raise FeedError(feed.name, "redirect", f"more than {MAX_FEED_REDIRECTS} redirects")


def safe_url(url: str) -> str:
    """A URL without what may be secret in it: credentials, query and fragment."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(a malformed URL)"
    query = "?…" if parts.query else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}{query}"


def retry_after_s(value: str, now: float) -> float:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3: seconds or a date), bounded; 0 where there is none."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:12]), MAX_FEED_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return 0.0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max((at - datetime.fromtimestamp(now, UTC)).total_seconds(), 0.0), MAX_FEED_RETRY_AFTER_S)


def _redirected(feed: Feed, url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
        scheme, host = urlsplit(target).scheme, urlsplit(target).hostname
    except ValueError:
        raise FeedError(feed.name, "redirect", "redirect to a malformed URL") from None
    if scheme not in ("http", "https") or not host:
        raise FeedError(feed.name, "redirect", f"redirect to {scheme or 'nothing'!r}, expected http or https")
    if urlsplit(url).scheme == "https" and scheme == "http":
        raise FeedError(feed.name, "redirect", f"redirect from https to {safe_url(target)}")
    return target


def _check_status(feed: Feed, response: requests.Response, now: float, *, conditional: bool) -> None:
    status = response.status_code
    if status == HTTPStatus.OK or (status == HTTPStatus.NOT_MODIFIED and conditional):
        return
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        wait = retry_after_s(response.headers.get("Retry-After", ""), now)
        raise RetryLaterError(feed.name, f"HTTP {status}, retry after {wait:.0f} s", wait)
    raise FeedError(
        feed.name, _STATUS_REASONS.get(status // 100, "http-other"), f"HTTP {status} from {safe_url(response.url)}"
    )


def _body(feed: Feed, response: requests.Response, limits: _Limits) -> Iterator[bytes]:
    """The body in pieces, decompressed here: nothing grows past its limit, and the length is what was announced."""
    announced = response.headers.get("Content-Length", "")
    length = int(announced) if announced.isascii() and announced.isdigit() and len(announced) < 20 else None
    if length is not None and length > limits.wire_bytes:
        raise FeedError(feed.name, "too-large", f"{length} bytes announced, limit {limits.wire_bytes}")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        raise FeedError(feed.name, "encoding", f"Content-Encoding {encoding[:40]!r}, expected gzip or none")
    gunzip = Gunzip(feed.name) if "gzip" in encoding else None
    wire = size = 0
    while chunk := response.raw.read(_CHUNK, decode_content=False):
        wire += len(chunk)
        if wire > limits.wire_bytes:
            raise FeedError(feed.name, "too-large", f"more than {limits.wire_bytes} bytes on the wire")
        for piece in gunzip.pieces(chunk) if gunzip is not None else (chunk,):
            size += len(piece)
            if size > limits.size_bytes:
                raise FeedError(feed.name, "too-large", f"more than {limits.size_bytes} bytes")
            yield piece
    if length is not None and wire != length:
        raise FeedError(feed.name, "truncated", f"{wire} of {length} bytes came")
    if gunzip is not None:
        gunzip.check_end()


def _validators(response: requests.Response) -> Validators:
    def header(name: str) -> str:
        value = response.headers.get(name, "")
        return value if len(value) <= 256 and value.isprintable() and value.isascii() else ""

    return Validators(header("ETag"), header("Last-Modified"))


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _timeout(feed: Feed, total_s: float) -> FeedError:
    return FeedError(feed.name, "timeout", f"not complete after {total_s:.0f} s")


def _trouble(feed: Feed, url: str, error: Exception) -> FeedError:
    """What went wrong, in words that repeat nothing the URL may hide."""
    where = safe_url(url)
    if isinstance(error, requests.exceptions.SSLError):
        return FeedError(feed.name, "tls", f"no trusted TLS connection to {where}")
    if isinstance(error, (requests.Timeout, TimeoutError)) or "timed out" in str(error).lower():
        return FeedError(feed.name, "timeout", f"{where} does not answer")
    if isinstance(error, requests.ConnectionError):
        return FeedError(feed.name, "connect", f"cannot connect to {where}")
    if isinstance(error, ProtocolError):
        return FeedError(feed.name, "truncated", f"the connection to {where} broke before the end")
    return FeedError(feed.name, "transfer", f"{type(error).__name__} while reading {where}")
