# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``decode``, ``replay`` and ``decap``: what can be done with recordings."""

import ipaddress
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from sentinel.blacklist.catalogue import parse_feed_argument, with_distinct_names
from sentinel.blacklist.loader import Loader
from sentinel.blacklist.trie import Blacklist
from sentinel.commands.options import config_option, settings_of
from sentinel.components.feeds import loader_of
from sentinel.decide.replay import Replay
from sentinel.errors import DecodeCode, OutsideError, RecordingError
from sentinel.erspan import recorded as mirrored
from sentinel.packets.pcap import packets
from sentinel.report import eve
from sentinel.sflow.jsonlines import decode_lines
from sentinel.sflow.listener import Listener
from sentinel.sflow.recorded import RecordedDatagram, datagrams

DEFAULT_LOCAL = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")


def say(text: str) -> None:
    click.echo(text, err=True)


def put(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line, separators=(", ", ": ")) + "\n")


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """A recording (``-`` is standard input), with a progress bar on a terminal's stderr."""
    if name == "-":
        yield sys.stdin.buffer
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    try:
        with (
            Path(name).open("rb") as file,
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
            progress.wrap_file(file, total=Path(name).stat().st_size, description=Path(name).name) as watched,
        ):
            yield watched
    except OSError as error:
        raise RecordingError(f"{name}: {error.strerror or error}") from error


class Faults:
    """Recordings that could not be read to their end: said at once, remembered for the exit status."""

    def __init__(self) -> None:
        self.found = False

    def datagrams(self, name: str) -> Iterator[RecordedDatagram]:
        passed_over: Counter[DecodeCode] = Counter()
        try:
            with opened(name) as file:
                yield from datagrams(packets(file), passed_over)
        except RecordingError as error:
            self.found = True
            say(f"{name}: {error}")
        # Other protocols are in many recordings, and no fault of them.
        del passed_over["not_ip"]
        if passed_over:
            kinds = ", ".join(f"{number} {code}" for code, number in passed_over.most_common())
            say(f"{name}: {passed_over.total()} frames passed over: {kinds}")

    def exit(self) -> None:
        if self.found:
            raise click.exceptions.Exit(1)


@click.command()
@click.argument("pcaps", metavar="[PCAP|-]...", nargs=-1)
@click.option("--listen", metavar="HOST:PORT", help="Decode what arrives on this UDP address until interrupted.")
def decode(pcaps: tuple[str, ...], listen: str | None) -> None:
    """Print sFlow as one JSON object per sample.

    Reads pcap and pcapng recordings of sFlow datagrams ("-" is standard input), or listens itself. What cannot be
    decoded gives a line with "error" and "offset", and the next sample follows.
    """
    if listen:
        _decode_live(listen)
        return
    if not pcaps:
        raise click.UsageError("name a recording, or - for standard input, or --listen HOST:PORT")
    faults = Faults()
    lines = errors = 0
    for name in pcaps:
        for line in decode_lines(faults.datagrams(name)):
            put(line)
            lines += 1
            errors += "error" in line
    sys.stdout.flush()
    say(f"{lines - errors} samples, {errors} errors")
    faults.exit()


def _decode_live(listen: str) -> None:
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise click.UsageError(f"--listen {listen}: expected HOST:PORT, such as 0.0.0.0:6343 or [::]:6343")
    address = (host.strip("[]") or "::", int(port))
    frames = iter(range(1, sys.maxsize))
    gone = threading.Event()

    def received(batch: Iterable[tuple[bytes, str, float]]) -> None:
        datagrams = (
            RecordedDatagram(next(frames), at, sender, address[0], address[1], payload) for payload, sender, at in batch
        )
        try:
            for line in decode_lines(datagrams):
                put(line)
            sys.stdout.flush()
        except BrokenPipeError:
            gone.set()

    listener = Listener([address], 32 << 20, received)
    try:
        listener.start()
    except OSError as error:
        raise OutsideError(f"cannot listen on {listen}: {error.strerror}") from error
    say(f"listening on {listen}; Ctrl-C ends it")
    try:
        gone.wait()
    finally:
        listener.stop()


@click.command()
@click.argument("pcaps", metavar="PCAP...", nargs=-1, required=True)
@click.option("--feed", "feeds", multiple=True, metavar="FILE[:FORMAT[:GROUP]]", help="A list; may be repeated.")
@click.option("--local", multiple=True, metavar="CIDR", help="Our own networks [RFC 1918 and fc00::/7].")
@config_option
def replay(pcaps: tuple[str, ...], feeds: tuple[str, ...], local: tuple[str, ...], config: Path | None) -> None:
    """Print the detections of recorded sFlow as EVE JSON Lines, ordered by first seen.

    Without --feed the lists of the settings' cache are used.

    \b
    Example: sentinel replay monday.pcap --feed bad.txt --local 10.0.0.0/8
    """
    for prefix in local:
        _check_prefix(prefix)
    settings = settings_of(config) if config or not feeds else None
    loader = _own_lists(feeds, local) if settings is None or feeds else loader_of(settings)
    blacklist = _in_force(loader)
    ours = local or (settings.network.local if settings else DEFAULT_LOCAL)
    destinations = (settings.capture.erspan_destination,) if settings else ()
    play = Replay(blacklist, ours, destinations)
    faults = Faults()
    for name in pcaps:
        play.feed(faults.datagrams(name))
    found = play.detections()
    for detection in found:
        put(eve.alert(detection))
    sys.stdout.flush()
    counts = play.scan.counters
    unreadable = sum(counts.bad_datagrams.values()) + counts.bad_samples
    say(
        f"{len(found)} detections in {counts.samples} samples of {counts.datagrams} datagrams, {unreadable} unreadable;"
        f" scan: {play.scan.implementation}"
    )
    refused = sum(play.detector.counters.refused.values())
    if refused:
        say(f"{refused} samples found no place: the bounds on open detections and observers were met")
    faults.exit()


def _check_prefix(text: str) -> None:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise click.UsageError(f"--local {text}: expected an address or CIDR prefix, such as 10.0.0.0/8") from None


def _own_lists(feeds: tuple[str, ...], local: tuple[str, ...]) -> Loader:
    # The default of --local tells directions; only networks a person named keep a line out of force.
    return Loader(with_distinct_names(map(parse_feed_argument, feeds)), None, local=local)


def _in_force(loader: Loader) -> Blacklist:
    for outcome in loader.load_cached():
        if outcome.kind in {"failed", "quarantined"}:
            say(f"feed {outcome.feed}: {outcome.detail or outcome.reason}")
    for status in loader.status():
        rejected = ", ".join(f"{count} {reason}" for reason, count in status.rejected.items() if count)
        if rejected:
            say(f"feed {status.name}: lines not in force: {rejected}")
    if not len(loader.current.blacklist):
        say("no list has an entry in force: nothing can be found")
    return loader.current.blacklist


@click.command()
@click.argument("pcaps", metavar="PCAP...", nargs=-1, required=True)
@click.option("-w", "--write", required=True, metavar="FILE.pcapng", type=click.Path(path_type=Path, dir_okay=False))
def decap(pcaps: tuple[str, ...], write: Path) -> None:
    """Write the mirrored frames of recorded ERSPAN (types I, II, III, bridged GRE) as pcapng, byte for byte."""
    try:
        result = mirrored.decap([Path(name) for name in pcaps], write)
    except OSError as error:
        raise RecordingError(f"{write}: {error.strerror or error}") from error
    for problem in result.problems:
        say(problem)
    say(f"{result.mirrored} mirrored frames of {result.recorded} recorded written to {write}; {_rest(result)}")
    if result.problems:
        raise click.exceptions.Exit(1)


def _rest(result: mirrored.DecapResult) -> str:
    parts = (
        f"{result.truncated} cut short",
        f"{result.not_mirrored} not mirrored",
        f"{result.malformed} malformed",
        f"{result.incomplete} incomplete fragments",
    )
    return ", ".join(parts)
