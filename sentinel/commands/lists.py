# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``lookup`` and ``feeds``: what is listed, by whom, and how fresh."""

import ipaddress
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from sentinel.blacklist.catalogue import shipped_descriptors
from sentinel.blacklist.loader import Loader, Outcome
from sentinel.blacklist.status import FeedStatus
from sentinel.commands.client import DaemonClient, DaemonUnreachable
from sentinel.commands.options import config_option, settings_of
from sentinel.daemon import loader_of

ON_A_HIT = {
    "automatic": "captured at once when one of ours initiates, from capture.min_samples on when one of ours answers",
    "manual": "waits for an operator's approval, then captured",
    "dry-run": "the rule, its switch and its end are shown; nothing is installed",
}


@click.command()
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@config_option
def lookup(addresses: tuple[str, ...], config: Path | None) -> None:
    """Say which indicators list an address, or why none is in force for it."""
    for text in addresses:
        try:
            ipaddress.ip_address(text)
        except ValueError:
            raise click.UsageError(f"{text!r} is not an IPv4 or IPv6 address") from None
    settings = settings_of(config)
    loader = loader_of(settings)
    loader.load_cached()
    for text in addresses:
        found = loader.current.blacklist.explain(str(ipaddress.ip_address(text)))
        click.echo(f"{text}: {'listed' if found.listed else 'not listed'}")
        for indicator in found.indicators:
            click.echo(f"  {indicator.prefix}  {indicator.feed}  {indicator.group}")
        if found.listed:
            click.echo(f"  on a hit: {ON_A_HIT[settings.capture.mode]}")
        for allowed in found.allowed_by:
            click.echo(f"  allowed by {allowed.prefix} ({allowed.source}): it never matches")
        for dropped in found.dropped:
            line = dropped.rejected
            click.echo(f"  {line.prefix} in {dropped.feed} line {line.line} is not in force: {line.reason}")
    if not len(loader.current.blacklist):
        click.echo("No list is in force yet: sentinel feeds refresh", err=True)


@click.group()
def feeds() -> None:
    """The threat feeds: what is in force, how old, what was refused."""


@feeds.command("list")
@click.option("--catalogue", is_flag=True, help="All feeds that can be enabled by name, with their licences.")
@config_option
def list_feeds(catalogue: bool, config: Path | None) -> None:
    """One line per feed."""
    if catalogue:
        table = Table(box=None, pad_edge=False)
        for heading in ("NAME", "TITLE", "LICENCE"):
            table.add_column(heading, overflow="fold")
        for feed in shipped_descriptors().values():
            table.add_row(feed.name, Text(feed.title), Text(feed.licence))
        _print(table)
        return
    loader = loader_of(settings_of(config))
    loader.load_cached()
    _print(_table(loader))
    if any(status.state in {"stale", "quarantined"} for status in loader.status()):
        raise click.exceptions.Exit(1)


@feeds.command("refresh")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@config_option
def refresh(names: tuple[str, ...], config: Path | None) -> None:
    """Download feeds now, as far as their owners' intervals allow; all of them unless some are named."""
    settings = settings_of(config)
    loader = loader_of(settings)
    known = [feed.name for feed in loader.feeds]
    for name in names:
        if name not in known:
            raise click.UsageError(f"{name} is not enabled; enabled are: {', '.join(known) or 'none'}")
    wrong = 0
    client = DaemonClient.of_settings(settings)
    console = Console(stderr=True)
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True) as progress:
        task = progress.add_task("")
        for name in names or known:
            progress.update(task, description=f"feed {name}")
            wrong += _refresh_one(name, client, loader)
    if wrong:
        raise click.exceptions.Exit(1)


def _refresh_one(name: str, client: DaemonClient, loader: Loader) -> bool:
    """Ask the running daemon, which puts the list in force at once; without one, fill the cache for its next start."""
    try:
        click.echo(f"{name}: {client.refresh_feed(name)}")
    except DaemonUnreachable:
        loader.load_cached()
        outcome = loader.refresh(name)
        click.echo(f"{name}: {_said(outcome)}")
        return outcome.kind in {"failed", "quarantined"}
    return False


def _said(outcome: Outcome) -> str:
    if outcome.kind == "replaced":
        change = outcome.difference
        return f"replaced, {len(change.added)} added, {len(change.removed)} removed"
    return f"{outcome.kind} {outcome.detail or outcome.reason}".strip()


def _table(loader: Loader) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("FEED", "STATE", "V4", "V6", "REFUSED", "AGE", "DETAIL"):
        table.add_column(heading, justify="right" if heading in {"V4", "V6", "REFUSED", "AGE"} else "left")
    for status in loader.status():
        refused = sum(status.rejected.values()) + status.unreadable
        table.add_row(
            status.name,
            status.state,
            str(status.entries_v4),
            str(status.entries_v6),
            str(refused),
            _age(status),
            Text(status.last_error or (f"next {_in(status.next_due_at)}" if status.source.startswith("http") else "")),
        )
    return table


def _age(status: FeedStatus) -> str:
    return "never" if status.age_s is None else _span(status.age_s)


def _in(at: float) -> str:
    return "now" if at <= time.time() else "in " + _span(at - time.time())


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _print(table: Table) -> None:
    console = Console()
    # Piped into another program the rows keep their length; on a terminal they fit it.
    console.print(table, width=None if console.is_terminal else 200)
