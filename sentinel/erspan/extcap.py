# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Wireshark's extcap interface as text: what it asks on the command line, what it is told on standard output.

Sources: Wireshark's developer's guide, chapter "Capture"; extcap(4). Pure: the captures and the time are handed in.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from sentinel.limits import MAX_CAPTURE_REQUEST_S, MAX_EXTCAP_TEXT_CHARS

# The interface that starts a capture; each live capture is one of its own, named after it.
START = "sentinel"
PREFIX = f"{START}-"
NEW = "new"

Action = Literal["interfaces", "dlts", "config", "reload", "filter", "capture", "help"]

_FLAGS = frozenset({"extcap-interfaces", "extcap-dlts", "extcap-config", "capture", "keep", "help", "version"})
_OWN = frozenset({"follow", "local", "listed", "seconds", "url", "token-file", "ca-file"})
_VALUED = _OWN | {
    "extcap-interface",
    "extcap-version",
    "extcap-reload-option",
    "extcap-capture-filter",
    "extcap-control-in",
    "extcap-control-out",
    "fifo",
}

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Call:
    """One call by Wireshark. ``options`` are our own, by name without dashes; empty ones are left out."""

    action: Action
    interface: str = ""
    fifo: str = ""
    capture_filter: str = ""
    reload: str = ""
    keep: bool = False
    options: Mapping[str, str] = field(default_factory=dict)


def parse_call(arguments: Sequence[str]) -> Call:
    """What is asked; words of later versions of Wireshark, and words it has no value for, are passed over."""
    flags: set[str] = set()
    values: dict[str, str] = {}
    at = 0
    while at < len(arguments):
        name, given, value = arguments[at].removeprefix("--").partition("=")
        at += 1
        if name in _FLAGS:
            flags.add(name)
        elif name in _VALUED:
            # The name of a reloaded option may come with its dashes; nothing else that begins with them is a value.
            bare = at < len(arguments) and (name == "extcap-reload-option" or not arguments[at].startswith("--"))
            if not given and bare:
                value = arguments[at]
                at += 1
            values[name] = value
    return Call(
        _action(flags, values),
        values.get("extcap-interface", ""),
        values.get("fifo", ""),
        values.get("extcap-capture-filter", ""),
        values.get("extcap-reload-option", "").removeprefix("--"),
        "keep" in flags,
        {name: values[name] for name in sorted(_OWN) if values.get(name)},
    )


def _action(flags: set[str], values: Mapping[str, str]) -> Action:
    if "capture" in flags:
        return "capture"
    if "extcap-interfaces" in flags:
        return "interfaces"
    if "extcap-dlts" in flags:
        return "dlts"
    if "extcap-config" in flags:
        return "reload" if "extcap-reload-option" in values else "config"
    return "filter" if "extcap-capture-filter" in values else "help"


def interfaces(captures: Iterable[Row], trouble: str, version: str, now: float) -> Iterator[str]:
    """The live captures, and one interface that starts another; ``trouble`` is why there may be none."""
    yield _sentence("extcap", version=version, help="")
    for capture in live(captures):
        yield _sentence("interface", value=f"{PREFIX}{capture['id']}", display=f"Sentinel: {said(capture, now)}")
    yield _sentence("interface", value=START, display=f"Sentinel: {trouble or 'start a capture'}")


def live(captures: Iterable[Row]) -> list[Row]:
    """Those whose packets come, or will come, to the daemon."""
    return [each for each in captures if each.get("state") != "ended" and each.get("received") is not None]


def said(capture: Row, now: float) -> str:
    """One capture in a line: pair, switches, state, time left at most; ``now`` in UTC seconds."""
    mirrors = capture.get("mirrors")
    rows = [each for each in mirrors if isinstance(each, Mapping)] if isinstance(mirrors, list) else []
    where = ", ".join(str(each.get("switch")) for each in rows) or "no switch yet"
    state = "" if capture.get("state") == "active" else f", {capture.get('state')}"
    return f"{capture.get('local_ip')} with {capture.get('listed_ip')} at {where}{state}, {_left(capture, now)} left"


def _left(capture: Row, now: float) -> str:
    try:
        ends_at = datetime.fromisoformat(str(capture.get("ends_at"))).astimezone(UTC).timestamp()
    except ValueError:
        return "some time"
    seconds = max(0, round(ends_at - now))
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def dlts(interface: str) -> Iterator[str]:
    """The link type of an interface, which is Ethernet for all of ours."""
    if interface == START or interface.startswith(PREFIX):
        yield _sentence("dlt", number="1", name="EN10MB", display="Ethernet")


def config(interface: str, captures: Iterable[Row], now: float) -> Iterator[str]:
    """The dialog of the interface that starts a capture; the others have none."""
    if interface != START:
        return
    yield _argument(
        "follow",
        "Capture",
        "selector",
        reload="true",
        placeholder="Look again",
        tooltip="A capture that is live already, or a new one of the two hosts below",
    )
    yield from choices(captures, now)
    yield _argument("local", "Local host", "string", tooltip="IPv4 or IPv6 address of our side", group="New capture")
    yield _argument("listed", "Other host", "string", tooltip="IPv4 or IPv6 address", group="New capture")
    most = f"1,{MAX_CAPTURE_REQUEST_S}"
    text = "How long at most; the daemon's own limit when empty"
    yield _argument("seconds", "Seconds at most", "unsigned", range=most, tooltip=text, group="New capture")
    text = "Otherwise a new capture ends, and its rule leaves the switch, when Wireshark stops"
    yield _argument("keep", "Go on without Wireshark", "boolflag", tooltip=text, group="New capture")
    text = "Instead of the one in client.toml"
    yield _argument("url", "Daemon", "string", tooltip=text, placeholder="https://sentinel.example", group="Daemon")
    text = "A file of mode 0600 with the token; the token itself is never an option"
    yield _argument("token-file", "Token file", "fileselect", tooltip=text, group="Daemon")
    text = "Certificates that sign the daemon's, where the system's don't"
    yield _argument("ca-file", "CA file", "fileselect", tooltip=text, group="Daemon")


def choices(captures: Iterable[Row], now: float) -> Iterator[str]:
    """What the selector offers, now."""
    number = str(_NUMBERS["follow"])
    text = "a new one, of the two hosts below"
    yield _sentence("value", arg=number, value=NEW, display=text, default="true")
    for capture in live(captures):
        yield _sentence("value", arg=number, value=str(capture["id"]), display=said(capture, now))


_NUMBERS = {
    name: number
    for number, name in enumerate(("follow", "local", "listed", "seconds", "keep", "url", "token-file", "ca-file"))
}


def _argument(name: str, display: str, kind: str, **more: str) -> str:
    return _sentence("arg", number=str(_NUMBERS[name]), call=f"--{name}", display=display, type=kind, **more)


def _sentence(word: str, **values: str) -> str:
    """Braces and line ends would end a value, so that a name from elsewhere could add sentences of its own."""
    return f"{word} " + "".join(f"{{{key}={_plain(value)}}}" for key, value in values.items() if value)


def _plain(value: str) -> str:
    kept = "".join(" " if each in "{}" or not each.isprintable() else each for each in value)
    return kept[:MAX_EXTCAP_TEXT_CHARS]
