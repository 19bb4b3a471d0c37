# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One feed, its server, and loaders on a clock that a test moves."""

from dataclasses import dataclass, replace
from pathlib import Path

from sentinel.blacklist.catalogue import Feed
from sentinel.blacklist.fetch import HttpFetcher
from sentinel.blacklist.loader import Loader
from sentinel.blacklist.status import FeedStatus
from tests.support import feed_server as srv

HOUR = 3600.0
GOOD = b"1.1.1.1\n1.1.1.2\n1.1.1.3\n1.1.1.4\n"


@dataclass
class FeedBench:
    """One feed, its server, a clock that a test moves, and loaders that share a folder."""

    server: srv.FeedServer
    folder: Path
    time: float = 1_000_000.0

    def feed(self, **more: object) -> Feed:
        feed = Feed("listed", "plain", "g", url=self.server.url("/l"), min_interval_s=HOUR)
        return replace(feed, **more)  # type: ignore[arg-type] # as the field says

    def loader(self, *feeds: Feed, **more: object) -> Loader:
        fetcher = HttpFetcher(read_timeout_s=2, total_timeout_s=2, max_bytes=100_000, max_wire_bytes=100_000)
        options: dict[str, object] = {"local": ["10.0.0.0/8"], "fetcher": fetcher} | more
        return Loader(
            feeds or [self.feed()],
            self.folder,
            now=lambda: self.time,
            jitter=lambda: 0.0,
            **options,  # type: ignore[arg-type] # as the argument says
        )

    def good(self) -> Loader:
        self.server.serve("/l", srv.body(GOOD))
        loader = self.loader()
        assert loader.refresh("listed").kind == "replaced"
        return loader


def status(loader: Loader) -> FeedStatus:
    """The row of the one feed."""
    (row,) = loader.status()
    return row


BAD = {
    "html": srv.body(b"<html><body>Please log in</body></html>"),
    "empty": srv.body(b""),
    "shrunk": srv.body(b"1.1.1.1\n"),
    "unreadable": srv.body(b"1.1.1.1\n1.1.1.2\nrubbish\nrubbish\n"),
    "grown": srv.body(b"".join(b"1.1.%d.%d\n" % (n >> 8, n & 255) for n in range(2000))),
    "http-5xx": srv.status("500 Internal Server Error"),
    "truncated": srv.body(GOOD, length=1000),
    "too-large": srv.endless,
    "timeout": srv.trickle(GOOD, 0.3),
    "redirect": srv.redirect("file:///etc/passwd"),
    "connect": srv.hang_up,
    "encoding": srv.body(b"not gzip", "Content-Encoding: gzip"),
    "retry-later": srv.status("429 Too Many Requests"),
}
