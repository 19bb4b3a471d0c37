# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``sentinel-extcap``: the daemon's captures as interfaces of Wireshark, which calls this; people don't.

A link to it belongs in Wireshark's extcap folder:
``ln -s "$(command -v sentinel-extcap)" ~/.config/wireshark/extcap/``. Where the daemon is and the token of who asks
are in ``client.toml`` (``sentinel.commands.access``).
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import sentinel
from sentinel.commands.access import access_of, client_file
from sentinel.commands.client import DaemonClient
from sentinel.errors import OutsideError
from sentinel.erspan import extcap

# Wireshark's start waits for the list of interfaces.
_LIST_TIMEOUT_S = 3.0
_LOOK_MS = 500
_NO_FILTER = "Sentinel's captures are one pair of hosts each; a capture filter is not applied, use a display filter"


def main() -> NoReturn:
    """Answer one call; status 0, or 1 with one line on stderr, which Wireshark shows."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    # A broken pipe is the usual end and comes as an error.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    call = extcap.parse_call(sys.argv[1:])
    try:
        _ANSWERS[call.action](call)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OutsideError, OSError) as error:
        _complain(str(error))
        sys.exit(1)
    sys.exit(0)


def _complain(text: str) -> None:
    sys.stderr.write(f"sentinel-extcap: {text}\n")


def _end(*_: object) -> NoReturn:
    sys.exit(0)


# --- what Wireshark asks before a capture --------------------------------------------------------


def _interfaces(_: extcap.Call) -> None:
    rows, trouble = _listed({})
    _say(extcap.interfaces(rows, trouble, sentinel.__version__, time.time()))


def _dlts(call: extcap.Call) -> None:
    _say(extcap.dlts(call.interface))


def _config(call: extcap.Call) -> None:
    _say(extcap.config(call.interface, _listed(call.options)[0], time.time()))


def _reload(call: extcap.Call) -> None:
    if call.reload == "follow":
        _say(extcap.choices(_listed(call.options)[0], time.time()))


def _filter(_: extcap.Call) -> None:
    _say([_NO_FILTER])


def _help(_: extcap.Call) -> None:
    _say(
        [
            f"sentinel-extcap {sentinel.__version__}: Sentinel's captures as interfaces of Wireshark, which calls it.",
            'Put it there: ln -s "$(command -v sentinel-extcap)" ~/.config/wireshark/extcap/',
            f"The daemon is asked at the url in {client_file()}; token_file and ca_file may stand there too.",
        ]
    )


def _say(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _listed(options: Mapping[str, str]) -> tuple[list[dict[str, Any]], str]:
    """The captures, or why they can't be had: a list without them is still a list to Wireshark."""
    try:
        client = _client(options)
        try:
            return _rows(client, _LIST_TIMEOUT_S), ""
        finally:
            client.close()
    except OutsideError as error:
        return [], str(error).splitlines()[0]


def _rows(client: DaemonClient, timeout_s: float) -> list[dict[str, Any]]:
    answer = client.ask("GET", "/captures", timeout_s=timeout_s)
    rows = answer.get("captures") if isinstance(answer, dict) else None
    return [row for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []


def _client(options: Mapping[str, str]) -> DaemonClient:
    named = {"url": "url", "token_file": "token-file", "ca_file": "ca-file"}
    return DaemonClient(access_of({key: options.get(option) for key, option in named.items()}))


# --- a capture -----------------------------------------------------------------------------------


def _capture(call: extcap.Call) -> None:
    if not call.fifo:
        raise OutsideError("--capture without --fifo")
    # Before anything may fail: Wireshark waits for it to be opened. Blocks until it is there to read.
    fifo = os.open(call.fifo, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if call.capture_filter:
            _complain(_NO_FILTER)
        client = _client(call.options)
        try:
            capture_id, is_new = _chosen(call, client)
            try:
                _copy(client.stream(f"/captures/{capture_id}/pcap?follow=1"), fifo)
            finally:
                if is_new and not call.keep:
                    _stop(client, capture_id)
        finally:
            client.close()
    finally:
        os.close(fifo)


def _chosen(call: extcap.Call, client: DaemonClient) -> tuple[str, bool]:
    """The id of the capture to stream, and whether it was started for this."""
    if call.interface.startswith(extcap.PREFIX):
        return call.interface.removeprefix(extcap.PREFIX), False
    options = call.options
    if options.get("follow", extcap.NEW) != extcap.NEW:
        return options["follow"], False
    missing = [name for name in ("local", "listed") if name not in options]
    if missing:
        raise OutsideError(f"which conversation? Set the option{'s' if missing[1:] else ''} {' and '.join(missing)}")
    body: dict[str, Any] = {"local_ip": options["local"], "listed_ip": options["listed"]}
    if "seconds" in options:
        if not options["seconds"].isdigit():
            raise OutsideError("the option seconds must be a whole number")
        body["seconds"] = int(options["seconds"])
    before = {str(row["id"]) for row in _rows(client, _LIST_TIMEOUT_S) if row.get("state") != "ended"}
    capture_id = str(client.ask("POST", "/captures", body)["id"])
    return capture_id, capture_id not in before


def _stop(client: DaemonClient, capture_id: str) -> None:
    # Asked to end once more, it must not leave the rule on the switch.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        client.ask("DELETE", f"/captures/{capture_id}", {}, timeout_s=10.0)
    except OutsideError as error:
        _complain(f"capture {capture_id} goes on: {error}")


def _copy(chunks: Iterable[bytes], fifo: int) -> None:
    """Until there is no more, or nobody reads any more."""
    threading.Thread(target=_watch, args=(fifo,), daemon=True).start()
    try:
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(fifo, rest) :]
    except BrokenPipeError:
        return


def _watch(fifo: int) -> None:
    """End the program when nobody reads any more, though there is nothing to write that would tell."""
    poll = select.poll()
    poll.register(fifo, 0)
    while not any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(_LOOK_MS)):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


_ANSWERS: Mapping[extcap.Action, Callable[[extcap.Call], None]] = {
    "interfaces": _interfaces,
    "dlts": _dlts,
    "config": _config,
    "reload": _reload,
    "filter": _filter,
    "help": _help,
    "capture": _capture,
}

if __name__ == "__main__":
    main()
