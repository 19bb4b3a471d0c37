# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Secrets of the daemon: root's with a group that may read them are taken, those that others can use are refused."""

import tomllib
from pathlib import Path

import pytest

from sentinel.commands.client import DaemonClient
from sentinel.components.switches import access_of
from sentinel.config.settings import Settings, parse
from sentinel.errors import ConfigError

TOKEN = "0123456789abcdef0123456789abcdef"


def secret(path: Path, mode: int) -> Path:
    path.write_text(f"sentinel {TOKEN}\n")
    path.chmod(mode)
    return path


def settings(folder: Path, sections: str) -> Settings:
    base = f'state_dir = "{folder}"\n[network]\nlocal = ["10.0.0.0/8"]\n[capture]\nmode = "dry-run"\n'
    base += 'erspan_destination = "10.0.0.9"\n'
    return parse(tomllib.loads(base + sections), "test")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660])
def test_secrets_towards_switches(tmp_path: Path, mode: int) -> None:
    token, key = secret(tmp_path / "token", 0o640), secret(tmp_path / "key", 0o640)
    chosen = f'[switches]\ntoken_file = "{token}"\nclient_cert = "{tmp_path / "cert"}"\nclient_key = "{key}"\n'
    assert access_of(settings(tmp_path, chosen)).token == TOKEN
    for path in (token, key):
        path.chmod(mode)
        with pytest.raises(ConfigError, match=f"{path} has mode {mode:04o}.*chmod 600 it, or 640") as raised:
            access_of(settings(tmp_path, chosen))
        assert TOKEN not in str(raised.value)
        path.chmod(0o640)


def test_the_commands_take_no_token_of_the_api_that_others_can_read(tmp_path: Path) -> None:
    chosen = f'[web]\ntoken_file = "{secret(tmp_path / "tokens", 0o600)}"\n'
    DaemonClient.of_settings(settings(tmp_path, chosen)).close()
    (tmp_path / "tokens").chmod(0o640)
    with pytest.raises(ConfigError, match="mode 0640"):
        DaemonClient.of_settings(settings(tmp_path, chosen))
