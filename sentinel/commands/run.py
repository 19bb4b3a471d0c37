# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``run`` and ``check``: the daemon, and what would keep it from working."""

import errno
import gc
import logging
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from sentinel import tokenfile
from sentinel.capture.switches import Access, SwitchClient
from sentinel.commands import logs
from sentinel.commands.client import DaemonClient
from sentinel.commands.options import config_option, find_config
from sentinel.components.feeds import loader_of
from sentinel.components.switches import access_of, switches_of
from sentinel.config.settings import Settings, load
from sentinel.daemon import Daemon
from sentinel.errors import OutsideError, SwitchError
from sentinel.limits import MAX_LOG_MESSAGE_CHARS
from sentinel.model import Switch
from sentinel.texts import quoted
from sentinel.web.tokens import parse_tokens


@click.command()
@config_option
@click.option("-v", "--verbose", is_flag=True, help="Log every request too.")
def run(config: Path | None, verbose: bool) -> None:
    """The daemon: sFlow in, detections, captures on switches, console on port 8008."""
    path = find_config(config)
    settings = load(path)
    logs.set_up(logging.DEBUG if verbose else logging.INFO)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    daemon = Daemon(settings)
    try:
        daemon.start()
    except OSError as error:
        raise OutsideError(f"cannot start: {error}") from error
    # Lists and modules live as long as the process: a collection need not walk through them, which takes tens of
    # milliseconds in whichever thread it happens to run.
    gc.collect()
    gc.freeze()
    logging.getLogger("sentinel").info("settings %s; mode %s", path, settings.capture.mode)
    try:
        ended.wait()
    finally:
        daemon.stop()


@click.command()
@config_option
def check(config: Path | None) -> None:
    """Say what is wrong with settings, feeds, switches and the way of the mirrored packets, and where.

    Exit status 0: all well; 1: something is wrong; 2: the settings themselves are.
    """
    path = find_config(config)
    settings = load(path)
    report = _Report()
    report.good("settings", str(path))
    if settings.web.token_file is not None:
        parse_tokens(tokenfile.read(settings.web.token_file, readers="owner"), str(settings.web.token_file))
    _check_feeds(settings, report)
    _check_switches(settings, report)
    _check_ports(settings, report)
    if report.wrong:
        raise click.exceptions.Exit(1)


class _Report:
    def __init__(self) -> None:
        self.wrong = 0

    def good(self, what: str, detail: str) -> None:
        click.echo(f"ok     {what}: {quoted(detail, MAX_LOG_MESSAGE_CHARS)}")

    def bad(self, what: str, detail: str) -> None:
        self.wrong += 1
        click.echo(f"WRONG  {what}: {quoted(detail, MAX_LOG_MESSAGE_CHARS)}")


def _check_feeds(settings: Settings, report: _Report) -> None:
    loader = loader_of(settings)
    loader.load_cached()
    if not loader.feeds:
        report.bad(
            "feeds", "none is enabled: nothing can be found; see [feeds] enabled and `sentinel feeds list --catalogue`"
        )
    for status in loader.status():
        entries = status.entries_v4 + status.entries_v6
        if status.state == "ok":
            report.good(f"feed {status.name}", f"{entries} prefixes")
        elif status.last_error:
            report.bad(f"feed {status.name}", f"{status.last_error}; {entries} prefixes of the last good copy in force")
        else:
            report.bad(f"feed {status.name}", "never downloaded; sentinel feeds refresh")


def _check_switches(settings: Settings, report: _Report) -> None:
    access = access_of(settings)
    switches = switches_of(settings)
    if not switches and not settings.switches.agents:
        report.bad("switches", "none is configured: nothing can be captured; see [[switch]] and [switches]")
    with ThreadPoolExecutor(16) as workers:
        for switch, found in zip(switches, workers.map(lambda s: _ask(s, access), switches), strict=True):
            (report.bad if isinstance(found, SwitchError) else report.good)(f"switch {switch.name}", _words(found))


def _ask(switch: Switch, access: Access) -> str | SwitchError:
    client = SwitchClient(switch.name, switch.url, access)
    try:
        health = client.health()
        listed = client.list()
        if listed.unreachable:
            raise SwitchError(switch.name, "unreachable", f"cannot reach the ERSPAN destination: {listed.unreachable}")
    except SwitchError as error:
        return error
    finally:
        client.close()
    return f"switch-acl-api {health.get('version')}, driver {health.get('driver')}, {len(listed.rules)} rules there"


def _words(found: str | SwitchError) -> str:
    return found.detail if isinstance(found, SwitchError) else found


def _check_ports(settings: Settings, report: _Report) -> None:
    for host, port in settings.sflow.listen:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE and _daemon_runs(settings):
                    report.good(f"sFlow on {host} port {port}", "the running daemon listens there")
                else:
                    report.bad(f"sFlow on {host} port {port}", error.strerror or str(error))
            else:
                report.good(f"sFlow on {host} port {port}", "free")


def _daemon_runs(settings: Settings) -> bool:
    try:
        DaemonClient.of_settings(settings).ask("GET", "/switches")
    except OutsideError:
        return False
    return True
