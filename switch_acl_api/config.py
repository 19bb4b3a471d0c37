# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The settings file: TOML to values, with every error at once. No file other than the one given is looked at."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

from switch_acl_api.atomic import write_file
from switch_acl_api.drivers.table import DRIVERS, is_installed, section_of
from switch_acl_api.errors import ConfigError
from switch_acl_api.limits import MAX_BULK_NAMES, MAX_CONFIG_BYTES
from switch_acl_api.settings import DEFAULT_DRIVER, DEFAULT_MAX_RULES, DEFAULT_STATE_DIR, Settings
from switch_acl_api.values import (
    Keys,
    address,
    choice,
    collector,
    duration,
    duration_or_never,
    flag,
    list_of,
    number,
    port,
    read_keys,
    shown,
    text,
)

if sys.version_info >= (3, 11):
    import tomllib  # novm: only where it is part of Python
else:
    import tomli as tomllib

DEFAULT_PATH = "/etc/switch-acl-api.toml"


def load_settings(path: str) -> Settings:
    """Raises ``ConfigError`` with every finding."""
    settings, findings = read_settings(path)
    if findings:
        raise ConfigError(path, findings)
    return settings


def read_settings(path: str) -> Tuple[Settings, List[str]]:
    """Settings with defaults in the place of whatever was wrong, and the findings.

    Only the hands that remove rules may go on with such settings: they must not be stopped by a typing error.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        return _defaults(), ["cannot be read: {}".format(error.strerror)]
    if len(raw) > MAX_CONFIG_BYTES:
        return _defaults(), ["larger than {} octets".format(MAX_CONFIG_BYTES)]
    try:
        table = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return _defaults(), ["not TOML: {}".format(error)]
    return parse_settings(table)


def settings_for_removal(path: str) -> Tuple[Settings, List[str]]:
    """As ``read_settings``; if there are findings, the settings are those of the last good start, if they are kept."""
    settings, findings = read_settings(path)
    for kept in _kept_files(path) if findings else []:
        last, trouble = read_settings(str(kept))
        if not trouble:
            return last, findings
    return settings, findings


def keep_settings(path: str) -> None:
    """Keep a copy of the settings file, which was good, for the hands that remove rules. Raises ``OSError``."""
    kept = _kept_files(path)[0]
    temp = kept.with_name(kept.name + ".tmp")
    with contextlib.suppress(FileNotFoundError):
        temp.unlink()
    write_file(temp, kept, Path(path).read_bytes(), 0o600)


def _kept_files(path: str) -> List[Path]:
    """In systemd's state directory, which all hands share, else beside the settings file."""
    name = Path(path).name + ".last-start"
    state = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    folders = [state] if state else [str(Path(path).parent), DEFAULT_STATE_DIR]
    return [Path(folder) / name for folder in folders]


def _defaults() -> Settings:
    return parse_settings({})[0]


def parse_settings(table: Dict[str, Any]) -> Tuple[Settings, List[str]]:
    """Pure: a TOML table to settings and findings.

    A section of another driver than the configured one is checked too, if that driver is part of this installation.
    """
    findings: List[str] = []
    common = {key: value for key, value in table.items() if key not in DRIVERS}
    fields = read_keys(common, KEYS, "", findings, list(DRIVERS))
    driver = fields.get("driver", DEFAULT_DRIVER)
    own = {
        name: _own_settings(name, table.get(name, {}), findings)
        for name in DRIVERS
        if is_installed(name) and (name in table or name == driver)
    }
    section = section_of(driver)
    state_dir = fields.get("state_dir", DEFAULT_STATE_DIR)
    fields.setdefault("policy_dir", section.policy_dir or str(Path(state_dir) / "policy.d"))
    most: int = fields.setdefault("max_rules", DEFAULT_MAX_RULES)
    fields.setdefault("max_rules_per_owner", most)
    fields.setdefault("max_names_per_owner", min(4 * most, MAX_BULK_NAMES))
    settings = Settings(own=own[driver], **fields)
    return settings, findings + _contradictions(settings, table) + section.check(settings)


def _own_settings(name: str, table: Any, findings: List[str]) -> Any:
    if not isinstance(table, dict):
        findings.append("{} = {}: expected a section [{}]".format(name, shown(table), name))
        table = {}
    section = section_of(name)
    return section.make(**read_keys(table, section.keys, name + ".", findings))


def _contradictions(settings: Settings, table: Dict[str, Any]) -> List[str]:
    """What is wrong between keys that are right by themselves."""
    found: List[str] = []
    if "driver" not in table:
        found.append("driver: missing; expected one of {}".format(", ".join(DRIVERS)))
    if "erspan_destinations" not in table:
        found.append("erspan_destinations: missing; it must be said where mirrors may go")
    if "auth" not in table:
        found.append('auth: missing; expected ["token"], ["mtls"], both, or [] so that nobody is asked')
    if "token" in settings.auth and "auth" in table and settings.token_file is None:
        found.append('token_file: missing; auth has "token"')
    if settings.auth_match == "both" and set(settings.auth) != {"token", "mtls"}:
        found.append('auth_match = "both": expected auth = ["token", "mtls"]')
    if (settings.tls_cert is None) != (settings.tls_key is None):
        found.append("tls_cert and tls_key: one without the other")
    if "mtls" in settings.auth:
        if not settings.tls:
            found.append('tls_cert: missing; auth has "mtls"')
        if settings.client_ca is None:
            found.append('client_ca: missing; auth has "mtls"')
    if settings.default_ttl_s is not None and settings.default_ttl_s > settings.max_ttl_s:
        found.append("default_ttl: expected at most max_ttl ({:g}s)".format(settings.max_ttl_s))
    return found


def _driver(value: Any) -> str:
    name = choice(*DRIVERS)(value)
    if not is_installed(name):
        here = ", ".join('"{}"'.format(each) for each in DRIVERS if is_installed(each))
        raise ValueError('one of {}; "{}" is not part of this installation'.format(here, name))
    return name


KEYS: Keys = {
    "listen": ("listen", address),
    "driver": ("driver", _driver),
    "auth": ("auth", list_of(choice("token", "mtls"))),
    "auth_match": ("auth_match", choice("either", "both")),
    "hosts": ("hosts", list_of(text)),
    "token_file": ("token_file", text),
    "tls_cert": ("tls_cert", text),
    "tls_key": ("tls_key", text),
    "client_ca": ("client_ca", text),
    "insecure": ("insecure", flag),
    "erspan_destinations": ("erspan_destinations", list_of(collector, least=1)),
    "erspan_sources": ("erspan_sources", list_of(collector, least=1)),
    "ports": ("ports", list_of(port)),
    "max_rules": ("max_rules", number(1, 15_000)),
    "max_rules_per_owner": ("max_rules_per_owner", number(1, 15_000)),
    "max_names_per_owner": ("max_names_per_owner", number(1, MAX_BULK_NAMES)),
    "max_requests_per_second": ("max_requests_per_second", number(1, 100_000)),
    "default_ttl": ("default_ttl_s", duration_or_never),
    "max_ttl": ("max_ttl_s", duration),
    "state_dir": ("state_dir", text),
    "policy_dir": ("policy_dir", text),
    "commit_interval": ("commit_interval_s", duration),
    "commit_timeout": ("commit_timeout_s", duration),
    "boot_id_file": ("boot_id_file", text),
}
