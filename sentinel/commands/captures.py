# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``captures``: what is mirrored now, and an operator's hand on it."""

import contextlib
import itertools
import json
import shutil
import subprocess
from collections.abc import Generator
from typing import IO, Any, BinaryIO

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sentinel.commands.client import DaemonClient
from sentinel.commands.options import daemon_options


@click.group()
def captures() -> None:
    """The captures of the running daemon: list, show, start, approve, stop, open."""


def _rows(answer: Any) -> list[dict[str, Any]]:
    found = answer.get("captures", []) if isinstance(answer, dict) else answer
    return found if isinstance(found, list) else []


@captures.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that ended lately too.")
@click.option("--json", "as_json", is_flag=True, help="The API's JSON.")
@daemon_options
def list_captures(everything: bool, as_json: bool, client: DaemonClient) -> None:
    """One line per capture: who with whom, where it is mirrored, why it is in its state."""
    answer = client.ask("GET", "/captures")
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
@daemon_options
def show(capture_id: str, client: DaemonClient) -> None:
    """Everything about one capture, with the exact rule on the switch."""
    click.echo(json.dumps(client.ask("GET", f"/captures/{capture_id}"), indent=2))


@captures.command()
@click.argument("local_ip", metavar="LOCAL")
@click.argument("listed_ip", metavar="LISTED")
@click.option("--seconds", type=click.IntRange(1, 86_400), help="How long at most [capture.longest].")
@daemon_options
def start(local_ip: str, listed_ip: str, seconds: int | None, client: DaemonClient) -> None:
    """Capture a pair now, whatever its evidence."""
    body: dict[str, Any] = {"local_ip": local_ip, "listed_ip": listed_ip}
    if seconds is not None:
        body["seconds"] = seconds
    _say(client.ask("POST", "/captures", body))


@captures.command()
@click.argument("capture_id", metavar="ID")
@daemon_options
def approve(capture_id: str, client: DaemonClient) -> None:
    """Let a pending capture be installed (mode "manual")."""
    _say(client.ask("POST", f"/captures/{capture_id}/approve", {}))


@captures.command()
@click.argument("capture_id", metavar="ID")
@daemon_options
def stop(capture_id: str, client: DaemonClient) -> None:
    """End a capture and take its rule from the switch; the pair is held back for capture.longest."""
    _say(client.ask("DELETE", f"/captures/{capture_id}"))


@captures.command("open")
@click.argument("capture_id", metavar="ID")
@click.option("-w", "--write", "target", type=click.File("wb"), help="Write the packets there (-: stdout) instead.")
@daemon_options
def open_capture(capture_id: str, target: BinaryIO | None, client: DaemonClient) -> None:
    """Hand the capture's packets to Wireshark, those to come too; where there is none, say where they are.

    The packets come from the daemon, which may be on another host. `-w - | tshark -i -` serves a terminal.
    """
    chunks = client.stream(f"/captures/{capture_id}/pcap?follow=1")
    # The first octets tell whether there are any: a refusal is said before a window opens.
    first = next(chunks, b"")
    if target is not None:
        _feed(target, first, chunks)
        return
    wireshark = shutil.which("wireshark")
    if wireshark is None:
        chunks.close()
        click.echo(f"{client.url}/api/v1/captures/{capture_id}/pcap")
        click.echo("no wireshark on this host; the packets are at the address above; -w FILE writes them", err=True)
        return
    started = subprocess.Popen(  # noqa: S603  # no shell; found in the user's own PATH
        [wireshark, "-k", "-i", "-"], stdin=subprocess.PIPE, start_new_session=True
    )
    if started.stdin is not None:
        with contextlib.suppress(BrokenPipeError), started.stdin:
            _feed(started.stdin, first, chunks)


def _feed(target: BinaryIO | IO[bytes], first: bytes, chunks: Generator[bytes]) -> None:
    """Until there is no more, or nobody takes any more."""
    with contextlib.closing(chunks), contextlib.suppress(BrokenPipeError):
        for chunk in itertools.chain((first,), chunks):
            target.write(chunk)
            target.flush()


def _say(answer: Any) -> None:
    click.echo(f"{answer['id']}: {answer['state']}" + (f": {answer['note']}" if answer.get("note") else ""))
