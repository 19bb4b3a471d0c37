# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What a feed's own host is shown and nobody else: tokens, headers, a client certificate; read anew each time."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sentinel import tokenfile
from sentinel.blacklist.catalogue import Feed
from sentinel.blacklist.keys import HEADER_VALUE
from sentinel.errors import FeedError, FeedReason
from sentinel.limits import MAX_FEED_SECRET_BYTES

_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Headers, and the files of certificate and key, for the feed's own host."""

    headers: dict[str, str]
    certificate: tuple[str, str] | None


NOBODY = Credentials({}, None)


def credentials_of(feed: Feed) -> Credentials:
    """FeedError names the file that cannot be used, and never repeats what is in it."""
    headers = dict(feed.headers)
    if feed.token_file is not None:
        token = _text(feed, feed.token_file, "token")
        if not _TOKEN.fullmatch(token):
            raise FeedError(feed.name, "token", f"{feed.token_file} holds no token: one line of printable characters")
        headers["Authorization"] = f"Bearer {token}"
    for name, path in feed.header_files:
        value = _text(feed, path, "header")
        if not HEADER_VALUE.fullmatch(value):
            raise FeedError(feed.name, "header", f"{path} holds no header: one line of printable characters")
        headers[name] = value
    return Credentials(headers, _certificate(feed))


def _certificate(feed: Feed) -> tuple[str, str] | None:
    if feed.client_cert is None:
        return None
    key = feed.client_key or feed.client_cert
    for path in (feed.client_cert, key):
        if "-----BEGIN" not in _text(feed, path, "client-cert", "group" if path == key else "all"):
            raise FeedError(feed.name, "client-cert", f"{path} is not PEM")
    return str(feed.client_cert), str(key)


def _text(feed: Feed, path: Path, reason: FeedReason, readers: tokenfile.Readers = "group") -> str:
    try:
        with path.open(encoding="ascii") as file:
            problem = tokenfile.problem_of_mode(os.fstat(file.fileno()).st_mode, readers)
            text = file.read(MAX_FEED_SECRET_BYTES).strip()
    except (OSError, ValueError):
        raise FeedError(feed.name, reason, f"cannot read {path}") from None
    if problem:
        raise FeedError(feed.name, reason, f"{path} {problem}")
    return text
