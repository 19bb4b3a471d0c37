# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Token files: small texts, some of which only their owner may read, with one token or lines of a name and a token."""

import os
import stat
from pathlib import Path
from typing import Literal

from sentinel.errors import ConfigError
from sentinel.limits import MAX_TOKEN_FILE_BYTES


def read(path: Path, *, private: bool, key: str | None = None, max_bytes: int = MAX_TOKEN_FILE_BYTES) -> str:
    """Return the text of a file; ``private``: other users must not have any permission.

    Raises ``ConfigError``, which names the ``key`` of the settings if there is one, and never quotes the file.
    """

    def refused(problem: str) -> ConfigError:
        return ConfigError(key, [f"{path} {problem}"]) if key else ConfigError(str(path), [problem])

    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise refused(f"cannot be read: {error.strerror}") from error
    if private and mode & 0o077:
        raise refused(f"has mode {mode:04o}, so others can read it; chmod 600 it")
    if len(content) > max_bytes:
        raise refused(f"is larger than {max_bytes} octets")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise refused(f"is not UTF-8 text at octet {error.start}") from error


def token(path: Path, last_of: Literal["first_line", "file"], *, private: bool, key: str | None = None) -> str | None:
    """Return the last word of the first line that is no comment, or of the file; ``None``: no ASCII word is there.

    Raises ``ConfigError`` as ``read`` does.
    """
    text = read(path, private=private, key=key)
    if last_of == "first_line":
        lines = (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
        text = next(lines, "")
    words = text.split()
    return words[-1] if words and words[-1].isascii() else None
