# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What several commands share: where the settings are, and where the daemon is."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from sentinel.commands.access import access_of
from sentinel.commands.client import DaemonClient
from sentinel.config.settings import Settings, load
from sentinel.errors import ConfigError

PLACES = (Path("sentinel.toml"), Path("/etc/sentinel/sentinel.toml"))


def config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Settings file; ./sentinel.toml, then /etc/sentinel/sentinel.toml, when not given.",
    )(function)


def find_config(config: Path | None) -> Path:
    """The settings file to use; raises ``ConfigError`` when there is none."""
    if config is not None:
        return config
    found = next((place for place in PLACES if place.is_file()), None)
    if found is None:
        raise ConfigError(
            "sentinel", [f"no settings: none of {', '.join(map(str, PLACES))} is there; name one with -c"]
        )
    return found


def settings_of(config: Path | None) -> Settings:
    return load(find_config(config))


def daemon_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hands the command a ``client`` of the daemon that the settings describe, or, from another host, of one named."""

    @click.option("--url", help="Root URL of a daemon on another host, such as https://sentinel.example.")
    @click.option(
        "--token-file", type=click.Path(dir_okay=False), help="With --url: the token, in a file of mode 0600."
    )
    @click.option("--ca-file", type=click.Path(dir_okay=False), help="With --url: what its certificate is checked by.")
    @config_option
    @wraps(function)
    def with_client(
        url: str | None, token_file: str | None, ca_file: str | None, config: Path | None, **rest: Any
    ) -> None:
        if url is None and (token_file or ca_file):
            raise click.UsageError("--token-file and --ca-file go with --url")
        if url is None:
            client = DaemonClient.of_settings(settings_of(config))
        else:
            client = DaemonClient(access_of({"url": url, "token_file": token_file, "ca_file": ca_file}))
        try:
            function(client=client, **rest)
        finally:
            client.close()

    return with_client
