# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The token file: strict, private, and never quoted back."""

from pathlib import Path

import pytest

from sentinel.errors import ConfigError
from sentinel.limits import MAX_TOKEN_FILE_BYTES, MAX_TOKENS
from sentinel.web.tokens import load_tokens, parse_tokens

A, B = "a" * 16, "b" * 43


def test_names_go_with_tokens() -> None:
    known = parse_tokens(f"# who\n\nalice {A}\n  bob\t{B}==  \n", "file")
    assert len(known) == 2
    assert known.owner(A) == "alice"
    assert known.owner(B + "==") == "bob"
    assert known.owner(B) is None
    assert known.owner("") is None
    assert known.owner("\udcff") is None


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("", "holds no token"),
        ("# nobody\n", "holds no token"),
        ("alice\n", "line 1 has 1 fields"),
        (f"alice {A} more\n", "line 1 has 3 fields"),
        (f"-alice {A}\n", "line 1 has a name"),
        (f"{'x' * 65} {A}\n", "line 1 has a name"),
        (f"alice {'a' * 15}\n", "line 1 has a token"),
        (f"alice {'a' * 513}\n", "line 1 has a token"),
        (f"alice {'ü' * 16}\n", "line 1 has a token"),
        (f"alice {A}\nalice {B}\n", "line 2 names alice again"),
        (f"alice {A}\nbob {A}\n", "line 2 has the same token as alice"),
        ("".join(f"n{i} {'t' * 16}{i}\n" for i in range(MAX_TOKENS + 1)), "more than 256"),
    ],
)
def test_what_is_wrong_is_told_by_line(text: str, finding: str) -> None:
    with pytest.raises(ConfigError, match=finding) as caught:
        parse_tokens(text, "file")
    assert A not in str(caught.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_tokens(f"alice\nbob short\ncarol {A}\n", "file")
    assert len(caught.value.findings) == 2


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_private_file_is_read(tmp_path: Path) -> None:
    assert load_tokens(write(tmp_path / "t", f"alice {A}\n".encode())).owner(A) == "alice"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601])
def test_a_file_others_can_read_is_not(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod 600"):
        load_tokens(write(tmp_path / "t", f"alice {A}\n".encode(), mode))


def test_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_tokens(tmp_path / "none")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_tokens(tmp_path)
    with pytest.raises(ConfigError, match="UTF-8"):
        load_tokens(write(tmp_path / "t", b"alice \xff"))
    with pytest.raises(ConfigError, match="larger"):
        load_tokens(write(tmp_path / "u", b"#" * (MAX_TOKEN_FILE_BYTES + 1)))
