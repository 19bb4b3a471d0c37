# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The choice between the compiled parts and their plain twins, the same for receiving, scan and mirrored packets."""

import importlib
import os
from typing import Literal

from sentinel.errors import ConfigError

VARIABLE = "SENTINEL_SCAN"
# Built together: an older build that lacks one of them counts as none. Each room imports its own part by itself.
PARTS = ("sentinel.receive._native", "sentinel.scan._native", "sentinel.erspan._native")
Implementation = Literal["python", "native"]


def chosen(choice: str | None = None) -> tuple[Implementation, str]:
    """The implementation that ``choice`` (default: the environment's SENTINEL_SCAN, else ``auto``) leads to, and why.

    Raises ``ConfigError`` for an unknown choice, and for ``native`` where the compiled scan cannot be loaded.
    """
    choice = choice or os.environ.get(VARIABLE) or "auto"
    if choice == "python":
        return "python", f"{VARIABLE}=python"
    if choice not in {"auto", "native"}:
        raise ConfigError(VARIABLE, [f"{choice!r}, expected auto, python or native"])
    try:
        for part in PARTS:
            importlib.import_module(part)
    except ImportError as error:
        if choice == "native":
            raise ConfigError(VARIABLE, [f"native, but the compiled scan cannot be loaded: {error}"]) from error
        return "python", f"the compiled scan cannot be loaded, which costs some fifty times the CPU: {error}"
    return "native", f"{VARIABLE}={choice}"
