# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``lookup`` and ``feeds``: what is listed, by whom, and how fresh."""

import ipaddress
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from sentinel.blacklist.catalogue import shipped_descriptors
from sentinel.blacklist.loader import Loader
from sentinel.blacklist.refresh import Refreshed
from sentinel.blacklist.scorecard import feed_row
from sentinel.commands import scores
from sentinel.commands.client import DaemonClient, DaemonUnreachable
from sentinel.commands.consequence import on_a_hit
from sentinel.commands.options import config_option, settings_of
from sentinel.components.capture import policy_of
from sentinel.components.feeds import confidence_of, loader_of
from sentinel.config.settings import Settings
from sentinel.times import utc
from sentinel.web import views


@click.command()
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@config_option
def lookup(addresses: tuple[str, ...], config: Path | None) -> None:
    """Say which indicators list an address and since when, what wins over them, and what would happen on a hit."""
    for text in addresses:
        try:
            ipaddress.ip_address(text)
        except ValueError:
            raise click.UsageError(f"{text!r} is not an IPv4 or IPv6 address") from None
    settings = settings_of(config)
    loader = loader_of(settings)
    loader.load_cached()
    for text in addresses:
        for line in _explained(text, loader, settings):
            click.echo(line)
    if not len(loader.current.blacklist):
        click.echo("No list is in force yet: sentinel feeds refresh", err=True)


def _explained(text: str, loader: Loader, settings: Settings) -> list[str]:
    found = loader.current.blacklist.explain(str(ipaddress.ip_address(text)))
    lines = [f"{text}: {'listed' if found.listed else 'not listed'}"]
    for indicator in found.indicators:
        at = loader.since(indicator)
        since = f"  since {utc(at)[:19]}Z" if at is not None else ""
        lines.append(f"  {indicator.prefix}  {indicator.feed}  {indicator.group}{since}")
    if found.listed:
        policy = policy_of(settings, confidence_of(loader.feeds))
        lines += [f"  on a hit: {words}" for words in on_a_hit(found.address, found.indicators, policy)]
    for number, allowed in enumerate(found.allowed_by):
        also = "also " if number else ""
        lines.append(f"  {also}allowed by {allowed.prefix} ({allowed.source}){'' if number else ': it never matches'}")
    for dropped in found.dropped:
        line = dropped.rejected
        lines.append(f"  {line.prefix} in {dropped.feed} line {line.line} is not in force: {line.reason}")
    return lines


@click.group()
def feeds() -> None:
    """The threat feeds: what is in force, how old, what was refused."""


@feeds.command("list")
@click.option("--catalogue", is_flag=True, help="All feeds that can be enabled by name, with their licences.")
@click.option("--score", is_flag=True, help="What each feed is worth: what only it lists, and what came of it.")
@config_option
def list_feeds(catalogue: bool, score: bool, config: Path | None) -> None:
    """One line per feed."""
    if catalogue:
        _print(scores.catalogue(shipped_descriptors().values()))
        return
    rows = _rows(settings_of(config))
    _print(scores.score_table(rows) if score else scores.state_table(rows, time.time()))
    if any(row.get("state") in {"stale", "quarantined"} for row in rows):
        raise click.exceptions.Exit(1)


@feeds.command("show")
@click.argument("name")
@config_option
def show(name: str, config: Path | None) -> None:
    """Everything about one feed: its state, what was dropped and why, what it is worth, its terms."""
    rows = _rows(settings_of(config))
    for row in rows:
        if row.get("name") == name:
            for line in scores.details(row):
                click.echo(line)
            return
    raise click.UsageError(_not_enabled(name, [str(row.get("name")) for row in rows]))


@feeds.command("accept")
@click.argument("name")
@config_option
def accept(name: str, config: Path | None) -> None:
    """Put a feed's quarantined download in force, after a look at it: the rules for single lines still hold."""
    settings = settings_of(config)
    loader = loader_of(settings)
    _check_enabled([name], loader)

    def here() -> Refreshed:
        loader.load_cached()
        return loader.accept(name)

    if _ask(name, DaemonClient.of_settings(settings).accept_feed, here, {"replaced"}):
        raise click.exceptions.Exit(1)


@feeds.command("refresh")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@config_option
def refresh(names: tuple[str, ...], config: Path | None) -> None:
    """Download feeds now, as far as their owners' intervals allow; all of them unless some are named."""
    settings = settings_of(config)
    loader = loader_of(settings)
    known = _check_enabled(names, loader)
    wrong = 0
    client = DaemonClient.of_settings(settings)
    console = Console(stderr=True)
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True) as progress:
        task = progress.add_task("")
        for name in names or known:
            progress.update(task, description=f"feed {name}")
            wrong += _ask(
                name, client.refresh_feed, partial(_refreshed, loader, name), {"replaced", "unchanged", "not-due"}
            )
    if wrong:
        raise click.exceptions.Exit(1)


def _refreshed(loader: Loader, name: str) -> Refreshed:
    loader.load_cached()
    return loader.refresh(name)


def _ask(name: str, daemon: Callable[[str], str], here: Callable[[], Refreshed], good: set[str]) -> bool:
    """Whether it went wrong. The running daemon puts a list in force at once; without one its next start does."""
    try:
        click.echo(f"{name}: {daemon(name)}")
    except DaemonUnreachable:
        outcome = here()
        click.echo(f"{name}: {_said(outcome)}")
        return outcome.kind not in good
    return False


def _check_enabled(names: Iterable[str], loader: Loader) -> list[str]:
    known = [feed.name for feed in loader.feeds]
    for name in names:
        if name not in known:
            raise click.UsageError(_not_enabled(name, known))
    return known


def _not_enabled(name: str, known: list[str]) -> str:
    return f"{name} is not enabled; enabled are: {', '.join(known) or 'none'}"


def _rows(settings: Settings) -> list[dict[str, Any]]:
    """As the running daemon sees its feeds; without one as its copies on disk are."""
    try:
        return DaemonClient.of_settings(settings).feeds()
    except DaemonUnreachable:
        loader = loader_of(settings)
        loader.load_cached()
        return [views.feed(feed_row(status, {}, None)) for status in loader.status()]


def _said(outcome: Refreshed) -> str:
    if outcome.kind == "replaced":
        change = outcome.difference
        words = f"replaced, {len(change.added)} added, {len(change.removed)} removed"
        return f"{words}, {len(change.changed)} changed" if change.changed else words
    return f"{outcome.kind} {outcome.detail or outcome.reason}".strip()


def _print(table: Table) -> None:
    console = Console()
    # Piped into another program the rows keep their length; on a terminal they fit it.
    console.print(table, width=None if console.is_terminal else 200)
