# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The settings file: TOML to values, with every error at once. No file other than the one given is looked at."""

import difflib
import ipaddress
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from switch_acl_api.errors import ConfigError
from switch_acl_api.limits import MAX_CONFIG_BYTES, MAX_LEASE_S

if sys.version_info >= (3, 11):
    import tomllib  # novm: only where it is part of Python
else:
    import tomli as tomllib

DEFAULT_PATH = "/etc/switch-acl-api.toml"
DRIVERS = ("cumulus", "linux", "ovs", "emulated")

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|m|h|d)\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PORT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}\+?\Z")

Address = Tuple[str, int]


class CumulusSettings(NamedTuple):
    """``management`` are the devices that do not carry ERSPAN; ``verify`` reads back what was installed."""

    cl_acltool: str = "/usr/cumulus/bin/cl-acltool"
    ip: str = "ip"
    ping: str = "ping"
    management: Tuple[str, ...] = ("eth0", "mgmt")
    verify: bool = True


class LinuxSettings(NamedTuple):
    """``realisation`` makes the ERSPAN: ``erspan`` (devices of the kernel), ``veth`` (with a process), or ``auto``."""

    nft: str = "nft"
    ip: str = "ip"
    realisation: str = "auto"


class OvsSettings(NamedTuple):
    """``port`` is the ERSPAN port's name, ``register`` the one of which bit 31 is ours while a packet is looked up."""

    bridge: str = "br0"
    port: str = "erspan-acl"
    erspan_type: int = 2
    session: int = 1
    ttl: int = 64
    register: int = 15
    rundir: str = "/var/run/openvswitch"
    ovs_vsctl: str = "ovs-vsctl"
    ovs_ofctl: str = "ovs-ofctl"
    ovs_appctl: str = "ovs-appctl"
    ip: str = "ip"
    ping: str = "ping"


class EmulatedSettings(NamedTuple):
    """``frames`` is where frames arrive, ``erspan_port`` where GRE-in-UDP goes (RFC 8086: 4754)."""

    frames: Optional[Address] = None
    erspan_port: int = 4754
    erspan_version: int = 1
    ipv6: bool = True
    tcam: Optional[int] = None


class Settings(NamedTuple):
    """Durations in seconds. ``default_ttl_s`` is ``None`` for "never"; ``policy_dir`` has its driver's default."""

    listen: Address = ("127.0.0.1", 8080)
    driver: str = "cumulus"
    auth: Tuple[str, ...] = ("token",)
    token_file: Optional[str] = None
    tls_cert: Optional[str] = None
    tls_key: Optional[str] = None
    client_ca: Optional[str] = None
    insecure: bool = False
    erspan_destinations: Tuple[str, ...] = ()
    ports: Tuple[str, ...] = ("swp+", "bond+")
    max_rules: int = 100
    default_ttl_s: Optional[float] = 3600.0
    max_ttl_s: float = 3600.0
    state_dir: str = "/var/lib/switch-acl-api"
    policy_dir: str = "/etc/cumulus/acl/policy.d"
    commit_interval_s: float = 0.5
    commit_timeout_s: float = 60.0
    boot_id_file: str = "/proc/sys/kernel/random/boot_id"
    cumulus: CumulusSettings = CumulusSettings()
    emulated: EmulatedSettings = EmulatedSettings()
    linux: LinuxSettings = LinuxSettings()
    ovs: OvsSettings = OvsSettings()

    @property
    def tls(self) -> bool:
        return self.tls_cert is not None

    @property
    def exposed(self) -> bool:
        """May it listen on anything but loopback?"""
        return self.insecure or (self.tls and bool(self.auth))


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
        return Settings(), ["cannot be read: {}".format(error.strerror)]
    if len(raw) > MAX_CONFIG_BYTES:
        return Settings(), ["larger than {} octets".format(MAX_CONFIG_BYTES)]
    try:
        table = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return Settings(), ["not TOML: {}".format(error)]
    return parse_settings(table)


def parse_settings(table: Dict[str, Any]) -> Tuple[Settings, List[str]]:
    """Pure: a TOML table to settings and findings."""
    findings: List[str] = []
    tables = {"cumulus": _CUMULUS, "emulated": _EMULATED, "linux": _LINUX, "ovs": _OVS}
    values = _read({k: v for k, v in table.items() if k not in tables}, _TOP, "", findings, extra=list(tables))
    parts: Dict[str, Dict[str, Any]] = {}
    for name, schema in tables.items():
        section = table.get(name, {})
        if not isinstance(section, dict):
            findings.append("{} = {}: expected a section [{}]".format(name, _shown(section), name))
            section = {}
        parts[name] = _read(section, schema, name + ".", findings)
    if "policy_dir" not in values and values.get("driver", "cumulus") != "cumulus":
        values["policy_dir"] = str(Path(values.get("state_dir", Settings().state_dir)) / "policy.d")
    settings = Settings(
        cumulus=CumulusSettings(**parts["cumulus"]),
        emulated=EmulatedSettings(**parts["emulated"]),
        linux=LinuxSettings(**parts["linux"]),
        ovs=OvsSettings(**parts["ovs"]),
        **values,
    )
    findings += _contradictions(settings, table)
    return settings, findings


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
    if (settings.tls_cert is None) != (settings.tls_key is None):
        found.append("tls_cert and tls_key: one without the other")
    if "mtls" in settings.auth:
        if not settings.tls:
            found.append('tls_cert: missing; auth has "mtls"')
        if settings.client_ca is None:
            found.append('client_ca: missing; auth has "mtls"')
    if settings.default_ttl_s is not None and settings.default_ttl_s > settings.max_ttl_s:
        found.append("default_ttl: expected at most max_ttl ({:g}s)".format(settings.max_ttl_s))
    if settings.driver == "cumulus":
        found += [
            "erspan_destinations = {}: expected an address that a front-panel port leads to".format(address)
            for address in settings.erspan_destinations
            if ipaddress.ip_address(address).is_loopback
        ]
    return found


# --- one parser per kind of value; each raises ValueError with the expectation --------------------


def _read(
    table: Dict[str, Any],
    schema: Dict[str, Tuple[str, Callable[[Any], Any]]],
    prefix: str,
    findings: List[str],
    extra: Optional[List[str]] = None,
) -> Dict[str, Any]:
    values: Dict[str, Any] = {}
    for key, value in table.items():
        if key not in schema:
            near = difflib.get_close_matches(key, list(schema) + (extra or []), 1, 0.5)
            hint = '; did you mean "{}"?'.format(near[0]) if near else ""
            findings.append("{}{}: unknown key{}".format(prefix, key, hint))
            continue
        field, parse = schema[key]
        try:
            values[field] = parse(value)
        except ValueError as error:
            findings.append("{}{} = {}: expected {}".format(prefix, key, _shown(value), error))
    return values


def _shown(value: object) -> str:
    text = repr(value).replace("'", '"')
    return text if len(text) <= 60 else text[:57] + "…"


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text in quotes")
    return value


def _flag(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise ValueError("true or false")


def _number(least: int, most: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError("a whole number from {} to {}".format(least, most))
        return value

    return parse


def _duration(value: Any) -> float:
    found = _DURATION.match(value) if isinstance(value, str) else None
    seconds = float(found.group(1)) * _SECONDS[found.group(2)] if found else -1.0
    if not 0.0 < seconds <= MAX_LEASE_S:
        raise ValueError('a duration with its unit (ms, s, m, h, d), such as "30s" or "1h"')
    return seconds


def _duration_or_never(value: Any) -> Optional[float]:
    return None if value == "never" else _duration(value)


def _address(value: Any) -> Address:
    """``"127.0.0.1:8080"`` or ``"[::1]:8080"``: an address, never a name, so that no resolver is asked."""
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if host == "localhost":
        host = "127.0.0.1"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        host = ""
    if not host or not colon or not re.match(r"[0-9]{1,5}\Z", port) or int(port) > 65535:
        raise ValueError('an address and a port, such as "0.0.0.0:8443" or "[::]:8443"')
    return host, int(port)


def _choice(*names: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError("one of {}".format(", ".join('"{}"'.format(name) for name in names)))
        return value

    return parse


def _list(item: Callable[[Any], str], least: int = 0) -> Callable[[Any], Tuple[str, ...]]:
    def parse(value: Any) -> Tuple[str, ...]:
        if not isinstance(value, list) or len(value) < least:
            raise ValueError("a list, such as [ … ]" if least == 0 else "a list with at least one entry")
        return tuple(item(entry) for entry in value)

    return parse


def _collector(value: Any) -> str:
    try:
        address = ipaddress.IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("a list of IPv4 addresses") from None
    if address.is_multicast or address.packed[0] in (0, 255) or str(address) != value:
        raise ValueError("a list of IPv4 addresses of hosts")
    return str(address)


def _port(value: Any) -> str:
    if not isinstance(value, str) or _PORT_NAME.match(value) is None:
        raise ValueError('a list of port names, such as "swp1" or "swp+"')
    return value


def _device(value: Any) -> str:
    if not isinstance(value, str) or _PORT_NAME.match(value) is None or value.endswith("+") or value[0] == "-":
        raise ValueError('a name of 1 to 15 letters, digits, ".", "_" and "-"')
    return value


_TOP: Dict[str, Tuple[str, Callable[[Any], Any]]] = {
    "listen": ("listen", _address),
    "driver": ("driver", _choice(*DRIVERS)),
    "auth": ("auth", _list(_choice("token", "mtls"))),
    "token_file": ("token_file", _text),
    "tls_cert": ("tls_cert", _text),
    "tls_key": ("tls_key", _text),
    "client_ca": ("client_ca", _text),
    "insecure": ("insecure", _flag),
    "erspan_destinations": ("erspan_destinations", _list(_collector, least=1)),
    "ports": ("ports", _list(_port)),
    "max_rules": ("max_rules", _number(1, 15_000)),
    "default_ttl": ("default_ttl_s", _duration_or_never),
    "max_ttl": ("max_ttl_s", _duration),
    "state_dir": ("state_dir", _text),
    "policy_dir": ("policy_dir", _text),
    "commit_interval": ("commit_interval_s", _duration),
    "commit_timeout": ("commit_timeout_s", _duration),
    "boot_id_file": ("boot_id_file", _text),
}
_CUMULUS: Dict[str, Tuple[str, Callable[[Any], Any]]] = {
    "cl_acltool": ("cl_acltool", _text),
    "ip": ("ip", _text),
    "ping": ("ping", _text),
    "management": ("management", _list(_port)),
    "verify": ("verify", _flag),
}
_EMULATED: Dict[str, Tuple[str, Callable[[Any], Any]]] = {
    "frames": ("frames", _address),
    "erspan_port": ("erspan_port", _number(1, 65535)),
    "erspan_version": ("erspan_version", _number(1, 2)),
    "ipv6": ("ipv6", _flag),
    "tcam": ("tcam", _number(0, 100_000)),
}
_OVS: Dict[str, Tuple[str, Callable[[Any], Any]]] = {
    "bridge": ("bridge", _device),
    "port": ("port", _device),
    "erspan_type": ("erspan_type", _number(2, 3)),
    "session": ("session", _number(0, 1023)),
    "ttl": ("ttl", _number(1, 255)),
    "register": ("register", _number(0, 15)),
    "rundir": ("rundir", _text),
    "ovs_vsctl": ("ovs_vsctl", _text),
    "ovs_ofctl": ("ovs_ofctl", _text),
    "ovs_appctl": ("ovs_appctl", _text),
    "ip": ("ip", _text),
    "ping": ("ping", _text),
}
_LINUX: Dict[str, Tuple[str, Callable[[Any], Any]]] = {
    "nft": ("nft", _text),
    "ip": ("ip", _text),
    "realisation": ("realisation", _choice("auto", "erspan", "veth")),
}
