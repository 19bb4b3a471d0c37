# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Running other people's programs: bounded in time and in output, killed with all their children."""

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from typing import List, NamedTuple, Optional, Sequence, Tuple

from switch_acl_api.limits import MAX_OUTPUT_LINE_CHARS, MAX_OUTPUT_LINES

_CONTROL = re.compile(r"[^\x20-\x7e]")
_KILL_AFTER_S = 5


class ToolResult(NamedTuple):
    """``returncode`` is ``None`` where the time ran out. ``text`` has standard output and errors in one."""

    returncode: Optional[int]
    text: str


def run_tool(
    argv: Sequence[str], timeout_s: float, max_bytes: int, keep_fds: Tuple[int, ...] = (), outlive: bool = False
) -> ToolResult:
    """Run to the end or to the timeout. Raises ``OSError`` where there is no such program.

    ``outlive``: the program may survive a killed shim (half an installation is worse than a whole one), so its time is
    bounded by coreutils' ``timeout`` too.
    """
    command = list(argv)
    guard = shutil.which("timeout") if outlive else None
    if guard and shutil.which(command[0]):
        command = [guard, "-k", str(_KILL_AFTER_S), "{:.3f}".format(timeout_s + 1.0), *command]
    process = subprocess.Popen(  # noqa: S603 -- a list of arguments, no shell; none of it comes from a client
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        close_fds=True,
        pass_fds=keep_fds,
        start_new_session=True,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
    )
    try:
        raw, ended = _read_until(process, time.monotonic() + timeout_s, max_bytes)
    finally:
        _finish(process)
    return ToolResult(process.returncode if ended else None, raw.decode("utf-8", "replace"))


def _read_until(process: "subprocess.Popen[bytes]", deadline: float, max_bytes: int) -> Tuple[bytes, bool]:
    """All output up to ``max_bytes`` (the rest is read and dropped), and whether the program ended in time."""
    chunks: List[bytes] = []
    size = 0
    pipe = process.stdout
    if pipe is None:
        raise OSError("no pipe")
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return b"".join(chunks), False
            if not selector.select(left):
                continue
            chunk = os.read(pipe.fileno(), 65_536)
            if not chunk:
                break
            if size < max_bytes:
                chunks.append(chunk[: max_bytes - size])
                size += len(chunks[-1])
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return b"".join(chunks), False
    return b"".join(chunks), True


def _finish(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def output_lines(text: str) -> List[str]:
    """The last lines of a tool's output, fit for JSON, logs and terminals."""
    lines = [_CONTROL.sub("?", line.expandtabs(1))[:MAX_OUTPUT_LINE_CHARS].rstrip() for line in text.splitlines()]
    return [line for line in lines if line][-MAX_OUTPUT_LINES:]
