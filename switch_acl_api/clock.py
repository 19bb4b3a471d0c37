# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The only clock leases know: CLOCK_BOOTTIME of this boot."""

import time
from pathlib import Path

from switch_acl_api.leases import Instant

BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id"


class BootClock:
    """``boot_id_file`` is an argument so that a test can be another boot."""

    def __init__(self, boot_id_file: str = BOOT_ID_FILE) -> None:
        text = Path(boot_id_file).read_text(encoding="ascii").strip()
        if not text:
            raise OSError("no boot id in {}".format(boot_id_file))
        self.boot_id = text

    def now(self) -> Instant:
        return Instant(self.boot_id, time.clock_gettime(time.CLOCK_BOOTTIME))
