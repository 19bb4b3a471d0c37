# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The whole daemon's settings: TOML in, frozen values out, every error at once.

Keys are the file's; attributes carry their unit (``quiet = "10m"`` is ``quiet_s``). Nothing here changes after loading.
"""

import ipaddress
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Self, get_args
from urllib.parse import urlsplit

import netaddr
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sentinel.config import units
from sentinel.config.findings import findings_of
from sentinel.config.inventory import read_inventory
from sentinel.errors import ConfigError
from sentinel.limits import MAX_SCAN_THREADS
from sentinel.model import Direction, Evidence, Role


def _address(value: object) -> str:
    try:
        address = ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        address = None
    if address is None:
        raise ValueError("an IPv4 or IPv6 address")
    return str(address)


def _unicast(value: str) -> str:
    address = ipaddress.ip_address(value)
    if address.is_multicast or address.is_unspecified or value == "255.255.255.255":
        raise ValueError("the address of one machine, not multicast, broadcast or unspecified")
    return value


def _cidr(value: object) -> str:
    try:
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY004  # one message for both kinds of wrong
        return str(netaddr.IPNetwork(value, flags=netaddr.NOHOST))
    except (ValueError, netaddr.AddrFormatError):
        raise ValueError('an address or CIDR prefix, such as "10.0.0.0/8"') from None


def _endpoint(value: object) -> tuple[str, int]:
    split = urlsplit(f"//{value}") if isinstance(value, str) else None
    try:
        if split and split.hostname and split.port is not None and not (split.path or split.query):
            return str(ipaddress.ip_address(split.hostname)), split.port
    except ValueError:
        pass
    raise ValueError('an address and port to listen on, such as "0.0.0.0:6343" or "[::]:6343"')


def _http_url(value: str) -> str:
    try:
        split = urlsplit(value.replace("{agent}", "agent"))
        ok = split.scheme in {"http", "https"} and bool(split.hostname) and split.path in {"", "/"}
        _ = split.port
    except ValueError:
        ok = False
    if not ok or split.username or split.query or split.fragment:
        raise ValueError('the root URL of a shim, such as "https://leaf1.example:8443", without path or credentials')
    return value.rstrip("/")


def _positive(limit: float) -> Callable[[float], float]:
    def check(value: float) -> float:
        if value < limit:
            raise ValueError(f"at least {limit:g}s")
        return value

    return check


Address = Annotated[str, BeforeValidator(_address)]
Host = Annotated[str, BeforeValidator(_address), AfterValidator(_unicast)]
Cidr = Annotated[str, BeforeValidator(_cidr)]
Endpoint = Annotated[tuple[str, int], BeforeValidator(_endpoint)]
Duration = Annotated[float, BeforeValidator(units.duration_s)]
Size = Annotated[int, BeforeValidator(units.size_bytes)]
RateBps = Annotated[int, BeforeValidator(units.rate_bps)]
Url = Annotated[str, AfterValidator(_http_url)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=False)


class Network(Section):
    """What is ours: decides direction, and what a feed may never list."""

    local: Annotated[tuple[Cidr, ...], Field(strict=False, min_length=1)]


class Sflow(Section):
    """Where sFlow arrives. Heard are switches, ``agents`` (hosts that are no switches), and what ``relays`` forward."""

    listen: Annotated[tuple[Endpoint, ...], Field(strict=False, min_length=1)] = (("::", 6343),)
    receive_buffer_bytes: Size = Field(32 * 2**20, alias="receive_buffer")
    agents: Annotated[tuple[Cidr, ...], Field(strict=False)] = ()
    relays: Annotated[tuple[Cidr, ...], Field(strict=False)] = ()
    threads: Annotated[int, Field(ge=1, le=MAX_SCAN_THREADS)] = 1


class CaptureSettings(Section):
    """When and how a conversation is mirrored."""

    mode: Literal["automatic", "manual", "dry-run"]
    erspan_destination: Host
    never_capture: Annotated[tuple[Cidr, ...], Field(strict=False)] = ()
    quiet_s: Annotated[Duration, AfterValidator(_positive(1))] = Field(600.0, alias="quiet")
    longest_s: Annotated[Duration, AfterValidator(_positive(1))] = Field(3600.0, alias="longest")
    switch_lease_s: Annotated[Duration, AfterValidator(_positive(3))] = Field(120.0, alias="switch_lease")
    min_samples: Annotated[int, Field(ge=1)] = 3
    max_new_per_minute: Annotated[int, Field(ge=1)] = 30
    in_interface: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._-]{0,14}\+?$")] = "swp+"
    ttl: Annotated[int, Field(ge=1, le=255)] | None = 64
    allow_unlisted: bool = False
    flood_bps: RateBps = Field(500 * 10**6, alias="flood")
    max_bps_per_switch: RateBps = Field(10**9, alias="max_rate_per_switch")
    max_bps: RateBps = Field(2 * 10**9, alias="max_rate")
    evict: bool = True

    @model_validator(mode="after")
    def _clocks(self) -> Self:
        if self.quiet_s > self.longest_s:
            raise ValueError("quiet must not be longer than longest: the capture would end before it could be quiet")
        return self


class ThresholdSettings(Section):
    """What must be known of a pair that this feed or group lists; the first that fits an indicator holds for it."""

    feed: str | None = None
    group: str | None = None
    evidence: Evidence = "answered"
    min_samples: Annotated[int, Field(ge=1)] | None = None
    min_bytes: Size = 0
    directions: Annotated[tuple[Direction, ...], Field(strict=False, min_length=1)] = get_args(Direction)
    priority: Annotated[int, Field(ge=-100, le=100)] = 0


class Switches(Section):
    """How to reach the switches that are not listed one by one, and what holds for all of them."""

    agents: Annotated[tuple[Cidr, ...], Field(strict=False)] = ()
    url: Url | None = None
    ca_file: Path | None = Field(None, strict=False)
    client_cert: Path | None = Field(None, strict=False)
    client_key: Path | None = Field(None, strict=False)
    token_file: Path | None = Field(None, strict=False)
    inventory: Path | None = Field(None, strict=False)
    insecure: bool = False

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.agents and self.url is None:
            raise ValueError('agents needs url, such as "https://{agent}:8443"')
        if self.url is not None and "{agent}" not in self.url:
            raise ValueError("url must contain {agent}, which becomes the agent's address")
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key go together")
        return self


class SwitchEntry(Section):
    """One switch of the inventory."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    agents: Annotated[tuple[Address, ...], Field(strict=False, min_length=1)]
    url: Url
    role: Role = "leaf"
    erspan_source: Host | None = None
    max_rules: Annotated[int, Field(ge=2)] = 100


class Feeds(Section):
    """Which lists are in force: names of the catalogue; ``files`` are own lists, ``PATH[:FORMAT[:GROUP]]``.

    What ``allow`` and ``allow_files``, written alike, list never matches.
    """

    enabled: Annotated[tuple[str, ...], Field(strict=False)] = ()
    files: Annotated[tuple[str, ...], Field(strict=False)] = ()
    directory: Path | None = Field(None, strict=False)
    allow: Annotated[tuple[Cidr, ...], Field(strict=False)] = ()
    allow_files: Annotated[tuple[str, ...], Field(strict=False)] = ()


class Erspan(Section):
    """Receiving mirrored packets here. Without ``receive`` they go to Wireshark at the ERSPAN destination."""

    receive: bool = False
    gre_in_udp: Endpoint | None = None
    directory: Path | None = Field(None, strict=False)
    max_bytes: Size = Field(2**30, alias="max_total")
    max_age_s: Annotated[Duration, AfterValidator(_positive(60))] = Field(2_592_000.0, alias="max_age")
    leave_out_duplicates: bool = False


class Web(Section):
    """The REST API and the console."""

    listen: Endpoint = ("127.0.0.1", 8008)
    hosts: Annotated[tuple[str, ...], Field(strict=False)] = ()
    token_file: Path | None = Field(None, strict=False)

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.token_file is None and not ipaddress.ip_address(self.listen[0]).is_loopback:
            raise ValueError("listen must be a loopback address until token_file says who may ask")
        return self


class Report(Section):
    """Where events go besides the console: EVE JSON Lines, by default in the state folder."""

    eve_file: Path | None = Field(None, strict=False)


class Settings(Section):
    """``sentinel.toml`` as a whole."""

    network: Network
    capture: CaptureSettings
    sflow: Sflow = Sflow()
    threshold: Annotated[tuple[ThresholdSettings, ...], Field(strict=False)] = ()
    switches: Switches = Switches()
    switch: Annotated[tuple[SwitchEntry, ...], Field(strict=False)] = ()
    feeds: Feeds = Feeds()
    erspan: Erspan = Erspan()
    web: Web = Web()
    report: Report = Report()
    state_dir: Path = Field(Path("/var/lib/sentinel"), strict=False)


def load(path: Path) -> Settings:
    """Read ``sentinel.toml`` and the inventory it names; raises ``ConfigError`` with every finding."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"is not TOML: {error}"]) from error
    return parse(raw, str(path))


def parse(raw: dict[str, object], source: str) -> Settings:
    """A TOML document to ``Settings``; relative paths stay relative to the working folder."""
    rows, findings = _inventory_of(raw)
    inline = raw.get("switch", [])
    if rows and isinstance(inline, list):
        raw = {**raw, "switch": [*inline, *rows]}
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(source, findings_of(error, Settings, inline_rows=_length(inline)) + findings) from error
    findings += _between_sections(settings)
    if findings:
        raise ConfigError(source, findings)
    return settings


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0


def _inventory_of(raw: dict[str, object]) -> tuple[list[dict[str, object]], list[str]]:
    switches = raw.get("switches")
    path = switches.get("inventory") if isinstance(switches, dict) else None
    return read_inventory(Path(path)) if isinstance(path, str) else ([], [])


def _between_sections(settings: Settings) -> list[str]:
    findings = []
    owner: dict[str, str] = {}
    names: set[str] = set()
    for switch in settings.switch:
        if switch.name in names:
            findings.append(f"switch {switch.name}: the name stands twice")
        names.add(switch.name)
        for agent in switch.agents:
            if agent in owner:
                findings.append(f"switch {switch.name}: agent {agent} already belongs to switch {owner[agent]}")
            owner[agent] = switch.name
    urls = [(f"switch {switch.name}: url", switch.url) for switch in settings.switch]
    if settings.switches.url:
        urls.append(("switches.url", settings.switches.url))
    for key, url in urls:
        if url.startswith("http:") and not settings.switches.insecure:
            findings.append(f'{key} = "{url}": expected https, or switches.insecure = true')
        if url.startswith("http:") and settings.switches.token_file:
            findings.append(
                f'{key} = "{url}": switches.token_file is set, and a token goes only over verified TLS (https)'
            )
    return findings
