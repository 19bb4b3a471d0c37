# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A wall clock of one process that can be set while it runs, by libfaketime; its monotonic clock stays as it is."""

import glob
import os
from pathlib import Path

import pytest

LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")


class WallClock:
    """``environment`` is for the process; ``set_by`` sets its clock. Skips the test without libfaketime.

    Under this library ``time.sleep`` of a few milliseconds can fail with EINVAL, which no true clock causes: so such a
    process may log rounds that failed.
    """

    def __init__(self, directory: Path) -> None:
        found = [path for pattern in LIBRARIES for path in glob.glob(pattern)]
        if not found:
            pytest.skip("libfaketime is missing: apt-get install faketime")
        self._path = directory / "wallclock"
        self.set_by(0)
        self.environment = {
            "LD_PRELOAD": found[0],
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_CACHE_DURATION": "1",
        }

    def set_by(self, seconds: float) -> None:
        """Set the clock to the true time and so many seconds; the process sees it a second later at most."""
        written = self._path.with_suffix(".new")
        written.write_text(f"{seconds:+.0f}\n", encoding="ascii")
        os.replace(written, self._path)
