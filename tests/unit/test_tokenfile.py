# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Token files: private where they must be, bounded, and never quoted back."""

from pathlib import Path
from typing import Literal

import pytest

from sentinel import tokenfile
from sentinel.errors import ConfigError
from sentinel.limits import MAX_TOKEN_FILE_BYTES

TOKEN = "0123456789abcdef"


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


READERS: tuple[tokenfile.Readers, ...] = ("owner", "group", "all")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620, 0o601, 0o610])
def test_a_file_others_can_read_is_refused_only_if_it_must_be_private(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "t", TOKEN.encode(), mode)
    for readers in READERS[: 1 if mode == 0o640 else 2]:
        with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod 600") as raised:
            tokenfile.read(path, readers=readers)
        assert TOKEN not in str(raised.value)
    if mode == 0o640:
        assert tokenfile.read(path, readers="group") == TOKEN
    assert tokenfile.read(path, readers="all") == TOKEN
    for readers in READERS:
        assert tokenfile.read(write(path, TOKEN.encode()), readers=readers) == TOKEN


def test_files_that_cannot_be(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none", "cannot be read"),
        (tmp_path, "cannot be read"),
        (write(tmp_path / "t", b"alice \xff"), "not UTF-8 text at octet 6"),
        (write(tmp_path / "u", b"#" * (MAX_TOKEN_FILE_BYTES + 1)), "larger than"),
    ):
        with pytest.raises(ConfigError, match=said) as raised:
            tokenfile.read(path, readers="all")
        assert raised.value.source == str(path)
        with pytest.raises(ConfigError, match=f"{path} .*{said}") as raised:
            tokenfile.read(path, readers="all", key="web.token_file")
        assert raised.value.source == "web.token_file"


@pytest.mark.parametrize(
    ("text", "first_line", "file"),
    [
        (f"{TOKEN}\n", TOKEN, TOKEN),
        (f"# ours\n\nanalyst {TOKEN}\nother word\n", TOKEN, "word"),
        ("", None, None),
        ("# nothing\n", None, "nothing"),
        ("t\u00f6k\u00e9n\n", None, None),
    ],
)
def test_which_word_is_the_token(tmp_path: Path, text: str, first_line: str | None, file: str | None) -> None:
    path = write(tmp_path / "t", text.encode())
    words: tuple[tuple[Literal["first_line", "file"], str | None], ...] = (("first_line", first_line), ("file", file))
    for last_of, token in words:
        assert tokenfile.token(path, last_of, readers="owner") == token
