# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The switches: who they are, how they are reached, and the requests to their shims."""

import ipaddress
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from sentinel import tokenfile
from sentinel.capture import actions, events
from sentinel.capture.switches import Access, SwitchPool
from sentinel.components.component import Component, Job
from sentinel.config.settings import Settings
from sentinel.errors import ConfigError
from sentinel.model import Switch
from sentinel.readings import Reading

log = logging.getLogger(__name__)

LOOK_UP_S = 3600


def switches_of(settings: Settings) -> list[Switch]:
    """Return the inventory as values."""
    return [
        Switch(s.name, s.agents, s.url, s.erspan_source or s.agents[0], s.role, s.max_rules) for s in settings.switch
    ]


def access_of(settings: Settings) -> Access:
    """Return the credentials for the shims; raises ``ConfigError`` if the token file cannot be used."""
    chosen = settings.switches
    token = None
    if chosen.token_file is not None:
        token = tokenfile.token(chosen.token_file, "file", readers="group", key="switches.token_file")
        if token is None:
            problem = f"{chosen.token_file} holds no token; expected a token, or an owner and it"
            raise ConfigError("switches.token_file", [problem])
    cert = (chosen.client_cert, chosen.client_key) if chosen.client_cert and chosen.client_key else None
    if cert:
        tokenfile.read(cert[1], readers="group", key="switches.client_key")
    return Access(settings.capture.erspan_destination, chosen.ca_file, cert, token)


def url_of_agent(settings: Settings) -> Callable[[str], str | None]:
    """Return what gives the URL of the shim of an agent in ``[switches] agents``, ``None`` for any other address."""
    networks = [ipaddress.ip_network(prefix) for prefix in settings.switches.agents]
    template = settings.switches.url

    def url(agent: str) -> str | None:
        try:
            address = ipaddress.ip_address(agent)
        except ValueError:
            return None
        if template is None or not any(address.version == n.version and address in n for n in networks):
            return None
        return template.replace("{agent}", f"[{agent}]" if ":" in agent else agent)

    return url


class Switches(Component):
    """Each of ``on_event`` gets every answer of a switch, in the thread that waited for it.

    Each of ``on_shim_address`` gets the addresses of a shim's host and the switch's name.
    """

    def __init__(self, settings: Settings) -> None:
        self.on_event: list[Callable[[events.Event], None]] = []
        self.on_shim_address: list[Callable[[Iterable[str], str], None]] = []
        self.inventory = switches_of(settings)
        self._url_of_agent = url_of_agent(settings)
        self._pool = SwitchPool(access_of(settings), self._url_of_agent, self._answered)
        # Guards the two below: answers add to them, receiving threads read.
        self._known = threading.Lock()
        self._by_agent: dict[str, str] = {}
        self._by_source: dict[str, str] = {}
        for switch in self.inventory:
            self._know(switch)

    def stop(self) -> None:
        self._pool.stop()

    def jobs(self) -> Iterable[Job]:
        return (Job("shims", LOOK_UP_S, self._look_up_shims, at_start=True),)

    def send(self, action: actions.SwitchAction) -> None:
        """Queue a request; its answer comes as exactly one event."""
        self._pool.send(action)

    def is_probeable(self, agent: str) -> bool:
        """Tell whether the settings name a URL for an agent outside the inventory."""
        return self._url_of_agent(agent) is not None

    def meet_again(self, names: Iterable[str]) -> list[Switch]:
        """Return the switches of these names that an earlier run found by probing; requests reach them from now on."""
        inventory = {switch.name for switch in self.inventory}
        met = []
        for name in sorted(set(names) - inventory):
            url = self._url_of_agent(name)
            if url:
                met.append(Switch(name, (name,), url, name))
                self._know(met[-1])
        return met

    def of_agent(self, agent: str) -> str | None:
        """Return the name of the switch that an agent belongs to."""
        with self._known:
            return self._by_agent.get(agent)

    def of_source(self, erspan_source: str) -> str | None:
        """Return the name of the switch that mirrors from this address."""
        with self._known:
            return self._by_source.get(erspan_source)

    def _know(self, switch: Switch) -> None:
        self._pool.add(switch)
        with self._known:
            self._by_source[switch.erspan_source] = switch.name
            self._by_agent.update(dict.fromkeys(switch.agents, switch.name))

    def _answered(self, event: events.Event) -> None:
        if isinstance(event, events.SwitchFound):
            self._know(event.switch)
        for hear in self.on_event:
            hear(event)

    def _look_up_shims(self) -> None:
        """A shim's own host is never mirrored; its name is looked up if the URL has one."""
        for switch in self.inventory:
            host = urlsplit(switch.url).hostname or ""
            try:
                found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            except OSError:
                log.warning("switch %s: %s cannot be looked up", switch.name, host)
                continue
            addresses = [str(row[4][0]) for row in found]
            for hear in self.on_shim_address:
                hear(addresses, switch.name)

    def readings(self) -> Iterable[Reading]:
        for name, count in dict(self._pool.counters).items():
            yield f"sentinel_switches_{name}_total", {}, float(count), "counter", f"switches: {name}"
