# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from sentinel.compiled import PARTS

ROOT = Path(__file__).parents[2]


def test_the_parts_are_all_that_is_compiled() -> None:
    """They are named as text, since the ground floor imports no room: a part that is renamed is missed here."""
    sources = (ROOT / "sentinel").rglob("*.pyx")
    assert set(PARTS) == {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources}
