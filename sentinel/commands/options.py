# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What several commands share: where the settings are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

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
