# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A bench for a feed and its loaders."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import feed_server as srv
from tests.support.feed_bench import FeedBench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[FeedBench]:
    with srv.FeedServer() as server:
        yield FeedBench(server, tmp_path / "state")
