# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Files that are whole whenever their writer dies."""

import contextlib
import os
from pathlib import Path


def write_file(temp: Path, target: Path, content: bytes, mode: int, durable: bool = True) -> None:
    """Write ``temp`` in the same folder and rename it. ``durable``: also after a power cut. Raises ``OSError``."""
    fd = os.open(str(temp), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(str(temp), str(target))
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(str(temp))
        raise
    if durable:
        sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    fd = os.open(str(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
