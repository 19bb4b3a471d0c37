# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The settings as values: those that every switch has, and the section that each driver adds."""

from typing import Any, Callable, List, NamedTuple, Optional, Tuple

from switch_acl_api.values import Address, Keys

DEFAULT_DRIVER = "cumulus"
DEFAULT_MAX_RULES = 100
DEFAULT_STATE_DIR = "/var/lib/switch-acl-api"


class Settings(NamedTuple):
    """All of the file. Durations in seconds; ``default_ttl_s`` is ``None`` for "never".

    ``erspan_sources`` ``None``: the switch's own addresses, or any without authentication.

    ``own`` is what the configured driver's ``Section`` makes of its keys; only that driver knows the type.
    """

    own: Any
    policy_dir: str
    listen: Address = ("127.0.0.1", 8080)
    driver: str = DEFAULT_DRIVER
    auth: Tuple[str, ...] = ("token",)
    auth_match: str = "either"
    hosts: Tuple[str, ...] = ()
    token_file: Optional[str] = None
    tls_cert: Optional[str] = None
    tls_key: Optional[str] = None
    client_ca: Optional[str] = None
    insecure: bool = False
    erspan_destinations: Tuple[str, ...] = ()
    erspan_sources: Optional[Tuple[str, ...]] = None
    ports: Tuple[str, ...] = ("swp+", "bond+")
    max_rules: int = DEFAULT_MAX_RULES
    max_rules_per_owner: int = DEFAULT_MAX_RULES
    max_names_per_owner: int = 4 * DEFAULT_MAX_RULES
    max_requests_per_second: int = 100
    default_ttl_s: Optional[float] = 3600.0
    max_ttl_s: float = 3600.0
    state_dir: str = DEFAULT_STATE_DIR
    commit_interval_s: float = 0.5
    commit_timeout_s: float = 60.0
    boot_id_file: str = "/proc/sys/kernel/random/boot_id"

    @property
    def tls(self) -> bool:
        return self.tls_cert is not None

    @property
    def exposed(self) -> bool:
        """May it listen on anything but loopback?"""
        return self.insecure or (self.tls and bool(self.auth))


def no_contradiction(_: Settings) -> List[str]:
    """Return no finding, for drivers that accept every combination of settings."""
    return []


class Section(NamedTuple):
    """A driver's part of the file: ``make`` takes the fields of ``keys`` and has their defaults.

    ``check`` finds what is wrong between keys that are right by themselves; it is called for the configured driver
    only. ``policy_dir`` is the folder that the driver's tool reads rule files from; ``None`` if no tool does, so that
    they are kept in the state directory.
    """

    make: Callable[..., Any]
    keys: Keys
    check: Callable[[Settings], List[str]] = no_contradiction
    policy_dir: Optional[str] = None
