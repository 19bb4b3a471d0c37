# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``captures``: what is mirrored now, and an operator's hand on it."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sentinel.commands.client import DaemonClient
from sentinel.commands.options import config_option, settings_of


@click.group()
def captures() -> None:
    """The captures of the running daemon: list, show, start, approve, stop, open."""


def _client(config: Path | None) -> DaemonClient:
    return DaemonClient.of_settings(settings_of(config))


def _rows(answer: Any) -> list[dict[str, Any]]:
    found = answer.get("captures", []) if isinstance(answer, dict) else answer
    return found if isinstance(found, list) else []


@captures.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that ended lately too.")
@click.option("--json", "as_json", is_flag=True, help="The API's JSON.")
@config_option
def list_captures(everything: bool, as_json: bool, config: Path | None) -> None:
    """One line per capture: who with whom, where it is mirrored, why it is in its state."""
    answer = _client(config).ask("GET", "/captures")
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("ID", "STATE", "LOCAL", "LISTED", "SWITCH", "PACKETS", "NOTE"):
        table.add_column(heading, justify="right" if heading == "PACKETS" else "left")
    rows = [row for row in _rows(answer) if everything or row["state"] != "ended"]
    for row in rows:
        switches = ",".join(mirror["switch"] for mirror in row["mirrors"])
        cells = (row["id"], row["state"], row["local_ip"], row["listed_ip"], switches, str(row["packets"]), row["note"])
        table.add_row(*(Text(str(cell)) for cell in cells))
    console = Console()
    if rows:
        console.print(table, width=None if console.is_terminal else 200)
    else:
        click.echo("no capture is live" + ("" if everything else "; --all shows those that ended"), err=True)


@captures.command()
@click.argument("capture_id", metavar="ID")
@config_option
def show(capture_id: str, config: Path | None) -> None:
    """Everything about one capture, with the exact rule on the switch."""
    click.echo(json.dumps(_client(config).ask("GET", f"/captures/{capture_id}"), indent=2))


@captures.command()
@click.argument("local_ip", metavar="LOCAL")
@click.argument("listed_ip", metavar="LISTED")
@click.option("--seconds", type=click.IntRange(1, 86_400), help="How long at most [capture.longest].")
@config_option
def start(local_ip: str, listed_ip: str, seconds: int | None, config: Path | None) -> None:
    """Capture a pair now, whatever its evidence."""
    body: dict[str, Any] = {"local_ip": local_ip, "listed_ip": listed_ip}
    if seconds is not None:
        body["seconds"] = seconds
    _say(_client(config).ask("POST", "/captures", body))


@captures.command()
@click.argument("capture_id", metavar="ID")
@config_option
def approve(capture_id: str, config: Path | None) -> None:
    """Let a pending capture be installed (mode "manual")."""
    _say(_client(config).ask("POST", f"/captures/{capture_id}/approve", {}))


@captures.command()
@click.argument("capture_id", metavar="ID")
@config_option
def stop(capture_id: str, config: Path | None) -> None:
    """End a capture and take its rule from the switch; the pair is held back for capture.longest."""
    _say(_client(config).ask("DELETE", f"/captures/{capture_id}"))


@captures.command("open")
@click.argument("capture_id", metavar="ID")
@config_option
def open_capture(capture_id: str, config: Path | None) -> None:
    """Open the capture's packets in Wireshark, where this host receives them and has one; else say where they are."""
    settings = settings_of(config)
    answer = DaemonClient.of_settings(settings).ask("GET", f"/captures/{capture_id}")
    directory = settings.erspan.directory or settings.state_dir / "pcap"
    files = sorted(directory.glob(f"{answer['id']}.*.pcapng"))
    if not files:
        where = settings.capture.erspan_destination
        click.echo(f"no packets of {capture_id} are on this host; they are sent to {where} as GRE/ERSPAN", err=True)
        raise click.exceptions.Exit(1)
    wireshark = shutil.which("wireshark")
    if wireshark is None:
        click.echo("\n".join(map(str, files)))
        click.echo("no wireshark on this host; copy the file above to one that has it", err=True)
        return
    subprocess.Popen([wireshark, str(files[-1])], start_new_session=True)  # noqa: S603  # no shell, our own path


def _say(answer: Any) -> None:
    click.echo(f"{answer['id']}: {answer['state']}" + (f": {answer['note']}" if answer.get("note") else ""))
