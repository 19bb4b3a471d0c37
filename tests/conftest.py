# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The tiers of the suite: a test belongs to that of its folder.

``make test-fast`` runs what needs no other process, ``make test`` all but the lab and the bench, ``make test-all``
everything.
"""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Folders with a marker of their own; any other test has none.
MARKED = ("lab", "bench")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(HERE).parts[0]
        if folder in MARKED:
            item.add_marker(folder)
