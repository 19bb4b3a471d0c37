# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``selftest``: one made-up sample per switch through the real parts, with nothing sent to anybody."""

import ipaddress
import socket
import time
from pathlib import Path

import click
import dpkt
import netaddr

from sentinel.blacklist.trie import Blacklist
from sentinel.capture import actions, events
from sentinel.capture.engine import CaptureEngine
from sentinel.commands.options import config_option, settings_of
from sentinel.compiled import chosen
from sentinel.components.capture import policy_of
from sentinel.components.feeds import confidence_of, feeds_of, loader_of
from sentinel.components.sflow import admission_of
from sentinel.components.switches import switches_of
from sentinel.config.settings import Settings
from sentinel.detect.engine import Detector
from sentinel.model import Capture, Now, Switch
from sentinel.scan.threads import Scanning
from sentinel.sflow import encode


@click.command()
@config_option
def selftest(config: Path | None) -> None:
    """Send one made-up sample per switch through matching, detection and planning, and show the rule it would get.

    Uses these settings and the lists in force. No socket is opened and no switch is asked. Exit status 1 when a sample
    that should be caught is not.
    """
    settings = settings_of(config)
    loader = loader_of(settings)
    loader.load_cached()
    listed = _listed_address(loader.current.blacklist)
    local = _local_address(settings)
    if listed is None or local is None:
        click.echo("WRONG  no IPv4 prefix is in force, or network.local has no IPv4 prefix: sentinel feeds refresh")
        raise click.exceptions.Exit(1)
    click.echo(f"a bare SYN from {local} to {listed}, as if sampled by:")
    click.echo(f"scan: {chosen()[0]}", err=True)
    wrong = 0
    for switch in switches_of(settings):
        capture, why = _try(settings, loader.current.blacklist, switch, local, listed)
        if capture is None:
            wrong += 1
            click.echo(f"WRONG  {switch.name}: {why}")
            continue
        click.echo(f"ok     {switch.name}: {capture.state}; {capture.reason}")
        for line in capture.mirrors[0].lines:
            click.echo(f"         {line}")
    if not settings.switch:
        click.echo("WRONG  no switch stands in the settings by name")
    if wrong or not settings.switch:
        raise click.exceptions.Exit(1)


def _listed_address(blacklist: Blacklist) -> str | None:
    """An address that is surely a hit: inside some IPv4 prefix and overruled by no allow list."""
    for prefix in blacklist.prefixes():
        if ":" not in prefix:
            address = str(ipaddress.ip_network(prefix)[0 if prefix.endswith("/32") else 1])
            if blacklist.lookup(address):
                return address
    return None


def _local_address(settings: Settings) -> str | None:
    kept_out = netaddr.IPSet(settings.capture.never_capture)
    for prefix in settings.network.local:
        network = netaddr.IPNetwork(prefix)
        if network.version == 4:
            for address in network[1:1000] if network.size > 1000 else network:
                if address not in kept_out:
                    return str(address)
    return None


def _try(
    settings: Settings, blacklist: Blacklist, switch: Switch, local: str, listed: str
) -> tuple[Capture | None, str]:
    """The capture that this switch's sample leads to, or why there is none."""
    destinations = (settings.capture.erspan_destination,)
    scan = Scanning(admission_of(settings), destinations)
    detector = Detector(settings.network.local, min_samples=settings.capture.min_samples)
    engine = CaptureEngine(
        policy_of(settings, confidence_of(feeds_of(settings))), switches_of(settings), lambda _: False
    )
    result = scan.scan([(_datagram(switch.agents[0], local, listed), switch.agents[0], time.time())], blacklist)
    if not result.matches:
        return None, f"not matched: {', '.join(f'{k} {v}' for k, v in scan.counters.refused.items()) or 'no hit'}"
    now = Now(time.monotonic(), time.time())
    records = []
    for match in result.matches:
        for event in detector.observe(match, now.mono):
            todo = engine.handle(events.Sighted(event.detection), now)
            records += [c for c in todo if isinstance(c, actions.Record)]
    if not records:
        return None, "; ".join(refusal.detail for refusal in engine.refusals.values()) or "no capture was wanted"
    return records[-1].capture, ""


def _datagram(agent: str, source: str, destination: str) -> bytes:
    tcp = dpkt.tcp.TCP(sport=40_000, dport=443, flags=dpkt.tcp.TH_SYN)
    ip = dpkt.ip.IP(src=socket.inet_aton(source), dst=socket.inet_aton(destination), p=6, ttl=64, data=tcp)
    frame = bytes(dpkt.ethernet.Ethernet(src=b"\x02\0\0\0\0\1", dst=b"\x02\0\0\0\0\2", data=ip))
    sample = encode.flow_sample(
        sequence=1,
        source_index=1,
        sampling_rate=1000,
        sample_pool=1000,
        input=1,
        output=2,
        header=frame,
        frame_length=len(frame) + 4,
    )
    return encode.datagram(agent, 0, 1, 1000, [sample])
