# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Where the daemon is and who asks, for programs on an analyst's machine: options first, then ``client.toml``.

``$XDG_CONFIG_HOME/sentinel/client.toml`` (else under ``~/.config``) may say ``url``, ``token_file`` and ``ca_file``.
The token is in a file that nobody else can read, never an argument: those are shown to everybody on the machine.
"""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sentinel import tokenfile
from sentinel.errors import ConfigError
from sentinel.limits import MAX_CLIENT_FILE_BYTES

DEFAULT_URL = "http://127.0.0.1:8008"
KEYS = ("url", "token_file", "ca_file")


@dataclass(frozen=True, slots=True)
class ClientAccess:
    """The root of the daemon's HTTP, the token if any, and the certificates to check it by if not the system's."""

    url: str = DEFAULT_URL
    token: str | None = None
    ca_file: Path | None = None


def client_file() -> Path:
    """Where the settings of this user's client are."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "sentinel" / "client.toml"


def access_of(options: Mapping[str, str | None]) -> ClientAccess:
    """What the options ``url``, ``token_file``, ``ca_file`` and the file say; raises ``ConfigError``.

    An option ``url`` of another daemon than the file's is asked without the file's token.
    """
    said = _read_settings(client_file())
    given = {key: value for key, value in options.items() if value}
    if "url" in given and given["url"].rstrip("/") != said.get("url", DEFAULT_URL).rstrip("/"):
        said = {}
    chosen = {**said, **given}
    url = chosen.get("url", DEFAULT_URL).rstrip("/")
    _check_url(url)
    token = None
    if "token_file" in chosen:
        token = read_token(Path(chosen["token_file"]).expanduser())
        _check_secrecy(url)
    ca_file = Path(chosen["ca_file"]).expanduser() if "ca_file" in chosen else None
    if ca_file is not None and not ca_file.is_file():
        raise ConfigError("ca_file", [f"{ca_file} is not there"])
    return ClientAccess(url, token, ca_file)


def read_token(path: Path) -> str:
    """Return the token in a file of mode 0600; raises ``ConfigError``."""
    token = tokenfile.token(path, "first_line", readers="owner")
    if token is None:
        raise ConfigError(str(path), ["holds no token; expected a line of a token, or of a name and it"])
    return token


def _read_settings(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    text = tokenfile.read(path, readers="all", max_bytes=MAX_CLIENT_FILE_BYTES)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), [f"is not TOML: {error}"]) from error
    findings = [f"{key}: unknown key; known are {', '.join(KEYS)}" for key in raw if key not in KEYS]
    findings += [f"{key}: expected text" for key in KEYS if key in raw and not isinstance(raw[key], str)]
    if findings:
        raise ConfigError(str(path), findings)
    return raw


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or parts.username is not None or parts.query or parts.fragment:
        raise ConfigError("url", [f"{url} is not such as https://sentinel.example or {DEFAULT_URL}"])


def _check_secrecy(url: str) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if parts.scheme != "https" and not loopback:
        raise ConfigError("url", [f"{url} would carry the token in the clear; expected https, or a loopback address"])
