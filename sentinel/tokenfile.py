# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Files of secrets and who may read them; token files are small texts with a token, or lines of a name and a token."""

import os
import stat
from pathlib import Path
from typing import Literal

from sentinel.errors import ConfigError
from sentinel.limits import MAX_TOKEN_FILE_BYTES

# "owner": mode 0600 or less; "group": its group may read it, too (root:sentinel 0640); "all": no secret.
Readers = Literal["owner", "group", "all"]
_REFUSED: dict[Readers, int] = {"owner": 0o077, "group": 0o037, "all": 0}
_REMEDY: dict[Readers, str] = {"owner": "chmod 600 it", "group": "chmod 600 it, or 640 with a group of its own"}


def problem_of_mode(mode: int, readers: Readers) -> str:
    """Return why a file of this mode is refused, or an empty text."""
    refused = stat.S_IMODE(mode) & _REFUSED[readers]
    return f"has mode {stat.S_IMODE(mode):04o}, so others can use it; {_REMEDY[readers]}" if refused else ""


def read(path: Path, *, readers: Readers, key: str | None = None, max_bytes: int = MAX_TOKEN_FILE_BYTES) -> str:
    """Return the text of a file that only these ``readers`` have permissions for.

    Raises ``ConfigError``, which names the ``key`` of the settings if there is one, and never quotes the file.
    """

    def refused(problem: str) -> ConfigError:
        return ConfigError(key, [f"{path} {problem}"]) if key else ConfigError(str(path), [problem])

    try:
        with path.open("rb") as file:
            problem = problem_of_mode(os.fstat(file.fileno()).st_mode, readers)
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise refused(f"cannot be read: {error.strerror}") from error
    if problem:
        raise refused(problem)
    if len(content) > max_bytes:
        raise refused(f"is larger than {max_bytes} octets")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise refused(f"is not UTF-8 text at octet {error.start}") from error


def token(
    path: Path, last_of: Literal["first_line", "file"], *, readers: Readers, key: str | None = None
) -> str | None:
    """Return the last word of the first line that is no comment, or of the file; ``None``: no ASCII word is there.

    Raises ``ConfigError`` as ``read`` does.
    """
    text = read(path, readers=readers, key=key)
    if last_of == "first_line":
        lines = (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
        text = next(lines, "")
    words = text.split()
    return words[-1] if words and words[-1].isascii() else None
