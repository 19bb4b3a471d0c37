# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from sentinel.commands.access import DEFAULT_URL, ClientAccess, access_of, client_file
from sentinel.errors import ConfigError

TOKEN = "0123456789abcdef"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "sentinel").mkdir()
    return tmp_path


def token_file(home: Path, text: str = f"# ours\n\nanalyst {TOKEN}\n", mode: int = 0o600) -> Path:
    path = home / "token"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_without_anything_the_daemon_is_on_this_machine() -> None:
    assert access_of({}) == ClientAccess(DEFAULT_URL, None, None)


def test_the_file_is_believed_and_options_more(home: Path) -> None:
    ca = home / "ca.pem"
    ca.touch()
    client_file().write_text(
        f'url = "https://sentinel.example/"\ntoken_file = "{token_file(home)}"\nca_file = "{ca}"\n'
    )
    assert access_of({"url": "", "token_file": None}) == ClientAccess("https://sentinel.example", TOKEN, ca)
    assert access_of({"url": "https://sentinel.example"}).token == TOKEN
    assert access_of({"url": "https://elsewhere.example"}) == ClientAccess("https://elsewhere.example"), (
        "another daemon does not get this one's token"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "sentinel.example"}, "is not such as"),
        ({"url": "ftp://sentinel.example"}, "is not such as"),
        ({"url": "https://user:word@sentinel.example"}, "is not such as"),
        ({"url": "https://[::1"}, "is not such as"),
        ({"url": "https://x:99999"}, "is not such as"),
        ({"ca_file": "/nowhere/ca.pem"}, "is not there"),
        ({"token_file": "/nowhere/token"}, "cannot be read"),
    ],
)
def test_what_cannot_work_is_said(options: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        access_of(options)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_token_that_others_can_read_is_not_used_and_not_shown(home: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match="chmod 600") as raised:
        access_of({"token_file": str(token_file(home, mode=mode))})
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "tökén\n"])
def test_a_file_without_a_token_is_said(home: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="holds no token"):
        access_of({"token_file": str(token_file(home, text))})


def test_a_token_goes_over_tls_or_stays_on_this_machine(home: Path) -> None:
    file = str(token_file(home))
    for url in ("https://sentinel.example", "http://127.0.0.1:8008", "http://[::1]:8008", "http://localhost:1"):
        assert access_of({"url": url, "token_file": file}).token == TOKEN
    for url in ("http://sentinel.example", "http://10.0.0.1:8008"):
        with pytest.raises(ConfigError, match="in the clear") as raised:
            access_of({"url": url, "token_file": file})
        assert TOKEN not in str(raised.value)


@pytest.mark.parametrize("text", ["url = 5\n", "urls = 'x'\n", "url\n", "\xff", "x" * 70_000])
def test_a_file_that_is_wrong_is_said(text: str) -> None:
    client_file().write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError):
        access_of({})
